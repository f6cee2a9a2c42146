//! The plan: arms times seeds, with a digest for each run, frozen before the first step.

use super::{Experiment, Place, Problem, Settings, did_you_mean};
use bn_report::schema::{
    Manifest, PlannedArm, PlannedRun, Provenance, RunConfig, Target, seed_dir, slug,
};
use std::path::PathBuf;

/// Which part of an experiment to run.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Seeds in place of the experiment's own.
    pub seeds: Option<Vec<u64>>,
    /// Names (or slugs) of arms; none for all.
    pub arms: Option<Vec<String>>,
}

/// All runs of an experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Names the folder of the runs.
    pub name: String,
    /// What the experiment asks.
    pub question: Option<String>,
    /// What an arm has to reach.
    pub target: Option<Target>,
    /// The arms, in the order of the file.
    pub arms: Vec<String>,
    /// The seeds of every arm.
    pub seeds: Vec<u64>,
    /// Seed by seed, and within a seed arm by arm: so that an early look compares arms on the same seeds.
    pub runs: Vec<Run>,
}

/// One run: an arm with a seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Name of the arm.
    pub arm: String,
    /// Decides every random draw.
    pub seed: u64,
    /// What to train.
    pub settings: Settings,
    /// BLAKE3 of seed and settings: two runs with the same digest compute the same.
    pub digest: String,
}

impl Plan {
    /// The runs of `experiment` that `selection` names.
    ///
    /// # Errors
    /// Every arm that is not there, and seeds that are none or stand twice; placed at the flags.
    pub fn new(experiment: &Experiment, selection: &Selection) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let arms = select_arms(experiment, selection.arms.as_deref(), &mut problems);
        let seeds = selection.seeds.clone().unwrap_or_else(|| experiment.seeds.clone());
        let distinct: std::collections::BTreeSet<_> = seeds.iter().collect();
        if seeds.is_empty() || distinct.len() < seeds.len() {
            let message = format!("{seeds:?}; expected at least one seed, and none twice");
            problems.push(Problem { place: Place::Flag("--seeds".to_owned()), message });
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let run = |seed: u64, arm: &super::Arm| Run {
            arm: arm.name.clone(),
            seed,
            settings: arm.settings.clone(),
            digest: digest(seed, &arm.settings),
        };
        Ok(Self {
            name: experiment.name.clone(),
            question: experiment.question.clone(),
            target: experiment.target.clone(),
            arms: arms.iter().map(|arm| arm.name.clone()).collect(),
            runs: seeds
                .iter()
                .flat_map(|&seed| arms.iter().map(move |arm| run(seed, arm)))
                .collect(),
            seeds,
        })
    }

    /// What `manifest.toml` says. Runs of an `older` manifest stay in the plan if they belong to the same experiment with
    /// the same settings, so that an experiment can be trained arm by arm, or seed by seed.
    pub fn manifest(
        &self,
        experiment: &Experiment,
        older: Option<&Manifest>,
        version: &str,
        command: &str,
    ) -> Manifest {
        let arm = |arm: &super::Arm| {
            let mut runs = self.planned(&arm.name);
            let older = older.iter().flat_map(|older| &older.arms);
            let older = older.filter(|older| older.name == arm.name).flat_map(|older| &older.runs);
            let is_same = |run: &&PlannedRun| run.digest == digest(run.seed, &arm.settings);
            for run in older.filter(is_same) {
                if runs.iter().all(|planned| planned.seed != run.seed) {
                    runs.push(run.clone());
                }
            }
            runs.sort_by_key(|run| run.seed);
            PlannedArm { name: arm.name.clone(), slug: slug(&arm.name), runs }
        };
        Manifest {
            name: self.name.clone(),
            question: self.question.clone(),
            command: Some(command.to_owned()),
            version: Some(version.to_owned()),
            target: self.target.clone(),
            arms: experiment.arms.iter().map(arm).filter(|arm| !arm.runs.is_empty()).collect(),
        }
    }

    fn planned(&self, arm: &str) -> Vec<PlannedRun> {
        let runs = self.runs.iter().filter(|run| run.arm == arm);
        runs.map(|run| PlannedRun { seed: run.seed, digest: run.digest.clone() }).collect()
    }

