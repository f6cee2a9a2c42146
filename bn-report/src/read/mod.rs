//! From an experiment's directory to its arms and runs, in the manifest's order (by name without one).
//!
//! Nothing is dropped silently: a planned run without a directory is there as missing, and what is left out is a notice.
//! Decides nothing about numbers.

mod metrics;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

pub use self::metrics::Metrics;
use self::text::{read_json, read_toml};
use crate::error::{Error, Result};
use crate::schema::{self, Manifest, MetricRow, RunConfig, Status, Target};

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
        self.arms
            .iter()
            .flat_map(|arm| arm.runs.iter().map(move |run| (arm, run)))
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
    let mut arms = match &manifest {
        Some(manifest) => planned_arms(manifest, &mut found, directory, &mut notices)?,
        None => Vec::new(),
    };
    if manifest.is_none() {
        for (slug, seeds) in &found {
            arms.push(unplanned_arm(slug, seeds, directory, &mut notices)?);
        }
    } else {
        let left_out = |slug: &String, seeds: &BTreeSet<u64>| {
            let seeds = seeds
                .iter()
                .map(|&seed| schema::seed_dir(seed))
                .collect::<Vec<_>>()
                .join(", ");
            format!("{slug}: {seeds} left out: not in {}", schema::MANIFEST)
        };
        notices.extend(
            found
                .iter()
                .filter(|(_, seeds)| !seeds.is_empty())
                .map(|(slug, seeds)| left_out(slug, seeds)),
        );
    }
    let first = arms
        .iter()
        .flat_map(|arm| &arm.runs)
        .find_map(|run| run.record.as_ref());
    let Some(first) = first else {
        let reason = "no run has begun: every run that manifest.toml plans is missing".to_owned();
        return Err(Error::NotAnExperiment {
            path: directory.to_owned(),
            reason,
        });
    };
    let config = first.config.clone();
    let (name, question, target, command) = match manifest {
        Some(manifest) => (
            manifest.name,
            manifest.question,
            manifest.target,
            manifest.command,
        ),
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

/// The seeds that have a directory, by the arm's directory.
fn find_runs(directory: &Path) -> Result<BTreeMap<String, BTreeSet<u64>>> {
    let wanted = "expected an experiment's directory, with <arm>/seed-<n>/ in it";
    let not_an_experiment = |reason: String| Error::NotAnExperiment {
        path: directory.to_owned(),
        reason,
    };
    if directory.is_file() {
        return Err(not_an_experiment(format!("{wanted}; this is a file")));
    }
    let mut found = BTreeMap::new();
    let mut experiments = BTreeSet::new();
    for (slug, path) in subdirectories(directory)? {
        if path.join(schema::MANIFEST).is_file() {
            experiments.insert(slug.clone());
        }
        let seeds: BTreeSet<u64> = subdirectories(&path)?
            .into_iter()
            .filter_map(|(name, _)| {
                name.strip_prefix("seed-")
                    .and_then(|seed| seed.parse().ok())
            })
            .filter(|&seed| path.join(schema::seed_dir(seed)).is_dir())
            .collect();
        if !seeds.is_empty() {
            found.insert(slug, seeds);
        }
    }
    if found.is_empty() {
        let hint = if directory.join(schema::CONFIG).is_file() {
            "this is the directory of a single run: give the one two levels up".to_owned()
        } else if let Some(first) = experiments.first() {
            format!(
                "this holds experiments: give one of them, as {}",
                directory.join(first).display()
            )
        } else {
            "none is here".to_owned()
        };
        return Err(not_an_experiment(format!("{wanted}; {hint}")));
    }
    Ok(found)
}

/// The directories in a directory, by name. Names that are not UTF-8 cannot be slugs and are passed over.
fn subdirectories(directory: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut names = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(|error| Error::read(directory, error))? {
        let path = entry.map_err(|error| Error::read(directory, error))?.path();
        if let (true, Some(name)) = (
            path.is_dir(),
            path.file_name().and_then(|name| name.to_str()),
        ) {
            names.insert(name.to_owned(), path.clone());
        }
    }
    Ok(names)
}

/// The arms of the plan; takes what it uses out of `found`.
fn planned_arms(
    manifest: &Manifest,
    found: &mut BTreeMap<String, BTreeSet<u64>>,
    directory: &Path,
    notices: &mut Vec<String>,
) -> Result<Vec<Arm>> {
    let mut arms = Vec::new();
    for planned in &manifest.arms {
        let mut runs = Vec::new();
        for run in &planned.runs {
            let here = found
                .get_mut(&planned.slug)
                .is_some_and(|seeds| seeds.remove(&run.seed));
            let record = if here {
                read_run(directory, &planned.slug, run.seed, notices)?
            } else {
                None
            };
            let made_from = record
                .as_ref()
                .and_then(|record| record.config.provenance.as_ref()?.digest.as_ref());
            if made_from.is_some_and(|digest| *digest != run.digest) {
                let seed = schema::seed_dir(run.seed);
                notices.push(format!(
                    "{}/{seed}: made from other settings than the plan has (digests differ)",
                    planned.slug
                ));
            }
            runs.push(Run {
                seed: run.seed,
                digest: Some(run.digest.clone()),
                record,
            });
        }
        arms.push(Arm {
            name: planned.name.clone(),
            slug: planned.slug.clone(),
            runs,
        });
    }
    Ok(arms)
}

fn unplanned_arm(
    slug: &str,
    seeds: &BTreeSet<u64>,
    directory: &Path,
    notices: &mut Vec<String>,
) -> Result<Arm> {
    let mut runs = Vec::new();
    for &seed in seeds {
        let record = read_run(directory, slug, seed, notices)?;
        let digest = record
            .as_ref()
            .and_then(|record| record.config.provenance.as_ref()?.digest.clone());
        runs.push(Run {
            seed,
            digest,
            record,
        });
    }
    let name = runs
        .iter()
        .find_map(|run| run.record.as_ref())
        .map_or(slug, |record| &record.config.arm)
        .to_owned();
    Ok(Arm {
        name,
        slug: slug.to_owned(),
        runs,
    })
}

/// What a run directory holds; none where it is still empty.
fn read_run(
    directory: &Path,
    slug: &str,
    seed: u64,
    notices: &mut Vec<String>,
) -> Result<Option<Record>> {
    let seed_dir = schema::seed_dir(seed);
    let path = directory.join(slug).join(&seed_dir);
    let [config, metrics, status] =
        [schema::CONFIG, schema::METRICS, schema::STATUS].map(|name| path.join(name));
    let missing: Vec<&PathBuf> = [&config, &metrics, &status]
        .into_iter()
        .filter(|path| !path.is_file())
        .collect();
    match missing[..] {
        [] => {}
        [_, _, _] => {
            notices.push(format!("{slug}/{seed_dir}: empty, counted as missing"));
            return Ok(None);
        }
        [first, ..] => {
            return Err(Error::Missing {
                path: first.clone(),
            });
        }
    }
    let status: Status = read_json(&status)?;
    let may_be_cut_off = !matches!(status, Status::Finished | Status::Diverged { .. });
    let config: RunConfig = read_toml(&config)?;
    let Metrics { rows, cut_off } = metrics::read_metrics(&metrics, may_be_cut_off)?;
    if cut_off {
        notices.push(format!(
            "{slug}/{seed_dir}/{}: the cut-off last line is left out",
            schema::METRICS
        ));
    }
    Ok(Some(Record {
        status,
        config,
        rows,
    }))
}
