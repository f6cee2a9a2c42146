//! Times the layer and prints JSON lines with the names and fields of `tools/torch_reference.py`.
//!
//! `bn/*`, `bn_nhwc/*`, `bn_forward/*`: `forward_train_saved` and `backward`, fresh y and dx each step, update
//! committed. `bn_weights/*`, `bn_debias/*`, `bn_renorm/*`, `bn_relu/*`, `bn_all/*` (the first three): variants,
//! by turns with the plain layer. `bn_graph/*`: the layer on a `Var` through candle's `backward`, by turns
//! with an op in its place that only copies; `graph_sums/*`: what candle's graph itself adds. `candle/*`:
//! candle-nn's layer, by turns with ours in the graph. Such lines have `times_median` and `times_min`, the
//! ratios to that other. `copy/*`: the machine's copy.
//! `linear/*`: cost over sizes, with `ns_per_element`.
//!
//! `cargo run --release -p bn-core --example speed -- [--only NAME] [--threads N] [--rounds N]`
//!
//! With `--device cuda` the layer is timed there instead, see `device.rs`.

mod clock;
mod device;
mod steps;

use std::process::{Command, ExitCode};

use bn_core::{BatchNormConfig, DataFormat};

use clock::{Times, alone, by_turns};
use steps::{
    Passes, Step, candle_layer, copy, graph, graph_copy, graph_sums, plain, ranks, variant_step,
    variants,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

const IMAGES: [[usize; 4]; 3] = [[64, 64, 32, 32], [128, 16, 32, 32], [32, 256, 14, 14]];
const FLAT: [[usize; 2]; 2] = [[256, 512], [60, 100]];
/// What candle and rayon read their numbers of threads from, once.
const THREADS: [&str; 2] = ["CANDLE_NUM_THREADS", "RAYON_NUM_THREADS"];

struct Options {
    only: String,
    threads: usize,
    rounds: usize,
    device: Option<String>,
}

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Fallible<Options> {
    let mut options = Options { only: String::new(), threads: 2, rounds: 15, device: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "-h" || word == "--help" {
            println!(
                "usage: speed [--only NAME] [--threads N] [--rounds N] | speed --device cuda[:N] [--only NAME]; prints a JSON line per measurement"
            );
            std::process::exit(0);
        }
        let value = words.next().ok_or_else(|| format!("{word}: no value"))?;
        match word.as_str() {
            "--only" => options.only = value,
            "--threads" => options.threads = value.parse()?,
            "--rounds" => options.rounds = value.parse()?,
            "--device" => options.device = Some(value),
            _ => {
                return Err(
                    format!("{word}: expected --only, --threads, --rounds or --device").into()
                );
            }
        }
    }
    Ok(options)
}

/// Measures, in a process of its own that has so many threads.
fn run(options: &Options) -> Fallible<ExitCode> {
    if let Some(name) = &options.device {
        device::measure(&device::named(name)?, &options.only)?;
        return Ok(ExitCode::SUCCESS);
    }
    let threads = options.threads.to_string();
    if THREADS.iter().all(|name| std::env::var(name).ok().as_ref() == Some(&threads)) {
        measure(options)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut again = Command::new(std::env::current_exe()?);
    again.args(std::env::args_os().skip(1));
    again.envs(THREADS.map(|name| (name, &threads)));
    Ok(match again.status()?.success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn measure(options: &Options) -> Fallible<()> {
    let torch = BatchNormConfig::torch;
    let images = IMAGES.iter().map(|dims| dims.to_vec());
    let all: Vec<Vec<usize>> = images.chain(FLAT.iter().map(|dims| dims.to_vec())).collect();
    one(options, "bn_forward/64x64x32x32", || plain(&[64, 64, 32, 32], torch(), Passes::Forward))?;
    for dims in &all {
        one(options, &name("bn", dims), || plain(dims, torch(), Passes::Both))?;
    }
    for [n, c, h, w] in IMAGES {
        let config = BatchNormConfig { data_format: DataFormat::Nhwc, ..torch() };
        one(options, &name("bn_nhwc", &[n, c, h, w]), || {
            plain(&[n, h, w, c], config, Passes::Both)
        })?;
    }
    for dims in &all {
        for (variant, config, weighted) in variants() {
            pair(options, &name(variant, dims), || {
                Ok([variant_step(dims, config, weighted)?, plain(dims, torch(), Passes::Both)?])
            })?;
        }
    }
    for dims in &all {
        pair(options, &name("bn_graph", dims), || Ok([graph(dims)?, graph_copy(dims)?]))?;
        one(options, &name("graph_sums", dims), || graph_sums(dims))?;
        pair(options, &name("candle", dims), || Ok([candle_layer(dims)?, graph(dims)?]))?;
    }
    pair(options, "bn_ranks/64x64x32x32", || {
        Ok([ranks(&[64, 64, 32, 32], true)?, ranks(&[64, 64, 32, 32], false)?])
    })?;
    for dims in [&[128, 32, 3, 3][..], &[256, 12][..], &[256, 6, 6, 12][..]] {
        let data_format =
            if dims.len() == 4 && dims[3] == 3 { DataFormat::Nchw } else { DataFormat::Nhwc };
        let config = BatchNormConfig { data_format, ..torch() };
        one(options, &name("bn_short", dims), || plain(dims, config, Passes::Both))?;
    }
    for mib in [16, 64] {
        one(options, &format!("copy/{mib}MiB"), || copy(mib))?;
    }
    for power in 14..=26_u32 {
        linear(options, power)?;
    }
    Ok(())
}

fn name(kind: &str, dims: &[usize]) -> String {
    let dims: Vec<String> = dims.iter().map(usize::to_string).collect();
    format!("{kind}/{}", dims.join("x"))
}

/// The smallest shape takes microseconds: more steps for the same time.
fn rounds(options: &Options, name: &str) -> usize {
    options.rounds * if name.ends_with("/60x100") { 20 } else { 1 }
}

fn one(options: &Options, name: &str, build: impl FnOnce() -> Fallible<Step>) -> Fallible<()> {
    if name.contains(&options.only) {
        let times = alone(build()?, rounds(options, name));
        print(options, name, times, "");
    }
    Ok(())
}

fn pair(
    options: &Options,
    name: &str,
    build: impl FnOnce() -> Fallible<[Step; 2]>,
) -> Fallible<()> {
    if name.contains(&options.only) {
        let [step, other] = build()?;
        let [times, others] = by_turns(step, other, rounds(options, name));
        let (median, least) = (times.median / others.median, times.least / others.least);
        let ratios = format!(", \"times_median\": {median:.3}, \"times_min\": {least:.3}");
        print(options, name, times, &ratios);
    }
    Ok(())
}

fn linear(options: &Options, power: u32) -> Fallible<()> {
    let name = format!("linear/2^{power}");
    if name.contains(&options.only) {
        let elements = 1_usize << power;
        let dims = [elements >> 14, 64, 16, 16];
        let step = plain(&dims, BatchNormConfig::torch(), Passes::Both)?;
        let more = ((1 << 24) / elements).clamp(1, 20);
        let times = alone(step, options.rounds.min(15) * more);
        let per_element = times.least * 1e6 / elements as f64;
        let field = format!(", \"ns_per_element\": {per_element:.4}");
        print(options, &name, times, &field);
    }
    Ok(())
}

fn print(options: &Options, name: &str, times: Times, more: &str) {
    println!(
        "{{\"name\": \"{name}\", \"median_ms\": {:.4}, \"min_ms\": {:.4}, \"threads\": {}{more}}}",
        times.median, times.least, options.threads
    );
}
