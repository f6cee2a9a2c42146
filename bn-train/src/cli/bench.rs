//! `bn-train bench`: times kernels and training steps.

use crate::{bench, launch};
use anyhow::Context as _;
use clap::Args;
use std::num::NonZeroUsize;
use std::process::ExitCode;

/// What to time.
#[derive(Debug, Args)]
pub(super) struct Bench {
    /// Only those whose name contains this
    #[arg(long, value_name = "NAME", default_value = "")]
    only: String,
    /// Threads to compute with
    #[arg(long, value_name = "N", default_value = "2")]
    threads: NonZeroUsize,
    /// Steps to time, more of the short ones
    #[arg(long, value_name = "N", default_value = "15")]
    rounds: NonZeroUsize,
}

impl Bench {
    /// Times in a process like those that train: this one, if it has their environment, or one of its own.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if std::env::var_os(launch::KEEPS_MEMORY).is_some() {
            let selection = bench::Selection {
                only: self.only,
                threads: self.threads.get(),
                rounds: self.rounds.get(),
            };
            return bench::run(&selection).map(|()| ExitCode::SUCCESS);
        }
        let program = std::env::current_exe().context("cannot find this program")?;
        let status = std::process::Command::new(program)
            .args(std::env::args_os().skip(1))
            .envs(launch::environment(self.threads.get()))
            .status()
            .context("cannot start this program again")?;
        Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