    /// What `config.toml` of `run` says.
    pub fn config(&self, run: &Run, version: &str, device: &str, data_digest: &str) -> RunConfig {
        RunConfig {
            name: self.name.clone(),
            arm: run.arm.clone(),
            seed: run.seed,
            question: self.question.clone(),
            target: self.target.clone(),
            provenance: Some(Provenance {
                version: Some(version.to_owned()),
                device: Some(device.to_owned()),
                data_digest: Some(data_digest.to_owned()),
                digest: Some(run.digest.clone()),
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
}

fn select_arms<'a>(
    experiment: &'a Experiment,
    names: Option<&[String]>,
    problems: &mut Vec<Problem>,
) -> Vec<&'a super::Arm> {
    let Some(names) = names else {
        return experiment.arms.iter().collect();
    };
    let is_named = |arm: &super::Arm, name: &str| arm.name == name || slug(&arm.name) == slug(name);
    for name in names {
        if !experiment.arms.iter().any(|arm| is_named(arm, name)) {
            let known = || experiment.arms.iter().map(|arm| arm.name.as_str());
            let hint = did_you_mean(name, known())
                .map_or(String::new(), |meant| format!(" Did you mean {meant:?}?"));
            let list: Vec<String> = known().map(|name| format!("{name:?}")).collect();
            let message = format!("there is no such arm.{hint} The arms are {}", list.join(", "));
            problems.push(Problem { place: Place::Flag(format!("--arms {name}")), message });
        }
    }
    experiment.arms.iter().filter(|arm| names.iter().any(|name| is_named(arm, name))).collect()
}

fn digest(seed: u64, settings: &Settings) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).update(settings.written.to_string().as_bytes());
    format!("blake3:{}", hasher.finalize().to_hex())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::parse;

    const TEXT: &str = "seeds = [1, 0]\n[optimizer]\nlearning_rate = 0.1\n[train]\nsteps = 10\n\
                        [[arm]]\nname = 'A b'\n[[arm]]\nname = 'c'\nnorm.decay = 0.5\n";

    #[test]
    fn a_manifest_keeps_older_runs_of_the_same_settings() {
        let experiment = parse("test", "test", TEXT, &[]).unwrap();
        let select = |seeds: &[u64], arms: &[&str]| Selection {
            seeds: Some(seeds.to_vec()),
            arms: Some(arms.iter().map(ToString::to_string).collect()),
        };
        let manifest = |experiment: &Experiment, selection: Selection, older: Option<&Manifest>| {
            Plan::new(experiment, &selection).unwrap().manifest(experiment, older, "v", "c")
        };
        let runs = |manifest: &Manifest| -> Vec<(String, Vec<u64>)> {
            let seeds = |arm: &PlannedArm| arm.runs.iter().map(|run| run.seed).collect();
            manifest.arms.iter().map(|arm| (arm.name.clone(), seeds(arm))).collect()
        };
        let first = manifest(&experiment, select(&[3], &["c"]), None);
        assert_eq!(runs(&first), [("c".into(), vec![3])]);
        let second = manifest(&experiment, select(&[2], &["A b", "c"]), Some(&first));
        assert_eq!(runs(&second), [("A b".into(), vec![2]), ("c".into(), vec![2, 3])]);

        let changed = parse("test", "test", TEXT, &["train.steps=11".into()]).unwrap();
        let third = manifest(&changed, select(&[2], &["c"]), Some(&second));
        assert_eq!(runs(&third), [("c".into(), vec![2])]);
    }

    fn plan(selection: Selection) -> Result<Plan, Vec<Problem>> {
        Plan::new(&parse("test", "test", TEXT, &[]).unwrap(), &selection)
    }

    #[test]
    fn every_arm_meets_every_seed() {
        let plan = plan(Selection::default()).unwrap();
        let runs: Vec<_> = plan.runs.iter().map(|run| (run.seed, run.arm.as_str())).collect();
        assert_eq!(runs, [(1, "A b"), (1, "c"), (0, "A b"), (0, "c")]);
        assert_eq!(plan.runs[0].directory(), PathBuf::from("a-b/seed-1"));
    }

    #[test]
    fn a_digest_tells_settings_and_seeds_apart_and_nothing_else() {
        let plan = plan(Selection::default()).unwrap();
        let mut digests: Vec<_> = plan.runs.iter().map(|run| run.digest.clone()).collect();
        // Pinned: a digest that moves between versions would make equal runs look different.
        assert_eq!(
            digests[0],
            "blake3:45a0bf0591d4375b56eecd78231aba02e2ef5f38926674098e084d7c124c6f15"
        );
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), 4);
        let renamed = TEXT.replace("'c'", "'d'");
        let renamed =
            Plan::new(&parse("x", "y", &renamed, &[]).unwrap(), &Selection::default()).unwrap();
        assert_eq!(renamed.runs[1].digest, plan.runs[1].digest);
    }

    #[test]
    fn a_selection_keeps_the_order_of_the_file() {
        let selection =
            Selection { seeds: Some(vec![7]), arms: Some(vec!["c".into(), "a-b".into()]) };
        let plan = plan(selection).unwrap();
        assert_eq!(plan.arms, ["A b", "c"]);
        assert_eq!(plan.runs.iter().map(|run| run.seed).collect::<Vec<_>>(), [7, 7]);
    }

    #[test]
    fn every_wrong_flag_is_named() {
        let selection =
            Selection { seeds: Some(vec![7, 7]), arms: Some(vec!["cc".into(), "zzz".into()]) };
        let problems = plan(selection).unwrap_err();
        assert_eq!(problems.len(), 3);
        assert!(problems[0].message.contains("Did you mean \"c\"?"), "{problems:?}");
    }
}
