//! Why data could not be read: which file, where in it, what is wrong, what was expected.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why data could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or folder that the system does not let us read.
    #[error("{}: cannot read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Bytes that do not unpack.
    #[error("{origin}: cannot be unpacked")]
    Unpack {
        /// The file, or where else the bytes come from.
        origin: String,
        /// What unpacking says.
        source: io::Error,
    },
    /// Content that is not what it should be.
    #[error("{origin}{at}: {problem}")]
    Malformed {
        /// The file, or where else the content comes from.
        origin: String,
        /// Where in it.
        at: At,
        /// What was found and what was expected.
        problem: String,
    },
}

/// Where in a file something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// The file as a whole.
    File,
    /// A line, counted from 1.
    Line(u64),
    /// A byte, counted from 0.
    Byte(u64),
    /// What has this name: an array, a column.
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

/// What is wrong with content whose origin the reader of it does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Where.
    pub at: At,
    /// What was found and what was expected.
    pub problem: String,
}

impl Flaw {
    pub(super) fn new(at: At, problem: impl Into<String>) -> Self {
        Self { at, problem: problem.into() }
    }

    /// The error that the content of `origin` has this flaw.
    pub fn of(self, origin: impl fmt::Display) -> DataError {
        DataError::Malformed { origin: origin.to_string(), at: self.at, problem: self.problem }
    }
}

impl DataError {
    /// `problem` says what was found in `origin` and what was expected.
    pub fn malformed(origin: impl fmt::Display, at: At, problem: impl Into<String>) -> Self {
        Flaw::new(at, problem).of(origin)
    }

    /// The system does not let us read `path`.
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Read { path: path.to_owned(), source }
    }
}
