//! What commands print: a reader who has seen enough (`| head`) is no error.

use anyhow::Context as _;
use std::io::Write as _;
use std::process::ExitCode;

/// Prints `text` as all that a command has to say.
pub(super) fn print_all(text: &str) -> anyhow::Result<ExitCode> {
    print(text).map(|()| ExitCode::SUCCESS)
}

/// Prints `text`.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to the standard output")
        }
        _ => Ok(()),
    }
}
