//! The plan: all selected runs, arms times seeds, fixed before the first step.

use super::digest::Surroundings;
use super::{Arm, Experiment, Settings};
use bn_report::schema::{
    Claim, Manifest, MetricDefinition, PlannedArm, PlannedRun, Provenance, RunConfig,
    SCHEMA_VERSION, Target, seed_dir, slug,
};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The selected runs of an experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Name of the runs' folder.
    pub name: String,
    /// The question the experiment asks.
    pub question: Option<String>,
    /// The target metric and value.
    pub target: Option<Target>,
    /// Name of the arm the report compares with.
    pub baseline: Option<String>,
    /// The published claim that the report checks.
    pub claim: Option<Claim>,
    /// The arms, in file order.
    pub arms: Vec<String>,
    /// The seeds of every arm.
    pub seeds: Vec<u64>,
    /// Ordered by seed, then by arm, so that intermediate results compare arms on the same seeds.
    pub runs: Vec<Run>,
}

/// One run: an arm with a seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Name of the arm.
    pub arm: String,
    /// Seed of all random draws.
    pub seed: u64,
    /// Settings of the arm.
    pub settings: Settings,
}

impl Plan {
    /// The selected runs of `experiment`.
    pub fn new(experiment: &Experiment) -> Self {
        let selection = &experiment.selection;
        let is_selected = |arm: &&Arm| selection.arms.contains(&arm.name);
        let arms: Vec<&Arm> = experiment.arms.iter().filter(is_selected).collect();
        let run = |seed: u64, arm: &Arm| Run {
            arm: arm.name.clone(),
            seed,
            settings: arm.settings.clone(),
        };
        let runs =
            selection.seeds.iter().flat_map(|&seed| arms.iter().map(move |arm| run(seed, arm)));
        Self {
            name: experiment.name.clone(),
            question: experiment.question.clone(),
            target: experiment.target.clone(),
            baseline: experiment.baseline.clone(),
            claim: experiment.claim.clone(),
            arms: arms.iter().map(|arm| arm.name.clone()).collect(),
            runs: runs.collect(),
            seeds: selection.seeds.clone(),
        }
    }

    /// The contents of `manifest.toml`. Runs in an `older` manifest are kept if an arm of this name has the same settings,
    /// so that an experiment can be trained arm by arm or seed by seed.
    pub fn manifest(
        &self,
        experiment: &Experiment,
        surroundings: &Surroundings,
        older: Option<&Manifest>,
        version: &str,
        command: &str,
    ) -> Manifest {
        let arm = |arm: &Arm| {
            let mut runs = self.planned(&arm.name, surroundings);
            let older = older.iter().flat_map(|older| &older.arms);
            let older = older.filter(|older| older.name == arm.name).flat_map(|older| &older.runs);
            let is_same =
                |run: &&PlannedRun| run.digest == surroundings.digest(run.seed, &arm.settings);
            for run in older.filter(is_same) {
                if runs.iter().all(|planned| planned.seed != run.seed) {
                    runs.push(run.clone());
                }
            }
            runs.sort_by_key(|run| run.seed);
            PlannedArm {
                name: arm.name.clone(),
                slug: slug(&arm.name),
                coordinates: coordinates(experiment, &arm.name),
                runs,
            }
        };
        Manifest {
            schema: SCHEMA_VERSION,
            name: self.name.clone(),
            question: self.question.clone(),
            command: Some(command.to_owned()),
            version: Some(version.to_owned()),
            target: self.target.clone(),
            baseline: self.baseline.clone(),
            claim: self.claim.clone(),
            metrics: metrics(experiment),
            axes: experiment.grid.axes.clone(),
            arms: experiment.arms.iter().map(arm).filter(|arm| !arm.runs.is_empty()).collect(),
        }
    }

    fn planned(&self, arm: &str, surroundings: &Surroundings) -> Vec<PlannedRun> {
        let runs = self.runs.iter().filter(|run| run.arm == arm);
        runs.map(|run| PlannedRun { seed: run.seed, digest: run.digest(surroundings) }).collect()
    }

    /// The contents of the `config.toml` of `run`.
    pub fn config(
        &self,
        run: &Run,
        surroundings: &Surroundings,
        version: &str,
        device: &str,
    ) -> RunConfig {
        let examples = surroundings.examples(&run.settings);
        RunConfig {
            name: self.name.clone(),
            arm: run.arm.clone(),
            seed: run.seed,
            question: self.question.clone(),
            target: self.target.clone(),
            provenance: Some(Provenance {
                version: Some(version.to_owned()),
                device: Some(device.to_owned()),
                data_digest: Some(surroundings.data_digest(&run.settings).to_owned()),
                digest: Some(run.digest(surroundings)),
                validation_examples: examples.map(|(validation, _)| validation),
                test_examples: examples.map(|(_, test)| test),
            }),
            settings: run.settings.written.clone(),
        }
    }
}

