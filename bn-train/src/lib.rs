//! Trains networks under batch normalization of many kinds, and writes down what happens.
//!
//! The program `bn-train` is [`Laboratory::new`] and nothing else. A program of one's own adds a network, a data set and an
//! experiment, and has the same command line; this is `examples/own_model.rs`:
//!
//! ```no_run
#![doc = include_str!("../examples/own_model.rs")]
//! ```
//!
//! [`model`] has the layers, [`data`] what a data set is, [`keys`] how keys of a file are read, [`optimizer`] the optimizers,
//! [`task`] what networks learn together; [`state`] and [`random`] are what these are saved by and draw from.
//!
//! Data flows one way: an experiment (TOML) is checked and unfolded into a plan of runs; each run goes to a worker process,
//! which trains it and writes a run directory; bn-report turns the directories into curves and a page.

// `pub` in a private module says what the rest of the crate may use.
#![allow(unreachable_pub)]

// Modules in reading order; each uses only those above it (`tests/architecture.rs` holds that, and
// `reorder_modules = false` in rustfmt.toml keeps the order).
pub mod random;
pub mod keys;
pub mod state;
mod schedule;
mod device;
mod ops;
pub mod data;
pub mod model;
pub mod optimizer;
pub mod task;
mod experiment;
mod run;
mod preflight;
mod launch;
mod bench;
mod cli;
mod laboratory;

pub use laboratory::Laboratory;

/// Name, version and, where it is known, commit of this program.
pub const VERSION: &str = concat!("bn-train ", env!("BN_TRAIN_VERSION"));

/// Compiles and runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
