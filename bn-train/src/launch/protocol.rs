//! What the launcher and its workers say to each other: one JSON value per line.
//!
//! Orders go to a worker's standard input, one at a time; events come from its standard output. The end of the input
//! means stop: it comes when the launcher is done, is interrupted, or dies.

use bn_report::schema::Status;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Train this.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// Where the run's directory goes.
    pub(super) directory: PathBuf,
    /// Its `config.toml`: the whole description of the run.
    pub(super) config: String,
}

/// What happened to the run in progress.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(super) enum Event {
    /// So many steps are done.
    Progress {
        /// Updates done.
        step: u64,
        /// Training loss of the last batch.
        loss: Option<f64>,
        /// The metric by which runs are judged, of the last evaluation on the validation split.
        headline: Option<(String, f64)>,
    },
    /// What the user should know, for instance that a damaged checkpoint was passed over.
    Warning {
        /// A sentence, with paths.
        text: String,
    },
    /// The run is over, and its directory is in place.
    Ended(Status),
}
