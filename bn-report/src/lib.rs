//! Draws the report of an experiment from the run directories that training left behind.
//!
//! [`schema`] defines the rows and files of a run directory; training writes through it.

pub mod schema;
