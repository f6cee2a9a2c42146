//! What a comparison is about: metric, baseline, how long runs were watched and how finely. Pure.

use crate::curve::{self, Key};
use crate::error::{Error, Result};
use crate::read::Experiment;
use crate::schema::{Split, Status};
use crate::stats::Level;

/// What a reader may ask for in place of what the experiment says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Name or folder of the arm to compare with.
    pub baseline: Option<String>,
    /// The metric to compare.
    pub metric: Option<String>,
    /// The level of intervals.
    pub level: Level,
}

impl Choice {
    /// Checks that the experiment has what was asked for.
    ///
    /// # Errors
    /// [`Error::Choice`] with what there is.
    pub fn check(&self, experiment: &Experiment) -> Result<()> {
        let refuse = |what: &'static str, wanted: &String, there: Vec<String>| {
            Err(Error::Choice { what, wanted: wanted.clone(), there: there.join(", ") })
        };
        if let Some(name) = &self.baseline
            && experiment.arms.iter().all(|arm| arm.name != *name && arm.slug != *name)
        {
            return refuse("arm", name, experiment.arms.iter().map(|a| a.name.clone()).collect());
        }
        let metrics = curve::metrics(experiment);
        match &self.metric {
            Some(metric) if !metrics.contains(metric) => {
                refuse("metric", metric, metrics.into_iter().collect())
            }
            _ => Ok(()),
        }
    }
}

/// The metric to compare: the target's, else `accuracy`, `distance` or `loss`, else the first by name.
pub(super) fn metric_of(experiment: &Experiment) -> String {
    if let Some(target) = &experiment.target {
        return target.metric.clone();
    }
    let metrics = curve::metrics(experiment);
    ["accuracy", "distance", "loss"]
        .into_iter()
        .find(|name| metrics.contains(*name))
        .map(str::to_owned)
        .or_else(|| metrics.into_iter().next())
        .unwrap_or_else(|| "accuracy".to_owned())
}

/// The baseline: asked for, planned, the claim's, or the first arm.
pub(super) fn baseline_of(experiment: &Experiment, choice: &Choice) -> usize {
    let claimed = experiment.claim.as_ref().and_then(|claim| claim.baseline.as_ref());
    [choice.baseline.as_ref(), experiment.baseline.as_ref(), claimed]
        .into_iter()
        .flatten()
        .find_map(|name| {
            experiment.arms.iter().position(|arm| arm.name == *name || arm.slug == *name)
        })
        .unwrap_or(0)
}

/// How many examples the split has, where all runs say the same.
pub(super) fn examples(experiment: &Experiment, split: Split) -> Option<u64> {
    let mut counts = experiment.records().map(|record| {
        let provenance = record.config.provenance.as_ref()?;
        match split {
            Split::Train => None,
            Split::Validation => provenance.validation_examples,
            Split::Test => provenance.test_examples,
        }
    });
    let first = counts.next()??;
    counts.all(|count| count == Some(first)).then_some(first)
}

/// The last step that every run that finished was watched to.
pub(super) fn horizon(experiment: &Experiment, watched: &Key) -> u64 {
    let finished = experiment.runs().filter(|(_, run)| run.status() == Some(&Status::Finished));
    let last = finished.filter_map(|(_, run)| run.series(watched)?.last());
    last.map(|(step, _)| step).min().unwrap_or(0)
}

/// How far apart the lowest and the highest mean of any arm lie; 0 without two.
pub(super) fn range(experiment: &Experiment, watched: &Key) -> f64 {
    let mut range: Option<(f64, f64)> = None;
    for arm in &experiment.arms {
        let curves = arm.runs.iter().filter_map(|run| run.series(watched));
        for mean in curve::band(curves).iter().filter_map(|point| point.mean) {
            let (low, high) = range.unwrap_or((mean, mean));
            range = Some((low.min(mean), high.max(mean)));
        }
    }
    range.map_or(0.0, |(low, high)| high - low)
}

/// The fewest steps between two values of the watched curve.
pub(super) fn measured_every(experiment: &Experiment, watched: &Key) -> Option<u64> {
    let curves = experiment.runs().filter_map(|(_, run)| run.series(watched));
    curves.flat_map(|curve| curve.steps().windows(2).map(|pair| pair[1] - pair[0])).min()
}
