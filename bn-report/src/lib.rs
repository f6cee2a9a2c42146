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
//! writes. [`schema`] defines the rows and files, and training writes through it.
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

pub mod cli;
pub mod write;

use std::path::{Path, PathBuf};

pub use crate::error::{Error, Result};

/// What was drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The page.
    pub path: PathBuf,
    /// Every file that was written, the page last.
    pub files: Vec<PathBuf>,
    /// One row per arm.
    pub comparison: compare::Comparison,
    /// The sentences.
    pub findings: findings::Findings,
    /// Files that do not hold what they should: what they say is missing from the report.
    pub damage: Vec<String>,
    /// What else a reader must know about the files: cut-off lines, directories outside of the plan.
    pub notices: Vec<String>,
}

/// Draws the report of an experiment's directory into `output`, with `charts/`, `summary.csv` and `summary.md` beside it.
///
/// # Errors
/// A directory that is no experiment's, or anything that cannot be written, with its path; a run that cannot be read is in
/// [`Report::damage`], and the others are reported. All is put together before the first file is touched, so a report
/// that stood there before is replaced by a whole one or not at all.
pub fn report(experiment_dir: &Path, output: &Path) -> Result<Report> {
    let experiment = read::read_experiment(experiment_dir)?;
    let comparison = compare::Comparison::of(&experiment);
    let findings = findings::Findings::of(&comparison);
    let figures = figures::Figures::draw(&experiment, &comparison)?;
    let page = html::page(&experiment, &comparison, &findings, &figures)?;

    let beside = |name: &str| output.with_file_name(name);
    let charts = beside(schema::CHARTS);
    let mut files: Vec<(PathBuf, Vec<u8>)> = figures
        .all()
        .map(|chart| (charts.join(&chart.file), chart.standalone().into_bytes()))
        .collect();
    files.push((beside(schema::SUMMARY_CSV), summary::csv(&comparison)?.into_bytes()));
    let markdown = summary::markdown(&experiment, &comparison, &findings);
    files.push((beside(schema::SUMMARY_MD), markdown.into_bytes()));
    files.push((output.to_owned(), page.into_bytes()));
    write::write_all(&files)?;

    let files = files.into_iter().map(|(path, _)| path).collect();
    let read::Experiment { damage, notices, .. } = experiment;
    Ok(Report { path: output.to_owned(), files, comparison, findings, damage, notices })
}
