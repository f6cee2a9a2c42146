//! Several experiments as one: their arms side by side, each named after its experiment.

use super::Experiment;
use crate::schema;

impl Experiment {
    /// The experiments as one. One alone stays what it is; of several the arms are named `experiment: arm`, what they ask and claim is
    /// left out, and the first target that is there counts for all. None of an empty list.
    pub fn merged(experiments: Vec<Self>) -> Option<Self> {
        let mut experiments = experiments.into_iter();
        let first = experiments.next()?;
        let others: Vec<Self> = experiments.collect();
        if others.is_empty() {
            return Some(first);
        }
        let names = std::iter::once(&first).chain(&others).map(|one| one.name.clone());
        let name = names.collect::<Vec<_>>().join(", ");
        let baseline = first.baseline.as_ref().map(|arm| format!("{}: {arm}", first.name));
        let mut all = Self {
            name,
            question: None,
            target: None,
            claim: None,
            baseline,
            metrics: Vec::new(),
            axes: Vec::new(),
            command: None,
            version: None,
            arms: Vec::new(),
            damage: Vec::new(),
            notices: Vec::new(),
        };
        for (place, experiment) in std::iter::once(first).chain(others).enumerate() {
            all.target = all.target.or(experiment.target);
            for metric in experiment.metrics {
                if all.metrics.iter().all(|known| known.name != metric.name) {
                    all.metrics.push(metric);
                }
            }
            for mut arm in experiment.arms {
                arm.name = format!("{}: {}", experiment.name, arm.name);
                // Two experiments may have one name: the place keeps their folders apart.
                arm.slug = format!("{}-{}", place + 1, schema::slug(&arm.name));
                arm.coordinates.clear();
                all.arms.push(arm);
            }
            all.damage.extend(experiment.damage);
            let notices = experiment.notices.into_iter();
            all.notices.extend(notices.map(|notice| format!("{}: {notice}", experiment.name)));
        }
        Some(all)
    }
}
