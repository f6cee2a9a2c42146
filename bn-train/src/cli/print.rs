//! What commands print: a reader who has seen enough (`| head`) is no error.

use anyhow::Context as _;
use std::io::Write as _;
use std::process::ExitCode;

/// Prints `text`. A reader who has seen enough (`| head`) is no error.
pub(super) fn print_all(text: &str) -> anyhow::Result<ExitCode> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("the standard output")
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}
