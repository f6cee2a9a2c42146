//! Problems of an experiment file, each with its position and what would be accepted.

use std::fmt;

/// Where a problem is. Ordered from the top of the file to its bottom, then the command line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The file in general: something is missing.
    File,
    /// A position in the file, both counted from 1.
    At {
        /// Line.
        line: usize,
        /// Character in the line.
        column: usize,
    },
    /// A command-line flag, as typed.
    Flag(String),
}

/// `3:1` in a file, or the flag as typed; empty for the file in general.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => Ok(()),
            Self::At { line, column } => write!(f, "{line}:{column}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where it is.
    pub place: Place,
    /// What is wrong, and what would be accepted.
    pub message: String,
}

/// All problems of one experiment; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The path of the file, or `experiment NAME` for an embedded one.
    pub origin: String,
    /// Sorted by place, without duplicates.
    pub problems: Vec<Problem>,
}

impl Invalid {
    /// Sorts `problems`; `None` if there are none.
    pub(crate) fn from_problems(origin: &str, mut problems: Vec<Problem>) -> Option<Self> {
        problems.sort();
        problems.dedup();
        (!problems.is_empty()).then(|| Self { origin: origin.to_owned(), problems })
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Problem { place, message }) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            match place {
                Place::File => write!(f, "{}: {message}", self.origin)?,
                Place::At { .. } => write!(f, "{}:{place}: {message}", self.origin)?,
                Place::Flag(_) => write!(f, "{place}: {message}")?,
            }
        }
        match self.problems.len() {
            0 | 1 => Ok(()),
            count => write!(f, "\n{count} problems; nothing was trained"),
        }
    }
}

impl std::error::Error for Invalid {}
