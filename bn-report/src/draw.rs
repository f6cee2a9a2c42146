//! From run directories to a report on disk: reads, compares, draws, writes.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::chart::Chart;
use crate::chart::smooth::WINDOW;
use crate::compare::{Choice, Comparison};
use crate::error::{Error, Result};
use crate::figures::Figures;
use crate::findings::Findings;
use crate::read::{Experiment, read_experiment};
use crate::schema;
use crate::write::Files;
use crate::{html, summary};

/// What a reader may ask for in place of what the experiment says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Stands at the head of the page in place of the experiment's name.
    pub title: Option<String>,
    /// The arm to compare with, and the metric to compare.
    pub choice: Choice,
    /// Whether every chart is also written as a PNG.
    pub png: bool,
    /// Whether every chart is also written as a PDF.
    pub pdf: bool,
    /// Logged values that a point of a smoothed training curve is the mean of. Defaults to [`WINDOW`].
    pub smooth: Option<usize>,
    /// After so many seconds a browser loads the page again. Defaults to never.
    pub reload_seconds: Option<u32>,
}

/// What was drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The page.
    pub path: PathBuf,
    /// Every file that was written, the page last.
    pub files: Vec<PathBuf>,
    /// One row per arm.
    pub comparison: Comparison,
    /// The sentences.
    pub findings: Findings,
    /// Files that do not hold what they should: what they say is missing from the report.
    pub damage: Vec<String>,
    /// What else a reader must know about the files: cut-off lines, directories outside of the plan.
    pub notices: Vec<String>,
}

/// Draws the report of an experiment's directory into `output`, with `charts/`, `summary.csv` and `summary.md` beside it.
///
/// # Errors
/// As [`report_with`].
pub fn report(directory: &Path, output: &Path) -> Result<Report> {
    report_with(&[directory.to_owned()], output, &Options::default())
}

/// Draws one report of several experiments' directories; see [`Experiment::merged`].
///
/// # Errors
/// A directory that is no experiment's, something asked for that is not there, or anything that cannot be written, with its path; a
/// run that cannot be read is in [`Report::damage`], and the others are reported. All is put together before the first file is
/// touched, so a report that stood there before is replaced by a whole one or not at all.
pub fn report_with(directories: &[PathBuf], output: &Path, options: &Options) -> Result<Report> {
    let mut experiment = read(directories)?;
    options.choice.check(&experiment)?;
    if let Some(title) = &options.title {
        experiment.name = crate::text::printable(title);
    }
    let comparison = Comparison::with(&experiment, &options.choice);
    let findings = Findings::of(&comparison);
    let figures = Figures::draw(&experiment, &comparison, options.smooth.unwrap_or(WINDOW));
    let mut page = html::page(&experiment, &comparison, &findings, &figures)?;
    if let Some(seconds) = options.reload_seconds {
        let reload = format!("<head>\n<meta http-equiv=\"refresh\" content=\"{seconds}\"/>");
        page = page.replacen("<head>", &reload, 1);
    }
    let name = output.file_name().ok_or_else(|| Error::NotAFile { path: output.to_owned() })?;
    let beside = vec![
        (schema::SUMMARY_CSV.to_owned(), summary::csv(&comparison)?.into_bytes()),
        (
            schema::SUMMARY_MD.to_owned(),
            summary::markdown(&experiment, &comparison, &findings).into_bytes(),
        ),
        (name.to_string_lossy().into_owned(), page.into_bytes()),
    ];
    let files = Files { beside, charts: charts(&figures, options)? };
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    files.write(folder)?;
    let mut files = files.paths(folder);
    if let Some(last) = files.last_mut() {
        output.clone_into(last);
    }
    let Experiment { damage, notices, .. } = experiment;
    Ok(Report { path: output.to_owned(), files, comparison, findings, damage, notices })
}

/// Reads the experiments of several directories as one.
///
/// # Errors
/// As [`read_experiment`]; no directory.
pub fn read(directories: &[PathBuf]) -> Result<Experiment> {
    let experiments: Result<Vec<Experiment>> =
        directories.iter().map(|directory| read_experiment(directory)).collect();
    Experiment::merged(experiments?).ok_or_else(|| Error::NotAnExperiment {
        path: PathBuf::new(),
        reason: "expected an experiment's directory".to_owned(),
    })
}

/// The files of the charts: an SVG of each, and a PNG and a PDF where those are asked for.
///
/// # Errors
/// [`Error::Chart`], should the drawing library refuse.
fn charts(figures: &Figures, options: &Options) -> Result<Vec<(String, Vec<u8>)>> {
    let charts: Vec<&Chart> = figures.all().collect();
    let mut files: Vec<(String, Vec<u8>)> = charts
        .par_iter()
        .map(|chart| (format!("{}.svg", chart.file), chart.standalone().into_bytes()))
        .collect();
    type Draw = fn(&Chart) -> std::result::Result<Vec<u8>, String>;
    let formats: [(bool, &str, Draw); 2] =
        [(options.png, "png", Chart::png), (options.pdf, "pdf", Chart::pdf)];
    for (_, extension, draw) in formats.into_iter().filter(|(wanted, ..)| *wanted) {
        let picture = |chart: &&Chart| match draw(chart) {
            Ok(bytes) => Ok((format!("{}.{extension}", chart.file), bytes)),
            Err(message) => Err(Error::Chart { chart: chart.file.clone(), message }),
        };
        // In parallel, in the order of the charts.
        let pictures: Result<Vec<_>> = charts.par_iter().map(picture).collect();
        files.extend(pictures?);
    }
    Ok(files)
}
