//! What is launched, how, and what became of it.

use crate::device::DeviceName;
use bn_report::schema::Status;
use std::path::PathBuf;

/// One run to launch.
#[derive(Clone, Debug)]
pub struct Job {
    /// What progress calls it: `decay 0.9, seed 0`.
    pub label: String,
    /// Where its directory goes.
    pub directory: PathBuf,
    /// Its `config.toml`.
    pub config: String,
    /// Digest of its settings: two runs with the same digest compute the same.
    pub digest: String,
    /// Updates that it takes.
    pub steps: u64,
}

/// How to launch.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Runs at a time; at least 1.
    pub jobs: usize,
    /// Threads of each.
    pub threads: usize,
    /// What they train on.
    pub device: DeviceName,
    /// Lines of text rather than bars.
    pub plain: bool,
}

/// What became of the jobs.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// In the order of the jobs; none for a job that was never begun.
    pub statuses: Vec<Option<Status>>,
    /// Whether Ctrl-C (or SIGTERM) ended it.
    pub was_interrupted: bool,
}
