//! The devices a command computes on, and how they and the cores are divided among its runs.

use crate::device::{DeviceChoice, DeviceName};
use clap::Args;

/// The devices, the number of concurrent runs, and the threads of each.
#[derive(Debug, Args)]
pub(super) struct Machine {
    /// Concurrent runs, one process each [default: cores divided by --threads; on GPUs one per GPU]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    jobs: Option<usize>,
    /// Threads per run; results do not depend on it [default: cores divided by --jobs; 1 on a GPU]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    threads: Option<usize>,
    /// cpu, cuda (every GPU, by turns) or cuda:N; what needs one device takes the first
    #[arg(long, default_value_t)]
    pub(super) device: DeviceChoice,
}

/// The number of concurrent runs and the threads of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) jobs: usize,
    pub(super) threads: usize,
}

impl Machine {
    /// Divides this machine's cores and `devices` among `runs` runs.
    pub(super) fn share(&self, devices: &[DeviceName], runs: usize) -> Share {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        share(cores, devices, runs, self.jobs, self.threads)
    }
}

fn share(
    cores: usize,
    devices: &[DeviceName],
    runs: usize,
    jobs: Option<usize>,
    threads: Option<usize>,
) -> Share {
    let on_gpus = devices.iter().any(|device| device.is_gpu());
    // Each process needs a context and memory of its own on its GPU, and leaves the cores idle.
    let (default_jobs, default_threads) =
        if on_gpus { (devices.len(), Some(1)) } else { (cores / threads.unwrap_or(1), None) };
    let jobs = jobs.unwrap_or(default_jobs).clamp(1, runs.max(1));
    Share { jobs, threads: threads.or(default_threads).unwrap_or(cores / jobs).max(1) }
}

/// `cuda:0, cuda:1`: each of `devices` once.
pub(super) fn named(devices: &[DeviceName]) -> String {
    let mut names: Vec<String> = Vec::new();
    for name in devices.iter().map(ToString::to_string) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(", ")
}

/// Parses a positive integer.
fn at_least_one(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|&number| number > 0);
    number.ok_or_else(|| "expected a positive integer".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::by_turns;
    use crate::experiment::digest::device_kind;

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
            let Share { jobs, threads } = share(cores, &[DeviceName::Cpu], runs, jobs, threads);
            assert_eq!((jobs, threads), expected, "{cores} cores, {runs} runs");
        }
    }

    #[test]
    fn each_gpu_gets_a_run() {
        for (gpus, runs, jobs, threads, expected) in [
            (1, 35, None, None, (1, 1)),
            (2, 35, None, None, (2, 1)),
            (3, 35, None, None, (3, 1)),
            (8, 35, None, None, (8, 1)),
            // Fewer runs than GPUs.
            (8, 3, None, None, (3, 1)),
            (2, 1, None, None, (1, 1)),
            (3, 0, None, None, (1, 1)),
            // More runs at a time than GPUs, and fewer.
            (2, 35, Some(6), None, (6, 1)),
            (8, 35, Some(3), None, (3, 1)),
            (8, 2, Some(16), None, (2, 1)),
            (2, 35, None, Some(4), (2, 4)),
        ] {
            let devices: Vec<DeviceName> = (0..gpus).map(DeviceName::Cuda).collect();
            for cores in [1, 2, 64] {
                let Share { jobs, threads } = share(cores, &devices, runs, jobs, threads);
                assert_eq!((jobs, threads), expected, "{gpus} GPUs, {runs} runs, {cores} cores");
                // No GPU gets a second run before each has one.
                let first: Vec<String> = (0..gpus.min(jobs)).map(|i| format!("cuda:{i}")).collect();
                assert_eq!(named(&by_turns(&devices, jobs)), first.join(", "));
            }
        }
    }

    #[test]
    fn a_digest_does_not_tell_gpus_apart() {
        let every = ["cuda", "cuda:0", "cuda:7"].map(|text| text.parse::<DeviceChoice>().unwrap());
        for choice in every {
            assert_eq!(device_kind(&choice.to_string()), "cuda");
            assert_eq!(device_kind(&choice.first().to_string()), "cuda");
        }
    }
}
