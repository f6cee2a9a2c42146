//! From an experiment's directory to its arms and runs, in the manifest's order (by name without one).
//!
//! Nothing is dropped silently: a planned run without a directory is there as missing, and what is left out is a notice.
//! Decides nothing about numbers.

mod directory;
mod metrics;
mod text;

use std::collections::BTreeMap;
use std::path::Path;

use self::directory::{find_runs, read_run};
use self::text::read_toml;
use crate::error::{Error, Result};
use crate::schema::{self, Manifest, MetricRow, PlannedArm, RunConfig, Status, Target};

/// All that training left of an experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct Experiment {
    /// Name.
    pub name: String,
    /// The question it asks.
    pub question: Option<String>,
    /// What an arm has to reach.
    pub target: Option<Target>,
    /// The command that makes the runs again.
    pub command: Option<String>,
    /// The arms, in the order to show them.
    pub arms: Vec<Arm>,
    /// What a reader of the report must know about the files: cut-off lines, directories outside of the plan.
    pub notices: Vec<String>,
}

/// One arm: the runs that share all settings but the seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Arm {
    /// Name, as a reader should see it.
    pub name: String,
    /// Its directory in the experiment's.
    pub slug: String,
    /// Its runs, by seed.
    pub runs: Vec<Run>,
}

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Seed.
    pub seed: u64,
    /// Digest of its settings, where the plan or the run has one.
    pub digest: Option<String>,
    /// What its directory holds; none where the plan has the run and no directory is there.
    pub record: Option<Record>,
}

/// What a run directory holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// How the run stands or ended.
    pub status: Status,
    /// Its settings.
    pub config: RunConfig,
    /// What it measured, in the order of the file.
    pub rows: Vec<MetricRow>,
}

impl Run {
    /// What it measured; nothing where the run is missing.
    pub fn rows(&self) -> &[MetricRow] {
        self.record.as_ref().map_or(&[], |record| &record.rows)
    }

    /// How it stands or ended; none where the run is missing.
    pub fn status(&self) -> Option<&Status> {
        self.record.as_ref().map(|record| &record.status)
    }
}

impl Experiment {
    /// All runs, arm by arm.
    pub fn runs(&self) -> impl Iterator<Item = (&Arm, &Run)> {
        self.arms.iter().flat_map(|arm| arm.runs.iter().map(move |run| (arm, run)))
    }

    /// The records of all runs that have one, arm by arm.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.runs().filter_map(|(_, run)| run.record.as_ref())
    }
}

/// Reads an experiment's directory.
///
/// # Errors
/// Not a directory, no run in it, a run directory that lacks a file, or a file that does not hold what it should.
pub fn read_experiment(directory: &Path) -> Result<Experiment> {
    let mut found = find_runs(directory)?;
    let manifest_path = directory.join(schema::MANIFEST);
    let manifest: Option<Manifest> = match manifest_path.try_exists() {
        Ok(false) => None,
        _ => Some(read_toml(&manifest_path)?),
    };
    let mut notices = Vec::new();
    let mut arms = Vec::new();
    if let Some(manifest) = &manifest {
        for planned in &manifest.arms {
            let seeds = found.remove(&planned.slug).unwrap_or_default();
            arms.push(planned_arm(planned, seeds, directory, &mut notices)?);
        }
        for (slug, seeds) in found {
            notices.extend(left_out(&slug, seeds.values()));
        }
    } else {
        for (slug, seeds) in &found {
            arms.push(unplanned_arm(slug, seeds, directory, &mut notices)?);
        }
    }
    let mut runs = arms.iter().flat_map(|arm| &arm.runs);
    let Some(first) = runs.find_map(|run| run.record.as_ref()) else {
        return Err(Error::NotAnExperiment {
            path: directory.to_owned(),
            reason: "no run has begun".to_owned(),
        });
    };
    let config = first.config.clone();
    let (name, question, target, command) = match manifest {
        Some(manifest) => (manifest.name, manifest.question, manifest.target, manifest.command),
        None => (config.name, None, None, None),
    };
    Ok(Experiment {
        name,
        question: question.or(config.question),
        target: target.or(config.target),
        command,
        arms,
        notices,
    })
}

/// An arm of the plan, with what its directories hold.
fn planned_arm(
    planned: &PlannedArm,
    mut found: BTreeMap<u64, String>,
    directory: &Path,
    notices: &mut Vec<String>,
) -> Result<Arm> {
    let slug = &planned.slug;
    let mut runs = Vec::new();
    for run in &planned.runs {
        let name = found.remove(&run.seed);
        let record = match &name {
            Some(name) => read_run(directory, slug, name, notices)?,
            None => None,
        };
        if let Some(digest) = digest(record.as_ref())
            && digest != run.digest
        {
            let seed = schema::seed_dir(run.seed);
            notices.push(format!(
                "{slug}/{seed}: made from other settings than the plan has (digests differ)"
            ));
        }
        runs.push(Run { seed: run.seed, digest: Some(run.digest.clone()), record });
    }
    notices.extend(left_out(slug, found.values()));
    Ok(Arm { name: planned.name.clone(), slug: slug.clone(), runs })
}

/// The notice of run directories that the plan does not have, if there are any.
fn left_out<'a>(slug: &str, names: impl Iterator<Item = &'a String>) -> Option<String> {
    let names: Vec<&str> = names.map(String::as_str).collect();
    let names = (!names.is_empty()).then(|| names.join(", "))?;
    Some(format!("{slug}: {names} left out: not in {}", schema::MANIFEST))
}

fn digest(record: Option<&Record>) -> Option<String> {
    record?.config.provenance.as_ref()?.digest.clone()
}

fn unplanned_arm(
    slug: &str,
    seeds: &BTreeMap<u64, String>,
    directory: &Path,
    notices: &mut Vec<String>,
) -> Result<Arm> {
    let mut runs = Vec::new();
    for (&seed, name) in seeds {
        let record = read_run(directory, slug, name, notices)?;
        runs.push(Run { seed, digest: digest(record.as_ref()), record });
    }
    let name = runs
        .iter()
        .find_map(|run| run.record.as_ref())
        .map_or(slug, |record| &record.config.arm)
        .to_owned();
    Ok(Arm { name, slug: slug.to_owned(), runs })
}
