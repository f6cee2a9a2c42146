//! The rows and files of a run directory: the one definition that training writes and reports read.
//!
//! ```text
//! <experiment>/manifest.toml                    [`Manifest`], optional: gives the arms their order
//! <experiment>/<slug of the arm>/seed-<n>/
//!     config.toml                               [`RunConfig`]
//!     metrics.csv                               [`MetricRow`]
//!     layers.csv                                [`LayerRow`], optional
//!     schedules.csv                             [`ScheduleRow`], optional
//!     timing.csv                                [`TimingRow`], the only file with a clock in it
//!     status.json                               [`Status`]
//!     worker.log                                what went wrong, optional
//! ```
//!
//! Until a run is a result (finished or diverged) its directory is [`partial_seed_dir`]. An absent number is an empty cell, never a sentinel. Numbers are written in Rust's shortest form that reads back to
//! the same bits, so equal runs give equal bytes.

mod claim;
mod metric;
mod plan;
mod schedule;
mod statistics;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) use self::claim::is_match;
pub use self::claim::{Claim, Expected, LayerQuantity, Measure, Quantity};
pub use self::metric::{Direction, MetricDefinition, SHARE};
pub use self::plan::{
    Axis, Manifest, PlannedArm, PlannedRun, Provenance, RunConfig, SCHEMA_VERSION, Target,
};
pub use self::schedule::ScheduleRow;
pub use self::statistics::{Debiased, Shadow, ShadowDecay, Statistics};

/// The frozen plan of an experiment, in the experiment's directory.
pub const MANIFEST: &str = "manifest.toml";
/// Every setting of one run, defaults written out.
pub const CONFIG: &str = "config.toml";
/// What one run measured, deterministic.
pub const METRICS: &str = "metrics.csv";
/// How fast one run went; not deterministic.
pub const TIMING: &str = "timing.csv";
/// How one run stands or ended.
pub const STATUS: &str = "status.json";
/// Per-layer telemetry of one run, deterministic; optional.
pub const LAYERS: &str = "layers.csv";
/// The settings that changed by plan during one run, deterministic; optional.
pub const SCHEDULES: &str = "schedules.csv";
/// What went wrong in a run that failed: errors, and panics with file, line and backtrace; optional.
pub const WORKER_LOG: &str = "worker.log";
/// The folder of a run's checkpoints; optional.
pub const CHECKPOINTS: &str = "checkpoints";
/// The report, in the experiment's directory.
pub const REPORT: &str = "report.html";
/// One line per arm, for spreadsheets.
pub const SUMMARY_CSV: &str = "summary.csv";
/// One line per arm, for notes and pull requests.
pub const SUMMARY_MD: &str = "summary.md";
/// The folder of the charts, beside the report.
pub const CHARTS: &str = "charts";

/// The directory of a run inside its arm's directory: `seed-<n>`.
pub fn seed_dir(seed: u64) -> String {
    format!("seed-{seed}")
}

/// Where a run grows before it is moved to its [`seed_dir`]: `.seed-<n>.partial`.
pub fn partial_seed_dir(seed: u64) -> String {
    partial_dir(&seed_dir(seed))
}

/// Where the directory of this name grows: `.<name>.partial` beside it.
pub fn partial_dir(name: &str) -> String {
    format!(".{name}.partial")
}

/// The directory name of an arm: lower case, with each stretch of anything but `a-z`, `0-9`, `.` and `_` a single `-`.
///
/// Never empty, never `.` or `..`. Two names can share a slug (`"A b"` and `"a-b"`); who plans an experiment checks that.
///
/// ```
/// assert_eq!(bn_report::schema::slug("Batch norm, decay 0.99"), "batch-norm-decay-0.99");
/// ```
pub fn slug(name: &str) -> String {
    let mut slug = String::new();
    for character in name.chars().map(|c| c.to_ascii_lowercase()) {
        if character.is_ascii_alphanumeric() || character == '.' || character == '_' {
            slug.push(character);
        } else if !slug.ends_with('-') {
            slug.push('-');
        }
    }
    match slug.trim_matches(['-', '.']) {
        "" => "arm".to_owned(),
        trimmed => trimmed.to_owned(),
    }
}

