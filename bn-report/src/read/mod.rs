//! From an experiment's directory to its arms and runs, in the manifest's order (by name without one).
//!
//! Nothing is dropped silently: a planned run without a directory is there as missing, one with a damaged file as damaged,
//! and what is left out is a notice. Decides nothing about numbers.

mod directory;
mod groups;
mod log;
mod merge;
mod metrics;
mod plan;
mod rows;
mod text;

use std::path::Path;

use self::directory::find_runs;
pub use self::log::{Key, LayerKey, Log, Series};
use self::plan::{arms_of, read_manifest};
use crate::error::{Error, Result};
use crate::schema::{
    Axis, Claim, Direction, MetricDefinition, RunConfig, Split, Status, Target, TimingRow,
};
use std::collections::BTreeMap;

/// All that training left of an experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct Experiment {
    /// Name.
    pub name: String,
    /// The question it asks.
    pub question: Option<String>,
    /// What an arm has to reach; its value is finite.
    pub target: Option<Target>,
    /// What its source says.
    pub claim: Option<Claim>,
    /// Name of the arm that the plan compares the others with.
    pub baseline: Option<String>,
    /// What the plan says of its metrics.
    pub metrics: Vec<MetricDefinition>,
    /// The keys over which the arms form a grid.
    pub axes: Vec<Axis>,
    /// The command that makes the runs again.
    pub command: Option<String>,
    /// Name and version of the program that made the plan.
    pub version: Option<String>,
    /// The arms, in the order to show them; at least one, and at least one of them has a record.
    pub arms: Vec<Arm>,
    /// Files that do not hold what they should, each with its place: what they say is missing from the numbers.
    pub damage: Vec<String>,
    /// What else a reader must know about the files: cut-off lines, directories outside of the plan.
    pub notices: Vec<String>,
}

/// One arm: the runs that share all settings but the seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Arm {
    /// Name, as a reader should see it.
    pub name: String,
    /// Its directory in the experiment's: a plain file name.
    pub slug: String,
    /// Its place in the grid; see [`Experiment::axes`].
    pub coordinates: BTreeMap<String, String>,
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
    /// What its directory holds.
    pub found: FoundRun,
}

/// What stands where a run should be.
#[derive(Debug, Clone, PartialEq)]
pub enum FoundRun {
    /// No directory, or one in which nothing has been written yet.
    Missing,
    /// A directory that cannot be read; the message says which file, where and why.
    Damaged(String),
    /// A run.
    Recorded(Box<Record>),
}

/// What a run directory holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// How the run stands or ended.
    pub status: Status,
    /// Its settings.
    pub config: RunConfig,
    /// What it measured.
    pub log: Log<Key>,
    /// What went on in its layers; empty where it logged nothing of that.
    pub layers: Log<LayerKey>,
    /// What settings changed by plan, by their names; empty where it logged nothing of that.
    pub schedules: Log<String>,
    /// How fast it went; empty where it logged nothing of that.
    pub timing: Vec<TimingRow>,
}

impl Run {
    /// What its directory holds; none where the run is missing or damaged.
    pub fn record(&self) -> Option<&Record> {
        match &self.found {
            FoundRun::Recorded(record) => Some(record),
            FoundRun::Missing | FoundRun::Damaged(_) => None,
        }
    }

    /// How it stands or ended; none where the run is missing or damaged.
    pub fn status(&self) -> Option<&Status> {
        self.record().map(|record| &record.status)
    }

    /// Its series of a quantity, or of the same quantity of a net without batch-norm layers.
    pub fn series(&self, key: &Key) -> Option<&Series> {
        self.record()?.log.get_or_plain(key)
    }
}

impl Experiment {
    /// All runs, arm by arm.
    pub fn runs(&self) -> impl Iterator<Item = (&Arm, &Run)> {
        self.arms.iter().flat_map(|arm| arm.runs.iter().map(move |run| (arm, run)))
    }

    /// The records of all runs that have one, arm by arm.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.runs().filter_map(|(_, run)| run.record())
    }

    /// What a metric is: as the plan says, or by its name.
    pub fn metric(&self, name: &str) -> MetricDefinition {
        let planned = self.metrics.iter().find(|metric| metric.name == name);
        planned.cloned().unwrap_or_else(|| MetricDefinition::by_name(name))
    }

    /// Which way of a metric is better.
    pub fn better(&self, metric: &str) -> Direction {
        self.metric(metric).better
    }

    /// Every quantity that any run logged, sorted.
    pub fn keys(&self) -> Vec<&Key> {
        let mut keys: Vec<&Key> = Vec::new();
        for record in self.records() {
            keys.extend(record.log.iter().map(|(key, _)| key));
            keys.sort();
            keys.dedup();
        }
        keys
    }

    /// Whether any run logged this metric on this split.
    pub fn has(&self, split: Split, metric: &str) -> bool {
        self.keys().iter().any(|key| key.split == split && key.metric == metric)
    }
}

/// Reads an experiment's directory, its runs in parallel.
///
/// A file that does not hold what it should is in [`Experiment::damage`], and the rest is read.
///
/// # Errors
/// Not a directory, no run in it that can be read, or files of a newer [schema](crate::schema::SCHEMA_VERSION).
pub fn read_experiment(directory: &Path) -> Result<Experiment> {
    let found = find_runs(directory)?;
    let (manifest, mut damage) = read_manifest(directory)?;
    let mut notices = Vec::new();
    let arms = arms_of(directory, manifest.as_ref(), found, &mut damage, &mut notices);
    let mut runs = arms.iter().flat_map(|arm| &arm.runs);
    let Some(first) = runs.find_map(Run::record) else {
        let reason = match damage.first() {
            Some(damage) => format!("no run can be read; {damage}"),
            None => "no run has begun".to_owned(),
        };
        return Err(Error::NotAnExperiment { path: directory.to_owned(), reason });
    };
    let (name, question) = (first.config.name.clone(), first.config.question.clone());
    let mut target = first.config.target.clone();
    let mut experiment = Experiment {
        name,
        question,
        target: None,
        claim: None,
        baseline: None,
        metrics: Vec::new(),
        axes: Vec::new(),
        command: None,
        version: None,
        arms,
        damage,
        notices,
    };
    if let Some(manifest) = manifest {
        experiment.name = manifest.name;
        experiment.question = manifest.question.or(experiment.question);
        target = manifest.target.or(target);
        experiment.claim = manifest.claim;
        experiment.baseline = manifest.baseline;
        experiment.metrics = manifest.metrics;
        experiment.axes = manifest.axes;
        experiment.command = manifest.command;
        experiment.version = manifest.version;
    }
    experiment.target = target.filter(|target| target.value.is_finite());
    Ok(experiment)
}
