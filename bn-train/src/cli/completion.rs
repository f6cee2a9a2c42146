//! `bn-train completion`: shell completion scripts.

use super::Cli;
use super::print::print_all;
use clap::CommandFactory as _;
use clap_complete::Shell;
use std::process::ExitCode;

/// Prints the script for `shell`.
pub(super) fn completion(shell: Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bn-train", &mut script);
    print_all(&String::from_utf8_lossy(&script))
}