impl Run {
    /// `<slug of the arm>/seed-<n>`, within the experiment's folder.
    pub fn directory(&self) -> PathBuf {
        PathBuf::from(slug(&self.arm)).join(seed_dir(self.seed))
    }

    /// Digest of everything that affects the run's results.
    pub fn digest(&self, surroundings: &Surroundings) -> String {
        surroundings.digest(self.seed, &self.settings)
    }
}

/// The coordinates of an arm in the grid.
fn coordinates(experiment: &Experiment, arm: &str) -> BTreeMap<String, String> {
    let mut coordinates = experiment.arms.iter().zip(&experiment.grid.coordinates);
    let found = coordinates.find(|(known, _)| known.name == arm);
    found.map(|(_, coordinates)| coordinates.clone()).unwrap_or_default()
}

/// The distinct metrics of all arms.
fn metrics(experiment: &Experiment) -> Vec<MetricDefinition> {
    let mut all: Vec<MetricDefinition> = Vec::new();
    for settings in experiment.arms.iter().map(|arm| &arm.settings) {
        let task = &settings.task;
        let of_evaluations = task.metrics(settings.data.describe().classes);
        let of_training = task.training_metrics().iter().map(ToString::to_string);
        let names: Vec<String> = of_evaluations.into_iter().chain(of_training).collect();
        let averaged = names.iter().map(|name| format!("averaged_{name}"));
        let averaged = averaged.filter(|_| settings.average.is_some());
        for name in names.iter().cloned().chain(averaged) {
            if all.iter().all(|known| known.name != name) {
                all.push(task.define(&name));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::{Flags, Registry};
    use super::*;

    const TEXT: &str = "seeds = [1, 0]\n[optimizer]\nlearning_rate = 0.1\n[train]\nsteps = 10\n\
                        [[arm]]\nname = 'A b'\n[[arm]]\nname = 'c'\nnorm.decay = 0.5\n";

    fn experiment(seeds: &str, arms: &str, set: &[&str]) -> Experiment {
        let flags = Flags {
            seeds: Some(seeds.to_owned()),
            arms: vec![arms.to_owned()],
            set: set.iter().map(ToString::to_string).collect(),
            ..Flags::default()
        };
        Registry::built_in().parse("test", "test", TEXT, &flags).unwrap()
    }

    #[test]
    fn manifest_keeps_older_runs_of_the_same_settings() {
        let manifest = |experiment: &Experiment, older: Option<&Manifest>| {
            let surroundings = Surroundings::default();
            Plan::new(experiment).manifest(experiment, &surroundings, older, "v", "c")
        };
        let runs = |manifest: &Manifest| -> Vec<(String, Vec<u64>)> {
            let seeds = |arm: &PlannedArm| arm.runs.iter().map(|run| run.seed).collect();
            manifest.arms.iter().map(|arm| (arm.name.clone(), seeds(arm))).collect()
        };
        let first = manifest(&experiment("3", "c", &[]), None);
        assert_eq!(runs(&first), [("c".into(), vec![3])]);
        let second = manifest(&experiment("2", "A b,c", &[]), Some(&first));
        assert_eq!(runs(&second), [("A b".into(), vec![2]), ("c".into(), vec![2, 3])]);
        let third = manifest(&experiment("2", "c", &["train.steps=11"]), Some(&second));
        assert_eq!(runs(&third), [("c".into(), vec![2])]);
    }

    #[test]
    fn every_arm_meets_every_seed() {
        let plan = Plan::new(&experiment("1,0", "A b,c", &[]));
        let runs: Vec<_> = plan.runs.iter().map(|run| (run.seed, run.arm.as_str())).collect();
        assert_eq!(runs, [(1, "A b"), (1, "c"), (0, "A b"), (0, "c")]);
        assert_eq!(plan.runs[0].directory(), PathBuf::from("a-b/seed-1"));
    }

    #[test]
    fn selection_keeps_the_order_of_the_file() {
        let plan = Plan::new(&experiment("7", "c,a-b", &[]));
        assert_eq!(plan.arms, ["A b", "c"]);
        assert_eq!(plan.runs.iter().map(|run| run.seed).collect::<Vec<_>>(), [7, 7]);
    }
}
