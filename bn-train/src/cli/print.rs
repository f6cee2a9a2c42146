//! Standard output for commands. A closed pipe (`| head`) is not an error.

use anyhow::Context as _;
use std::io::Write as _;
use std::process::ExitCode;

/// Prints `text` and returns success.
pub(super) fn print_all(text: &str) -> anyhow::Result<ExitCode> {
    print(text).map(|()| ExitCode::SUCCESS)
}

/// Prints `text`.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}