/// Which examples a value was measured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// The examples that are learned from.
    Train,
    /// Held out, looked at while training.
    Validation,
    /// Held out, looked at when training ended.
    Test,
}

impl Split {
    /// The word that stands in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// One value that a run measured: a row of `metrics.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricRow {
    /// Optimizer updates done when it was measured; 0 is the untrained net.
    pub step: u64,
    /// Whole passes over the training data done by then.
    pub epoch: u64,
    /// Training examples seen by then.
    pub examples: u64,
    /// The examples it was measured on.
    pub split: Split,
    /// What the batch-norm layers normalized with; none where there is no such layer.
    pub statistics: Option<Statistics>,
    /// `loss` (mean cross-entropy, in nats), `accuracy` (a share, 0 to 1), or what an experiment adds.
    pub metric: String,
    /// The value; none where it is not a finite number.
    #[serde(serialize_with = "write_finite", deserialize_with = "read_finite")]
    pub value: Option<f64>,
}

impl MetricRow {
    /// The columns of `metrics.csv`, in order.
    pub const HEADER: [&'static str; 7] =
        ["step", "epoch", "examples", "split", "statistics", "metric", "value"];
}

/// How fast a run went: a row of `timing.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimingRow {
    /// Optimizer updates done.
    pub step: u64,
    /// Seconds since the run began.
    #[serde(serialize_with = "write_finite", deserialize_with = "read_finite")]
    pub seconds: Option<f64>,
    /// Training examples per second since the row before.
    #[serde(serialize_with = "write_finite", deserialize_with = "read_finite")]
    pub examples_per_second: Option<f64>,
    /// Share of the training time since the row before that was spent waiting for examples, from 0 to 1.
    #[serde(serialize_with = "write_finite", deserialize_with = "read_finite", default)]
    pub loading_share: Option<f64>,
}

impl TimingRow {
    /// The columns of `timing.csv`, in order.
    pub const HEADER: [&'static str; 4] =
        ["step", "seconds", "examples_per_second", "loading_share"];
}

/// What went on inside a layer: a row of `layers.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerRow {
    /// The update that was watched: those done after it.
    pub step: u64,
    /// Path of a layer, or of one of its parameters: `hidden1.norm`, `hidden1.weight`.
    pub layer: String,
    /// For instance `gradient_norm`.
    pub metric: String,
    /// The value; none where it is not a finite number.
    #[serde(serialize_with = "write_finite", deserialize_with = "read_finite")]
    pub value: Option<f64>,
}

impl LayerRow {
    /// The columns of `layers.csv`, in order.
    pub const HEADER: [&'static str; 4] = ["step", "layer", "metric", "value"];
}

/// How a run stands or ended: `status.json`, as `{"state": "running"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Status {
    /// Still going on, or killed without a word.
    Running,
    /// Did every step.
    Finished,
    /// Ended early because a number was not finite: a result, not an error.
    Diverged {
        /// The step whose update or loss was not finite.
        step: u64,
        /// What was not finite, in a few words.
        reason: String,
    },
    /// Ended early because of an error.
    Failed {
        /// The error, as a person would read it.
        error: String,
    },
    /// Ended early because somebody stopped it.
    Interrupted,
}

impl Status {
    /// Whether a run that ended like this is a result: it came to its end, or diverged on the way there.
    pub fn is_result(&self) -> bool {
        matches!(self, Self::Finished | Self::Diverged { .. })
    }

    /// The text of `status.json`, ending in a newline.
    pub fn to_json(&self) -> String {
        // A tagged enum of integers and strings always serializes.
        let json =
            serde_json::to_string(self).unwrap_or_else(|error| unreachable!("status: {error}"));
        json + "\n"
    }
}

fn write_finite<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) if value.is_finite() => serializer.collect_str(value),
        _ => serializer.serialize_none(),
    }
}

fn read_finite<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.filter(|value| value.is_finite()))
}

#[cfg(test)]
mod tests;
