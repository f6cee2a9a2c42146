//! `bn-train bench`: times kernels and training steps.

use super::respawn::respawn;
use crate::bench;
use crate::device::DeviceName;
use clap::Args;
use std::num::NonZeroUsize;
use std::process::ExitCode;

/// What to time.
#[derive(Debug, Args)]
pub(super) struct Bench {
    /// Time only what has this in its name
    #[arg(long, value_name = "NAME", default_value = "")]
    only: String,
    /// Number of threads
    #[arg(long, value_name = "N", default_value = "2")]
    threads: NonZeroUsize,
    /// Steps to time; short ones are repeated more often
    #[arg(long, value_name = "N", default_value = "15")]
    rounds: NonZeroUsize,
    /// cpu, cuda:N, or cuda, the first GPU; training steps only on a GPU, many between two waits for it
    #[arg(long, default_value_t)]
    device: DeviceName,
}

impl Bench {
    /// Times in this process if it has the environment of a training process, otherwise in a new one.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if let Some(status) = respawn(self.threads.get())? {
            return Ok(status);
        }
        let (threads, rounds) = (self.threads.get(), self.rounds.get());
        let selection = bench::Selection { only: self.only, threads, rounds, device: self.device };
        bench::run(&selection).map(|()| ExitCode::SUCCESS)
    }
}
