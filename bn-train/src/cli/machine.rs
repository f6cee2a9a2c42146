//! What a command computes with: a device, and how its cores are shared.

use crate::device::DeviceName;
use clap::Args;

/// A device, runs at a time, and threads of each.
#[derive(Debug, Args)]
pub(super) struct Machine {
    /// Runs at a time, each a process of its own [default: the cores, divided by --threads; 1 on a GPU]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    jobs: Option<usize>,
    /// Threads of each run; its numbers do not depend on it [default: its share of the cores]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    threads: Option<usize>,
    /// cpu, cuda or cuda:N
    #[arg(long, default_value_t)]
    pub(super) device: DeviceName,
}

/// How many runs at a time, with how many threads each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) jobs: usize,
    pub(super) threads: usize,
}

impl Machine {
    /// How the cores of this machine are shared among so many runs.
    pub(super) fn share(&self, runs: usize) -> Share {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = self.jobs.or(match self.device {
            DeviceName::Cpu => None,
            // Each process needs a context and memory of its own on the GPU.
            DeviceName::Cuda(_) => Some(1),
        });
        share(cores, runs, jobs, self.threads)
    }
}

fn share(cores: usize, runs: usize, jobs: Option<usize>, threads: Option<usize>) -> Share {
    let jobs = jobs.unwrap_or_else(|| cores / threads.unwrap_or(1)).clamp(1, runs.max(1));
    Share { jobs, threads: threads.unwrap_or(cores / jobs).max(1) }
}

/// A number of things of which there must be one.
fn at_least_one(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|&number| number > 0);
    number.ok_or_else(|| "expected a whole number from 1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_shared_among_jobs_and_threads() {
        for (cores, runs, jobs, threads, expected) in [
            (8, 35, None, None, (8, 1)),
            (8, 2, None, None, (2, 4)),
            (8, 35, Some(2), None, (2, 4)),
            (8, 35, None, Some(4), (2, 4)),
            (8, 35, Some(3), Some(5), (3, 5)),
            (2, 35, None, Some(4), (1, 4)),
            (2, 1, Some(4), None, (1, 2)),
            (2, 9, Some(4), None, (4, 1)),
        ] {
            let Share { jobs, threads } = share(cores, runs, jobs, threads);
            assert_eq!((jobs, threads), expected, "{cores} cores, {runs} runs");
        }
    }
}
