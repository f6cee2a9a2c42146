//! `config.toml` and `manifest.toml`: what was to be run, and what was run.

use serde::{Deserialize, Serialize};

use super::{Claim, MetricDefinition, Split, Statistics};
#[cfg(doc)]
use super::{seed_dir, slug};
use std::collections::BTreeMap;

/// The version of the files that training writes: `schema` of `manifest.toml`. All versions up to this one are read; a newer one
/// is refused.
///
/// | version | has |
/// |---|---|
/// | 1 | what a manifest without a `schema` has: no claim, baseline, metric definitions or grid |
/// | 2 | these; `layers.csv` |
/// | 3 | `schedules.csv` |
pub const SCHEMA_VERSION: u32 = 3;

/// What an arm has to reach, the sooner the better.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// `accuracy`, `loss`, or what an experiment adds.
    pub metric: String,
    /// Reached at this value or on its better side.
    pub value: f64,
    /// The examples it is measured on. Defaults to `validation`.
    #[serde(default = "validation")]
    pub split: Split,
    /// What batch-norm layers normalize with meanwhile; an arm without such layers is measured as it is.
    /// Defaults to `moving`.
    #[serde(default = "moving")]
    pub statistics: Statistics,
}

fn validation() -> Split {
    Split::Validation
}

fn moving() -> Statistics {
    Statistics::Moving
}

/// What made the numbers of a run, apart from its settings: the table `[provenance]` of `config.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Name and version of the program, with the commit where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The device that did the arithmetic: `cpu`, `cuda:0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Digest of the data that was trained on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_digest: Option<String>,
    /// How many validation examples there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_examples: Option<u64>,
    /// How many test examples there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_examples: Option<u64>,
    /// Digest of the run's settings, as the manifest has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// Every setting of one run, defaults written out: `config.toml`.
///
/// The report knows the fields by name and treats all the rest as settings, whatever tables training has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunConfig {
    /// Name of the experiment.
    pub name: String,
    /// Name of the arm, as a reader should see it.
    pub arm: String,
    /// Seed of the run.
    pub seed: u64,
    /// The question that the experiment asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// What an arm has to reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// What made the numbers, apart from the settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// All other keys and tables: the settings.
    #[serde(flatten)]
    pub settings: toml::Table,
}

impl RunConfig {
    /// The text of `config.toml`; `name`, `arm` and `seed` come first.
    ///
    /// # Errors
    /// A setting that TOML cannot express: an integer beyond 64 bits with sign (a seed too).
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    /// The settings as dotted keys with their value in TOML, by key: `("norm.decay", "0.99")`.
    ///
    /// An array is one value; an empty table has no key.
    pub fn dotted_settings(&self) -> Vec<(String, String)> {
        let mut settings = Vec::new();
        flatten("", &self.settings, &mut settings);
        settings.sort();
        settings
    }
}

fn flatten(prefix: &str, table: &toml::Table, settings: &mut Vec<(String, String)>) {
    for (key, value) in table {
        let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            toml::Value::Table(table) => flatten(&key, table, settings),
            value => settings.push((key, value.to_string())),
        }
    }
}

/// The frozen plan of an experiment: `manifest.toml`.
///
/// It gives the arms their order, and tells which runs are missing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`SCHEMA_VERSION`] of the program that wrote it. Defaults to 1.
    #[serde(default = "first_version")]
    pub schema: u32,
    /// Name of the experiment.
    pub name: String,
    /// The question that the experiment asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// The command that makes these runs again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Name and version of the program that made the plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Name of the arm that the others are compared with. Defaults to the claim's, then to the first arm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// What an arm has to reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// What the source of the experiment says: `[claim]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// What the metrics are: `[[metric]]`. For one that is not here, [`MetricDefinition::by_name`] holds.
    #[serde(rename = "metric", default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricDefinition>,
    /// The keys over which the arms form a grid: `[[axis]]`; none where they form none.
    #[serde(rename = "axis", default, skip_serializing_if = "Vec::is_empty")]
    pub axes: Vec<Axis>,
    /// The arms, in the order a reader should see them: `[[arm]]`.
    #[serde(rename = "arm", default)]
    pub arms: Vec<PlannedArm>,
}

fn first_version() -> u32 {
    1
}

impl Manifest {
    /// The text of `manifest.toml`.
    ///
    /// # Errors
    /// A seed beyond 63 bits, which TOML cannot express.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

/// A key whose values span a grid of arms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Axis {
    /// Dotted path of the setting: `norm.decay`.
    pub key: String,
    /// Its values in the order of the grid, as a reader should see them: `0.9`.
    pub values: Vec<String>,
}

/// One arm of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedArm {
    /// Name of the arm, as a reader should see it.
    pub name: String,
    /// Its directory in the experiment's: [`slug`] of the name.
    pub slug: String,
    /// Its place in the grid: by key of each [`Axis`], one of its values. Empty for an arm outside of the grid.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub coordinates: BTreeMap<String, String>,
    /// Its runs, in the order of their seeds: `[[arm.run]]`.
    #[serde(rename = "run", default)]
    pub runs: Vec<PlannedRun>,
}

/// One run of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedRun {
    /// Seed of the run; its directory is [`seed_dir`] of it.
    pub seed: u64,
    /// Digest of the run's settings.
    pub digest: String,
}
