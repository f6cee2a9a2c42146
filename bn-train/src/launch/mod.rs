//! Runs a plan: worker processes that train, and one that hands out runs and shows how they go.
//!
//! Runs are processes, not threads, because candle reads its thread counts once per process: each worker gets its share
//! of the cores, and a crash takes one run with it, not all.

pub mod interruption;
pub mod local;
mod progress;
mod protocol;
pub mod worker;

pub use local::{Job, KEEPS_MEMORY, Options, Outcome, environment, launch};
