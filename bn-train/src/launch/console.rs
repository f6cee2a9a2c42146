//! Messages to the user. A closed standard error does not stop the runs, since results go to files.

use std::io::Write as _;

/// Prints a line to standard error.
pub(crate) fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
