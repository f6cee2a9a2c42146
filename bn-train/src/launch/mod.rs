//! Runs a plan: worker processes that train, and one that hands out runs and shows how they go.
//!
//! Runs are processes, not threads, because candle reads its thread counts once per process: each worker gets its share
//! of the cores, and a crash takes one run with it, not all.

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
