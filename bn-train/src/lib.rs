//! Trains networks under batch normalization of many kinds, and writes down what happens.
//!
//! Data flows one way: an [`experiment`] (TOML) is checked and unfolded into a plan of runs; [`launch`] hands each run
//! to a worker process; [`run`] trains it and writes a run directory; bn-report turns the directories into curves and a
//! page. The binary `bn-train` is [`cli`] and nothing else.

// Modules in reading order; each uses only those above it (`tests/architecture.rs` holds that, and
// `reorder_modules = false` in rustfmt.toml keeps the order).
pub mod random;
pub mod keys;
pub mod state;
pub mod schedule;
pub mod device;
pub mod ops;
pub mod data;
pub mod model;
pub mod optimizer;
pub mod experiment;
pub mod run;
pub mod preflight;
pub mod launch;
pub mod bench;
pub mod cli;

/// Name, version and, where it is known, commit of this program.
pub const VERSION: &str = concat!("bn-train ", env!("BN_TRAIN_VERSION"));

/// Compiles and runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
