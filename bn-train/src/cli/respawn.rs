//! Restarts the program in the environment of a training process, so that its timings are representative.

use crate::launch;
use anyhow::Context as _;
use std::process::{Command, ExitCode};

/// Runs the same command in a child process with `threads` threads and the environment of a training process.
/// Returns `None` if this process already has that environment.
///
/// # Errors
/// The program cannot be started again.
pub(super) fn respawn(threads: usize) -> anyhow::Result<Option<ExitCode>> {
    if std::env::var_os(launch::KEEPS_MEMORY).is_some() {
        return Ok(None);
    }
    let status = Command::new(std::env::current_exe().context("cannot find this program")?)
        .args(std::env::args_os().skip(1))
        .envs(launch::environment(threads))
        .status()
        .context("cannot start this program again")?;
    Ok(Some(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }))
}
