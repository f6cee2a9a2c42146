//! Draws the report of an experiment from the run directories that training left behind.
//!
//! ```no_run
//! # fn main() -> Result<(), bn_report::Error> {
//! let report = bn_report::report("runs/decay-and-renorm".as_ref(), "report.html".as_ref())?;
//! print!("{}", report.comparison.render_table());
//! # Ok(())
//! # }
//! ```
//!
//! Three stages that never mix: [`read`] takes files to rows; [`curve`], [`stats`], [`compare`] and [`findings`] take rows to
//! numbers and sentences and open nothing; [`figures`], [`chart`], [`html`] and [`summary`] take those to text; [`mod@write`] alone
//! writes. [`draw`] and [`index`](mod@index) put them together. [`schema`] defines the rows and files, and training writes through it.
//!
//! What is not here: anything about training that training did not log, tensors, clocks, random numbers but for resampling from a
//! fixed seed, the network.

pub mod schema;

pub mod error;
pub mod text;

pub mod read;

pub mod stats;

pub mod curve;

pub mod compare;
pub mod format;

pub mod findings;

pub mod chart;
pub mod figures;
pub mod html;
pub mod summary;

pub mod write;

pub mod draw;
pub mod index;

pub mod cli;

#[cfg(test)]
mod fixture;

pub use crate::draw::{Options, Report, report, report_with};
pub use crate::error::{Error, Result};
