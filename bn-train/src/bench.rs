//! Times the main operations of training. Prints JSON lines with the names and fields of `tools/torch_reference.py`, and
//! the growth of the process's peak memory. `tools/compare_speed.py` runs both programs alternately.

use crate::data::{Batch, ImageShape};
use crate::experiment::{Registry, Settings};
use crate::model::Sizes;
use crate::ops::conv::{self, ConvShape};
use crate::ops::parallel::awake;
use crate::random::{Purpose, Stream};
use crate::task::Turn;
use anyhow::Context as _;
use candle::{Device, Tensor};
use std::hint::black_box;
use std::time::Instant;

/// Options of a benchmark.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Only cases whose name contains this; all if empty.
    pub only: String,
    /// Number of threads.
    pub threads: usize,
    /// Steps per case, scaled by the case's percentage.
    pub rounds: usize,
}

type Step = Box<dyn FnMut() -> anyhow::Result<()>>;

/// A benchmark case.
struct Case {
    name: &'static str,
    /// Percentage of the requested rounds.
    percent: usize,
    build: fn() -> anyhow::Result<Step>,
}

const CASES: &[Case] = &[
    case("conv/128x16x16x32", 100, || convolution(16, 16, 32, 1)),
    case("conv/128x32x32x16", 100, || convolution(32, 32, 16, 1)),
    case("conv/128x64x64x8", 100, || convolution(64, 64, 8, 1)),
    case("conv/128x16x32x32s2", 100, || convolution(16, 32, 32, 2)),
    case("train/mlp3x100_sigmoid_bn_b60", 2000, || training(&mlp(3, 100, true), FLAT_784, 60)),
    case("train/mlp3x100_sigmoid_b60", 2000, || training(&mlp(3, 100, false), FLAT_784, 60)),
    case("train/mlp20x128_sigmoid_bn_b128", 2000, || training(&mlp(20, 128, true), FLAT_64, 128)),
    case("train/resnet20_b128", 34, || training(RESNET, COLOUR, 128)),
    case("train/resnet20_b32", 34, || training(RESNET, COLOUR, 32)),
];

const RESNET: &str = "model = { kind = 'resnet', depth = 20, activation = 'relu' }";
const FLAT_784: ImageShape = image(1, 28);
const FLAT_64: ImageShape = image(1, 8);
const COLOUR: ImageShape = image(3, 32);

const fn case(name: &'static str, percent: usize, build: fn() -> anyhow::Result<Step>) -> Case {
    Case { name, percent, build }
}

const fn image(channels: usize, size: usize) -> ImageShape {
    ImageShape { channels, height: size, width: size }
}

/// Times each selected case and prints its line.
///
/// # Errors
/// No name matches, or an operation fails.
pub fn run(selection: &Selection) -> anyhow::Result<()> {
    let fits = |case: &&Case| case.name.contains(&selection.only);
    let selected: Vec<&Case> = CASES.iter().filter(fits).collect();
    if selected.is_empty() {
        let names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        anyhow::bail!(
            "no benchmark matches {:?}; expected one of {}",
            selection.only,
            names.join(", ")
        );
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(selection.threads)
        .build()
        .context("threads")?;
    for case in selected {
        let rounds = (selection.rounds * case.percent / 100).max(5);
        let timed = pool.install(|| {
            awake(|| {
                let step = (case.build)()?;
                let before = peak_mib();
                let (median, least) = time(step, rounds)?;
                let grown = peak_mib().zip(before).map(|(after, before)| after - before);
                Ok::<_, anyhow::Error>((median, least, grown))
            })
        });
        let (median, least, grown) = timed.with_context(|| case.name)?;
        let line = serde_json::json!({
            "name": case.name,
            "median_ms": median,
            "min_ms": least,
            "step_mib": grown,
            "threads": selection.threads,
            "program": crate::VERSION,
        });
        println!("{line}");
    }
    Ok(())
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

/// Median and minimum of `rounds` steps in milliseconds, after three warm-up steps.
fn time(mut step: Step, rounds: usize) -> anyhow::Result<(f64, f64)> {
    for _ in 0..3 {
        step()?;
    }
    let mut times = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        step()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let middle = rounds / 2;
    let median = match rounds % 2 {
        0 => (times[middle - 1] + times[middle]) / 2.0,
        _ => times[middle],
    };
    Ok((median, times[0]))
}

/// A 3x3 convolution of 128 square images: forward and both gradients.
fn convolution(inputs: usize, outputs: usize, size: usize, stride: usize) -> anyhow::Result<Step> {
    let shape = ConvShape {
        images: 128,
        inputs,
        height: size,
        width: size,
        outputs,
        kernel: (3, 3),
        stride,
        padding: 1,
    };
    let (rows, columns) = shape.output().context("the kernel does not fit")?;
    let x = numbers("x", shape.images * inputs * size * size);
    let weights = numbers("weights", outputs * inputs * 9);
    let dy = numbers("dy", shape.images * outputs * rows * columns);
    Ok(Box::new(move || {
        black_box(conv::forward(&shape, &x, &weights));
        black_box(conv::input_gradient(&shape, &dy, &weights));
        black_box(conv::weight_gradient(&shape, &x, &dy));
        Ok(())
    }))
}

/// The network of Ioffe & Szegedy 2015, figure 1.
fn mlp(depth: usize, width: usize, norm: bool) -> String {
    let hidden = vec![width.to_string(); depth].join(", ");
    let norm = if norm { "" } else { "norm.kind = 'none'\n" };
    format!("{norm}model = {{ kind = 'mlp', hidden = [{hidden}], activation = 'sigmoid' }}")
}

/// One training step of the network of `model`.
fn training(model: &str, input: ImageShape, batch: usize) -> anyhow::Result<Step> {
    let settings = settings(model)?;
    let sizes = Sizes { input, classes: 10 };
    let networks = settings.networks(sizes, 0, &Device::Cpu)?;
    let mut optimizer = settings.optimizer.build(networks.parameters().collect())?;
    let images = numbers("images", batch * input.pixels());
    let dims = (batch, input.channels, input.height, input.width);
    let images = Tensor::from_vec(images, dims, &Device::Cpu)?;
    let mut stream = Stream::new(0, Purpose::Initialize("labels"));
    let labels: Vec<u32> = (0..batch).map(|_| stream.below(10) as u32).collect();
    let batch = Batch::new(images, Tensor::new(labels, &Device::Cpu)?);
    Ok(Box::new(move || {
        let models = networks.models();
        let learned = networks.task().learn(0, models, &batch, &mut Turn::default())?;
        optimizer.step(&learned.gradients, 0.01)?;
        black_box(learned.scores);
        Ok(())
    }))
}

fn settings(model: &str) -> anyhow::Result<Settings> {
    let lines = format!(
        "{model}\noptimizer = {{ learning_rate = 0.01, momentum = 0.9 }}\ntrain.steps = 1\n"
    );
    Ok(Registry::built_in().settings(&lines)?)
}

fn numbers(name: &str, len: usize) -> Vec<f32> {
    let mut stream = Stream::new(0, Purpose::Initialize(name));
    (0..len).map(|_| stream.normal(0.0, 1.0)).collect()
}
