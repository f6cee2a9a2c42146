//! Times the main operations of training. Prints JSON lines with the names and fields of `tools/torch_reference.py`, and
//! the growth of the process's peak memory. `tools/compare_speed.py` runs both programs alternately.
//!
//! On a GPU only training steps are timed, because convolutions are kernels of the CPU. It works behind the host's back:
//! a time is that of many steps up to one wait, divided. `tools/cuda-bench.sh` runs it beside PyTorch.

mod steps;

use crate::data::ImageShape;
use crate::device::DeviceName;
use crate::ops::parallel::awake;
use anyhow::Context as _;
use candle::Device;
use serde_json::{Value, json};
use std::time::Instant;
use steps::{Step, convolution, mlp, training};

/// Options of a benchmark.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Only cases whose name contains this; all if empty.
    pub only: String,
    /// Number of threads.
    pub threads: usize,
    /// Steps per case, scaled by the case's percentage; on a GPU, times per case.
    pub rounds: usize,
    /// Where to compute.
    pub device: DeviceName,
}

/// Steps between two waits for a GPU: enough that the wait does not count.
const STEPS_ON_GPU: usize = 20;

/// A benchmark case.
struct Case {
    name: &'static str,
    /// Percentage of the requested rounds.
    percent: usize,
    work: Work,
}

enum Work {
    /// Kernels over slices.
    Kernels(fn() -> anyhow::Result<Step>),
    /// A step of the network that a setting describes, for images of a shape, in batches of a size.
    Training(fn() -> String, ImageShape, usize),
    /// The same in bfloat16, which pays on a GPU only.
    Halves(fn() -> String, ImageShape, usize),
}

const CASES: &[Case] = &[
    kernels("conv/128x16x16x32", || convolution(16, 16, 32, 1)),
    kernels("conv/128x32x32x16", || convolution(32, 32, 16, 1)),
    kernels("conv/128x64x64x8", || convolution(64, 64, 8, 1)),
    kernels("conv/128x16x32x32s2", || convolution(16, 32, 32, 2)),
    learning("train/mlp3x100_sigmoid_bn_b60", 2000, || mlp(3, 100, true), FLAT_784, 60),
    learning("train/mlp3x100_sigmoid_b60", 2000, || mlp(3, 100, false), FLAT_784, 60),
    learning("train/mlp20x128_sigmoid_bn_b128", 2000, || mlp(20, 128, true), FLAT_64, 128),
    learning("train/resnet20_b128", 34, || RESNET.to_owned(), COLOUR, 128),
    learning("train/resnet20_b32", 34, || RESNET.to_owned(), COLOUR, 32),
    halves("train_bf16/mlp3x100_sigmoid_bn_b60", || mlp(3, 100, true), FLAT_784, 60),
    halves("train_bf16/mlp3x100_sigmoid_b60", || mlp(3, 100, false), FLAT_784, 60),
    halves("train_bf16/mlp20x128_sigmoid_bn_b128", || mlp(20, 128, true), FLAT_64, 128),
    halves("train_bf16/resnet20_b128", || RESNET.to_owned(), COLOUR, 128),
    halves("train_bf16/resnet20_b32", || RESNET.to_owned(), COLOUR, 32),
];

const RESNET: &str = "model = { kind = 'resnet', depth = 20, activation = 'relu' }";
const FLAT_784: ImageShape = image(1, 28);
const FLAT_64: ImageShape = image(1, 8);
const COLOUR: ImageShape = image(3, 32);

const fn kernels(name: &'static str, build: fn() -> anyhow::Result<Step>) -> Case {
    Case { name, percent: 100, work: Work::Kernels(build) }
}

const fn learning(
    name: &'static str,
    percent: usize,
    model: fn() -> String,
    input: ImageShape,
    batch: usize,
) -> Case {
    Case { name, percent, work: Work::Training(model, input, batch) }
}

const fn halves(
    name: &'static str,
    model: fn() -> String,
    input: ImageShape,
    batch: usize,
) -> Case {
    Case { name, percent: 100, work: Work::Halves(model, input, batch) }
}

const fn image(channels: usize, size: usize) -> ImageShape {
    ImageShape { channels, height: size, width: size }
}

impl Case {
    /// Whether it can run on `device`.
    fn runs_on(&self, device: DeviceName) -> bool {
        match self.work {
            Work::Kernels(_) => !device.is_gpu(),
            Work::Training(..) => true,
            Work::Halves(..) => device.is_gpu(),
        }
    }

    fn build(&self, device: &Device) -> anyhow::Result<Step> {
        match self.work {
            Work::Kernels(build) => build(),
            Work::Training(model, input, batch) => training(&model(), input, batch, device),
            Work::Halves(model, input, batch) => {
                let settings = format!("train.precision = 'bf16'\n{}", model());
                training(&settings, input, batch, device)
            }
        }
    }
}

