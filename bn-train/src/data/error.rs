//! Errors of reading data: the file, the position in it, what was found and what was expected.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why data could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or folder cannot be read.
    #[error("{}: cannot read", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Compressed data cannot be decompressed.
    #[error("{origin}: cannot decompress")]
    Unpack {
        /// The file or other source of the data.
        origin: String,
        /// The cause.
        source: io::Error,
    },
    /// The content is malformed.
    #[error("{origin}{at}: {problem}")]
    Malformed {
        /// The file or other source of the data.
        origin: String,
        /// The position in it.
        at: At,
        /// What was found and what was expected.
        problem: String,
    },
}

/// A position in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// The file in general.
    File,
    /// A line, counted from 1.
    Line(u64),
    /// A byte, counted from 0.
    Byte(u64),
    /// A named array or column.
    Named(String),
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => Ok(()),
            Self::Line(line) => write!(f, ", line {line}"),
            Self::Byte(byte) => write!(f, ", byte {byte}"),
            Self::Named(name) => write!(f, ", {name:?}"),
        }
    }
}

/// A problem found by a parser that does not know the origin of its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The position.
    pub at: At,
    /// What was found and what was expected.
    pub problem: String,
}

impl Flaw {
    pub(super) fn new(at: At, problem: impl Into<String>) -> Self {
        Self { at, problem: problem.into() }
    }

    /// Converts into an error for `origin`.
    pub fn of(self, origin: impl fmt::Display) -> DataError {
        DataError::Malformed { origin: origin.to_string(), at: self.at, problem: self.problem }
    }
}

impl DataError {
    /// The content of `origin` is malformed. `problem` says what was found and what was expected.
    pub fn malformed(origin: impl fmt::Display, at: At, problem: impl Into<String>) -> Self {
        Flaw::new(at, problem).of(origin)
    }

    /// `path` cannot be read.
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Read { path: path.to_owned(), source }
    }
}
