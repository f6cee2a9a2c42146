//! What can go wrong between run directories and a report. Every message has the path, and the place in the file.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory could not be read.
    #[error("{}: cannot read: {source}", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the report could not be written; a report that stood there before stands there still.
    #[error("{}: cannot write: {source}", path.display())]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is nothing to draw here.
    #[error("{}: {reason}", path.display())]
    NotAnExperiment {
        /// The directory that was given.
        path: PathBuf,
        /// What was found, and what was wanted.
        reason: String,
    },
    /// A run directory lacks a file.
    #[error("{}: missing; a run directory has config.toml, metrics.csv and status.json", path.display())]
    Missing {
        /// The file that should be there.
        path: PathBuf,
    },
    /// A file does not say what such a file must say.
    #[error("{}{place}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        place: Place,
        /// What was wanted and what was found.
        message: String,
    },
    /// A page has to have a name.
    #[error("{}: expected the name of a file to write", path.display())]
    NotAFile {
        /// What was given.
        path: PathBuf,
    },
    /// Several experiments have no folder of their own.
    #[error("several experiments on one page need -o FILE to say where it goes")]
    NoOutput,
    /// What was asked for is not there.
    #[error("there is no {what} {wanted:?}; there are {there}")]
    Choice {
        /// The kind of thing.
        what: &'static str,
        /// Its name.
        wanted: String,
        /// The names that there are.
        there: String,
    },
    /// A table of all pairs of arms makes no sense.
    #[error("a table of all pairs takes 3 to {most} arms; there are {arms}")]
    Pairs {
        /// How many arms there are.
        arms: usize,
        /// How many there may be.
        most: usize,
    },
    /// A chart could not be drawn.
    #[error("chart {chart}: {message}")]
    Chart {
        /// File name of the chart.
        chart: String,
        /// What the drawing library said.
        message: String,
    },
    /// The page or a summary could not be put together.
    #[error("{file}: cannot be put together: {message}")]
    Render {
        /// File name of the page or summary.
        file: &'static str,
        /// What the library said.
        message: String,
    },
}

/// Shorthand of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A place in a text file, counted from 1; printed as `:line:column`, or as nothing where it is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// Line.
    pub line: Option<u64>,
    /// Column, in characters.
    pub column: Option<u64>,
}

impl Place {
    /// The place of a byte offset in a text.
    pub fn of_offset(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: Some(before.matches('\n').count() as u64 + 1),
            column: Some(before[line_start..].chars().count() as u64 + 1),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for number in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        Ok(())
    }
}

impl Error {
    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.to_owned(), source }
    }

    pub(crate) fn malformed(path: &Path, place: Place, message: impl Into<String>) -> Self {
        Self::Malformed { path: path.to_owned(), place, message: message.into() }
    }
}
