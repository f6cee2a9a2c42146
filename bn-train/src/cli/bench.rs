//! `bn-train bench`: times kernels and training steps.

use super::respawn::respawn;
use crate::bench;
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
        if let Some(status) = respawn(self.threads.get())? {
            return Ok(status);
        }
        let (only, threads, rounds) = (self.only, self.threads.get(), self.rounds.get());
        bench::run(&bench::Selection { only, threads, rounds }).map(|()| ExitCode::SUCCESS)
    }
}
