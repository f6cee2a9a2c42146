//! Timing in a process like those that train.

use crate::launch;
use anyhow::Context as _;
use std::process::{Command, ExitCode};

/// Runs this same command again, as a process with so many threads and the environment of those that train; none where
/// this is such a process already.
///
/// # Errors
/// When the program cannot be started again.
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
