//! One page about all experiments of a folder: what each asks, what its claim came to, how its runs stand, how long they took.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use askama::Template;

use crate::compare::Comparison;
use crate::compare::table::align;
use crate::error::{Error, Result};
use crate::findings::Findings;
use crate::format;
use crate::html::inline;
use crate::read::{Experiment, read_experiment};
use crate::schema;
use crate::text::printable;
use crate::write::Files;

/// Every experiment of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Name of the folder.
    pub folder: String,
    /// The experiments, by name of their folders.
    pub rows: Vec<IndexRow>,
    /// What cannot be read, with its place.
    pub damage: Vec<String>,
}

/// One experiment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexRow {
    /// Its folder.
    pub folder: String,
    /// Its name.
    pub name: String,
    /// What it asks.
    pub question: Option<String>,
    /// What its source says.
    pub claim: Option<String>,
    /// `supported`, `contradicted` or `undecided`, and its class in the style sheet; none without a claim.
    pub verdict: Option<(&'static str, &'static str)>,
    /// The headline of its report.
    pub headline: String,
    /// How its runs stand.
    pub runs: String,
    /// Hours, minutes and seconds that its runs took, all together; none where no run says.
    pub time: Option<String>,
    /// Address of its report beside the index; none where there is no report.
    pub report: Option<String>,
}

/// Draws the index of `directory` into `output`.
///
/// # Errors
/// A folder without an experiment; a page that cannot be written. An experiment that cannot be read is in [`Index::damage`].
pub fn index(directory: &Path, output: &Path) -> Result<Index> {
    let entries = fs::read_dir(directory).map_err(|error| Error::read(directory, error))?;
    let mut folders: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect();
    folders.sort();
    let mut index = Index {
        folder: shown(directory.file_name().unwrap_or(directory.as_os_str())),
        rows: Vec::new(),
        damage: Vec::new(),
    };
    for folder in folders {
        match read_experiment(&folder) {
            Ok(mut experiment) => {
                index.damage.extend(experiment.damage.drain(..).map(|damage| printable(&damage)));
                index.rows.push(row(&folder, output, &experiment));
            }
            // Any folder may stand here; one with a manifest means to be an experiment.
            Err(error) if folder.join(schema::MANIFEST).is_file() => {
                index.damage.push(printable(&error.to_string()));
            }
            Err(_) => {}
        }
    }
    if index.rows.is_empty() {
        let reason = "expected a folder of experiments; none is here".to_owned();
        return Err(Error::NotAnExperiment { path: directory.to_owned(), reason });
    }
    let page = index
        .render_page()
        .map_err(|error| Error::Render { file: "index.html", message: error.to_string() })?;
    let parent = output.parent().filter(|folder| !folder.as_os_str().is_empty());
    Files::write_one(parent.unwrap_or(Path::new(".")), output, page.as_bytes())?;
    Ok(index)
}

fn row(folder: &Path, output: &Path, experiment: &Experiment) -> IndexRow {
    let comparison = Comparison::of(experiment);
    let states = comparison.states();
    let counts: Vec<String> = states
        .named()
        .iter()
        .filter(|(_, number)| *number > 0)
        .map(|(word, number)| format!("{number} {word}"))
        .collect();
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // A link works only where the index stands beside the folders.
    let is_beside = output.parent() == folder.parent();
    let report = folder.join(schema::REPORT).is_file() && is_beside;
    let seconds: Vec<f64> =
        experiment.records().filter_map(|record| record.timing.last()?.seconds).collect();
    IndexRow {
        report: report.then(|| format!("{}/{}", address(&name), schema::REPORT)),
        name: experiment.name.clone(),
        question: experiment.question.clone(),
        claim: comparison.claim.as_ref().map(|card| card.claim.text.clone()),
        verdict: comparison.claim.as_ref().map(|card| (card.verdict.name(), card.verdict.class())),
        headline: Findings::of(&comparison).headline.plain(),
        runs: counts.join(", "),
        time: (!seconds.is_empty()).then(|| duration(seconds.iter().sum())),
        folder: printable(&name),
    }
}

fn shown(name: &OsStr) -> String {
    printable(&name.to_string_lossy())
}

/// A name as a part of an address: bytes that stand for something else there are escaped.
fn address(name: &str) -> String {
    let mut address = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            address.push(char::from(byte));
        } else {
            address += &format!("%{byte:02X}");
        }
    }
    address
}

/// `1 h 02 min`, `3 min 20 s`, `4.2 s`.
fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// The page of an index.
#[derive(Debug, Template)]
#[template(path = "index.html")]
struct Page<'a> {
    index: &'a Index,
    style: String,
    policy: String,
}

impl Index {
    fn render_page(&self) -> std::result::Result<String, askama::Error> {
        let style = inline::style_sheet();
        Page { index: self, policy: inline::policy(&style, None), style }.render()
    }

    /// The table for a terminal.
    pub fn render(&self) -> String {
        let heading = ["experiment", "runs", "time", "claim"].map(str::to_owned).to_vec();
        let mut lines = vec![heading];
        for row in &self.rows {
            let absent = || format::ABSENT.to_owned();
            lines.push(vec![
                row.name.clone(),
                row.runs.clone(),
                row.time.clone().unwrap_or_else(absent),
                row.verdict.map_or_else(absent, |(verdict, _)| verdict.to_owned()),
            ]);
        }
        align(&lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn the_view_of_a_folder_is_as_before() {
        let folder = tempfile::tempdir().expect("a folder");
        fixture::write(&folder.path().join("lab/small"));
        fs::create_dir(folder.path().join("lab/notes")).expect("made");
        let lab = folder.path().join("lab");
        let index = index(&lab, &lab.join("index.html")).expect("an index");
        fixture::golden("index.txt", &format!("{index:#?}\n"));
    }

    #[test]
    fn durations_and_addresses_are_plain() {
        assert_eq!([4.24, 200.0, 3720.0].map(duration), ["4.2 s", "3 min 20 s", "1 h 02 min"]);
        assert_eq!(address("a b/\"ü"), "a%20b%2F%22%C3%BC");
    }
}
