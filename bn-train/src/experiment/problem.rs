//! What is wrong with an experiment: every problem, each with its place and what would be accepted.

use std::fmt;

/// Where a problem is. Ordered as a reader meets them: the file from top to bottom, then the command line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The file as a whole: something is missing.
    File,
    /// A position in the file, both counted from 1.
    At {
        /// Line.
        line: usize,
        /// Character in the line.
        column: usize,
    },
    /// A flag of the command line, as it was typed.
    Flag(String),
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What, and what would be accepted.
    pub message: String,
}

/// All that is wrong with one experiment; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The path of the file, or `experiment NAME` for an embedded one.
    pub origin: String,
    /// By place; no problem twice.
    pub problems: Vec<Problem>,
}

impl Invalid {
    /// All of `problems`, sorted; none when there are none.
    pub(super) fn from_problems(origin: &str, mut problems: Vec<Problem>) -> Option<Self> {
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
                Place::At { line, column } => {
                    write!(f, "{}:{line}:{column}: {message}", self.origin)?
                }
                Place::Flag(flag) => write!(f, "{flag}: {message}")?,
            }
        }
        match self.problems.len() {
            0 | 1 => Ok(()),
            count => write!(f, "\n{count} problems; nothing was trained"),
        }
    }
}

impl std::error::Error for Invalid {}

/// The candidate that `word` was most likely meant to be, if one is close enough.
pub(crate) fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| {
            (edit_distance(&word.to_lowercase(), &candidate.to_lowercase()), candidate)
        })
        .filter(|&(distance, _)| distance <= limit)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Letters to insert, delete, replace or swap with their neighbour to turn one word into the other.
fn edit_distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_words_are_suggested_and_far_ones_are_not() {
        let keys = ["norm.decay", "norm.kind", "train.steps", "seeds"];
        assert_eq!(did_you_mean("norm.dekay", keys), Some("norm.decay"));
        assert_eq!(did_you_mean("train.stesp", keys), Some("train.steps"));
        assert_eq!(did_you_mean("Seed", keys), Some("seeds"));
        assert_eq!(did_you_mean("colour", keys), None);
        assert_eq!(did_you_mean("", keys), None);
    }

    #[test]
    fn distance_counts_edits() {
        for (from, to, distance) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("abc", "acb", 1),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(edit_distance(from, to), distance);
            assert_eq!(edit_distance(to, from), distance);
        }
    }
}
