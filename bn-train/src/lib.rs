//! Trains networks with different kinds of batch normalization and records what happens.
//!
//! The program `bn-train` is just [`Laboratory::new`]. Your own program can add networks, data sets and experiments, and has
//! the same command line. This is `examples/own_model.rs`:
//!
//! ```no_run
#![doc = include_str!("../examples/own_model.rs")]
//! ```
//!
//! [`model`] has the layers, [`data`] the data sets, [`keys`] the reading of keys, [`optimizer`] the optimizers and [`task`]
//! the learning tasks. [`state`] saves their state, and [`random`] provides random streams.
//!
//! Data flows one way: an experiment (TOML) is validated and expanded into a plan of runs. Each run goes to a worker
//! process, which trains it and writes a run directory. bn-report turns the directories into curves and a page.

// `pub` in a private module marks what the rest of the crate may use.
#![allow(unreachable_pub)]

// Modules in reading order. Each uses only those above it (checked by `tests/architecture.rs`;
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

/// Name, version and, if known, commit of this program.
pub const VERSION: &str = concat!("bn-train ", env!("BN_TRAIN_VERSION"));

/// Compiles and runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
