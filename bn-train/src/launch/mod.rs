//! Runs a plan: worker processes train, and a launcher hands out runs and shows their progress.
//!
//! Workers are processes, not threads, because candle reads its thread counts once per process. Each worker gets its
//! share of the cores, and a crash ends one run only.

mod attempt;
mod child;
pub(crate) mod console;
pub mod earlier;
pub mod interruption;
mod job;
pub mod local;
mod progress;
mod protocol;
pub mod worker;

pub use child::{KEEPS_MEMORY, environment};
pub use job::{Job, Options, Outcome};
pub use local::launch;
pub(crate) use worker::awake_on;
