//! Trains networks under batch normalization of many kinds, and writes down what happens.
//!
//! The program `bn-train` is [`Laboratory::new`] and nothing else. A program of one's own adds a network, a data set and an
//! experiment, and has the same command line; this is `examples/own_model.rs`:
//!
//! ```no_run
#![doc = include_str!("../examples/own_model.rs")]
//! ```
//!
//! [`model`] has the layers, [`data`] what a data set is, [`keys`] how keys of a file are read, [`optimizer`] the optimizers.
//! The other modules are public for the tests and benchmarks of this crate; they may change at any time.
//!
//! Data flows one way: an experiment (TOML) is checked and unfolded into a plan of runs; each run goes to a worker process,
//! which trains it and writes a run directory; bn-report turns the directories into curves and a page.

// Modules in reading order; each uses only those above it (`tests/architecture.rs` holds that, and
// `reorder_modules = false` in rustfmt.toml keeps the order).
#[doc(hidden)]
pub mod random;
pub mod keys;
#[doc(hidden)]
pub mod state;
#[doc(hidden)]
pub mod schedule;
#[doc(hidden)]
pub mod device;
#[doc(hidden)]
pub mod ops;
pub mod data;
pub mod model;
pub mod optimizer;
#[doc(hidden)]
pub mod experiment;
#[doc(hidden)]
pub mod run;
#[doc(hidden)]
pub mod preflight;
#[doc(hidden)]
pub mod launch;
#[doc(hidden)]
pub mod bench;
#[doc(hidden)]
pub mod cli;
mod laboratory;

pub use laboratory::Laboratory;

/// Name, version and, where it is known, commit of this program.
pub const VERSION: &str = concat!("bn-train ", env!("BN_TRAIN_VERSION"));

/// Compiles and runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
