//! The device a command computes on, and how the cores are divided among its runs.

use crate::device::DeviceName;
use clap::Args;

/// The device, the number of concurrent runs, and the threads of each.
#[derive(Debug, Args)]
pub(super) struct Machine {
    /// Concurrent runs, one process each [default: cores divided by --threads; 1 on a GPU]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    jobs: Option<usize>,
    /// Threads per run; results do not depend on it [default: cores divided by --jobs]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    threads: Option<usize>,
    /// cpu, cuda or cuda:N
    #[arg(long, default_value_t)]
    pub(super) device: DeviceName,
}

/// The number of concurrent runs and the threads of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) jobs: usize,
    pub(super) threads: usize,
}

impl Machine {
    /// Divides this machine's cores among `runs` runs.
    pub(super) fn share(&self, runs: usize) -> Share {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = self.jobs.or(match self.device {
            DeviceName::Cpu => None,
            // Each process needs its own context and memory on the GPU.
            DeviceName::Cuda(_) => Some(1),
        });
        share(cores, runs, jobs, self.threads)
    }
}

fn share(cores: usize, runs: usize, jobs: Option<usize>, threads: Option<usize>) -> Share {
    let jobs = jobs.unwrap_or_else(|| cores / threads.unwrap_or(1)).clamp(1, runs.max(1));
    Share { jobs, threads: threads.unwrap_or(cores / jobs).max(1) }
}

/// Parses a positive integer.
fn at_least_one(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|&number| number > 0);
    number.ok_or_else(|| "expected a positive integer".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_divided_among_jobs_and_threads() {
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
