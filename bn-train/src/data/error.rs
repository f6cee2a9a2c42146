//! Why data could not be read: which file, where in it, what is wrong, what was expected.

/// Why data could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The bytes do not unpack.
    #[error("{origin}: cannot be unpacked")]
    Unpack {
        /// The file, or where else the bytes come from.
        origin: &'static str,
        /// What unpacking says.
        source: std::io::Error,
    },
    /// A line is not an example.
    #[error("{origin}, line {line}: {problem}")]
    Line {
        /// The file, or where else the bytes come from.
        origin: &'static str,
        /// Counted from 1.
        line: usize,
        /// What is wrong, and what was expected.
        problem: String,
    },
}