/// Times each selected case and prints its line.
///
/// # Errors
/// No name matches, the device cannot be opened, or an operation fails.
pub fn run(selection: &Selection) -> anyhow::Result<()> {
    let selected = selected(selection)?;
    let device = selection.device.open()?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(selection.threads)
        .build()
        .context("threads")?;
    for case in selected {
        let line = if device.is_cpu() {
            pool.install(|| awake(|| on_cpu(case, selection, &device)))
        } else {
            on_gpu(case, selection, &device)
        };
        println!("{}", line.with_context(|| case.name)?);
    }
    Ok(())
}

fn selected(selection: &Selection) -> anyhow::Result<Vec<&'static Case>> {
    let possible = || CASES.iter().filter(|case| case.runs_on(selection.device));
    let found: Vec<&Case> = possible().filter(|case| case.name.contains(&selection.only)).collect();
    let names: Vec<&str> = possible().map(|case| case.name).collect();
    anyhow::ensure!(
        !found.is_empty(),
        "no benchmark on {} matches {:?}; expected one of {}",
        selection.device,
        selection.only,
        names.join(", ")
    );
    Ok(found)
}

fn on_cpu(case: &Case, selection: &Selection, device: &Device) -> anyhow::Result<Value> {
    let rounds = (selection.rounds * case.percent / 100).max(5);
    let step = case.build(device)?;
    let before = peak_mib();
    let (median, least) = time(rounds, 1, step)?;
    let grown = peak_mib().zip(before).map(|(after, before)| after - before);
    Ok(json!({
        "name": case.name,
        "median_ms": median,
        "min_ms": least,
        "step_mib": grown,
        "threads": selection.threads,
        "program": crate::VERSION,
    }))
}

fn on_gpu(case: &Case, selection: &Selection, device: &Device) -> anyhow::Result<Value> {
    let mut step = case.build(device)?;
    let (median, least) = time(selection.rounds, STEPS_ON_GPU, || {
        for _ in 0..STEPS_ON_GPU {
            step()?;
        }
        Ok(device.synchronize()?)
    })?;
    Ok(json!({
        "name": case.name,
        "median_ms": median,
        "min_ms": least,
        "device": selection.device.to_string(),
        "program": crate::VERSION,
    }))
}

/// Peak memory of this process in MiB, if the system reports it.
///
/// Its growth over a case's steps is meaningful only for the first case of a process.
fn peak_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

/// Median and minimum milliseconds of a step over `rounds` calls of `work`, each `steps` of them, after three to warm up.
fn time(
    rounds: usize,
    steps: usize,
    mut work: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<(f64, f64)> {
    for _ in 0..3 {
        work()?;
    }
    let mut times = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        work()?;
        times.push(start.elapsed().as_secs_f64() * 1e3 / steps as f64);
    }
    Ok(median_and_least(times))
}

fn median_and_least(mut times: Vec<f64>) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    let middle = times.len() / 2;
    let median = match times.len() % 2 {
        0 => (times[middle - 1] + times[middle]) / 2.0,
        _ => times[middle],
    };
    (median, times[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(only: &str, device: DeviceName) -> anyhow::Result<Vec<&'static str>> {
        let selection = Selection { only: only.to_owned(), threads: 1, rounds: 1, device };
        Ok(selected(&selection)?.iter().map(|case| case.name).collect())
    }

    #[test]
    fn a_gpu_times_training_and_halves() {
        let gpu = DeviceName::Cuda(0);
        let names = chosen("", DeviceName::Cpu).unwrap();
        assert!(names.iter().all(|name| !name.contains("bf16")), "{names:?}");
        assert!(names.contains(&"conv/128x16x16x32"), "{names:?}");
        let names = chosen("", gpu).unwrap();
        assert!(names.iter().all(|name| name.starts_with("train")), "{names:?}");
        assert_eq!(
            chosen("resnet20_b128", gpu).unwrap(),
            ["train/resnet20_b128", "train_bf16/resnet20_b128"]
        );
        let error = chosen("conv", gpu).unwrap_err().to_string();
        assert!(error.contains("on cuda:0 matches \"conv\"; expected one of train/"), "{error}");
    }

    /// They are not timed here, but they are built and take a step.
    #[test]
    fn steps_in_halves_run() {
        for name in ["train_bf16/mlp3x100_sigmoid_bn_b60", "train_bf16/mlp3x100_sigmoid_b60"] {
            let case = CASES.iter().find(|case| case.name == name).unwrap();
            case.build(&Device::Cpu).and_then(|mut step| step()).unwrap();
        }
    }

    #[test]
    fn rounds_are_timed_after_a_warm_up() {
        let mut calls = 0;
        let work = || {
            calls += 1;
            Ok(())
        };
        let (median, least) = time(4, 8, work).unwrap();
        assert!(calls == 3 + 4 && median >= least && least >= 0.0, "{calls} {median} {least}");
        let failed = time(1, 1, || Err(anyhow::anyhow!("no memory")));
        assert_eq!(failed.unwrap_err().to_string(), "no memory");
        assert_eq!(median_and_least(vec![3.0, 1.0, 2.0]), (2.0, 1.0));
        assert_eq!(median_and_least(vec![4.0, 1.0, 2.0, 3.0]), (2.5, 1.0));
    }
}
