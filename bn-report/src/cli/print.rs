//! Words for who sits at the terminal.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use crate::error::{Error, Result};
use crate::text::printable;

/// Prints `text`. A reader who has seen enough (`| head`) is no error.
pub(super) fn print_all(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::write(Path::new("standard output"), error))
        }
        _ => Ok(()),
    }
}

/// How many characters a line of a table may have: as many as the terminal has, or [`PLAIN_WIDTH`] where there is none.
pub(super) fn terminal_width() -> usize {
    terminal_size::terminal_size().map_or(PLAIN_WIDTH, |(width, _)| width.0.into())
}

const PLAIN_WIDTH: usize = 100;

/// Says on stderr what a reader should know about the files. The exit status is that of a failure where some could not be read.
pub(super) fn tell(damage: &[String], notices: &[String]) -> ExitCode {
    let mut stderr = io::stderr();
    for notice in notices {
        // Nobody is left to tell of a closed stderr.
        let _ = writeln!(stderr, "warning: {}", printable(notice));
    }
    for damage in damage {
        let _ = writeln!(stderr, "error: {}", printable(damage));
    }
    if damage.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
