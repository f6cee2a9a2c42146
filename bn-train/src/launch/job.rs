//! The launcher's inputs and result.

use crate::device::DeviceName;
use bn_report::schema::Status;
use std::path::PathBuf;

/// One run to launch.
#[derive(Clone, Debug)]
pub struct Job {
    /// Name in progress output, for example `decay 0.9, seed 0`.
    pub label: String,
    /// The run's folder.
    pub directory: PathBuf,
    /// Contents of the run's `config.toml`.
    pub config: String,
    /// Digest of the settings: runs with equal digests compute the same.
    pub digest: String,
    /// Number of training steps.
    pub steps: u64,
}

/// Options of a launch.
#[derive(Clone, Debug)]
pub struct Options {
    /// The device of each concurrent process, at least one.
    pub devices: Vec<DeviceName>,
    /// Threads per run.
    pub threads: usize,
    /// Whether progress is shown as lines of text instead of bars.
    pub plain: bool,
}

/// The result of a launch.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Status of each job in order; `None` if the job was never started.
    pub statuses: Vec<Option<Status>>,
    /// Whether Ctrl-C or SIGTERM ended the launch.
    pub was_interrupted: bool,
}
