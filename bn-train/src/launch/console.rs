//! Messages to the user. A closed standard error ends no run: nobody reads it, and the results are in files.

use std::io::Write as _;

/// Prints a line to the standard error.
pub(crate) fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
