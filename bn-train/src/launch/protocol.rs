//! Messages between the launcher and its workers: one JSON value per line.
//!
//! Orders go to a worker's standard input, one at a time; events come from its standard output. The end of the input
//! tells the worker to stop: the launcher is done, was interrupted, or died.

use bn_report::schema::Status;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A run to train.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// The run's folder.
    pub(super) directory: PathBuf,
    /// Contents of `config.toml`, the complete description of the run.
    pub(super) config: String,
}

/// An event of the run in progress.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(super) enum Event {
    /// Progress of training.
    Progress {
        /// Steps done.
        step: u64,
        /// Training loss of the last batch.
        loss: Option<f64>,
        /// Name and value of the task's main metric at the last validation.
        headline: Option<(String, f64)>,
    },
    /// A message for the user, for example that a damaged checkpoint was skipped.
    Warning {
        /// A sentence, with paths.
        text: String,
    },
    /// The run has ended and its folder is closed.
    Ended(Status),
}
