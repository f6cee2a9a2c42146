//! Times the layer and prints JSON lines with the names and fields of `tools/torch_reference.py`.
//!
//! `bn/*`: `forward_train_saved` and `backward`, fresh y and dx each step, update committed. `bn_graph/*`:
//! the same layer on a `Var` through candle's `backward`; `copy_graph/*`: an op in its place that only
//! copies. `bn_weights/*`, `bn_debias/*`, `bn_renorm/*`, `bn_relu/*`, `bn_all/*`: variants of `bn/*` (`all`
//! has the first three). `candle/*`: candle-nn's layer. `copy/16MiB`: the machine's copy. `linear/*`: cost
//! over sizes, with `ns_per_element`.
//!
//! `cargo run --release -p bn-core --example speed -- [--only NAME] [--threads N] [--rounds N]`

use std::hint::black_box;
use std::time::Instant;

use bn_core::{
    Activation, BatchNorm, BatchNormConfig, Call, Clipping, DataFormat, RenormConfig,
    RenormVariant, StoredVariance, ZeroDebias,
};
use candle::{CpuStorage, CustomOp1, DType, Device, Layout, Shape, Tensor, Var};
use candle_nn::{ModuleT, VarBuilder, VarMap};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Step = Box<dyn FnMut()>;
type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

const IMAGES: [[usize; 4]; 3] = [[64, 64, 32, 32], [128, 16, 32, 32], [32, 256, 14, 14]];
const FLAT: [[usize; 2]; 2] = [[256, 512], [60, 100]];

struct Options {
    only: String,
    threads: usize,
    rounds: usize,
}

fn main() -> Fallible<()> {
    let options = options()?;
    rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads)
        .build_global()?;
    let mut images: Vec<Vec<usize>> = IMAGES.iter().map(|dims| dims.to_vec()).collect();
    let mut all = images.clone();
    all.extend(FLAT.iter().map(|dims| dims.to_vec()));
    run(&options, "bn_forward/64x64x32x32", 1, || {
        plain(&[64, 64, 32, 32], torch(), Passes::Forward)
    })?;
    for dims in &all {
        let fine = if dims == &[60, 100] { 20 } else { 1 };
        run(&options, &name("bn", dims), fine, || {
            plain(dims, torch(), Passes::Both)
        })?;
    }
    for dims in &images {
        let config = BatchNormConfig {
            data_format: DataFormat::Nhwc,
            ..torch()
        };
        let [n, c, h, w] = dims[..] else { continue };
        run(&options, &name("bn_nhwc", dims), 1, || {
            plain(&[n, h, w, c], config.clone(), Passes::Both)
        })?;
    }
    images.extend(FLAT.iter().map(|dims| dims.to_vec()));
    for dims in &images {
        let fine = if dims == &[60, 100] { 20 } else { 1 };
        for (variant, config, weighted) in variants() {
            run(&options, &name(variant, dims), fine, || {
                variant_step(dims, config.clone(), weighted)
            })?;
        }
    }
    for dims in &all {
        let fine = if dims == &[60, 100] { 20 } else { 1 };
        run(&options, &name("bn_graph", dims), fine, || graph(dims))?;
        run(&options, &name("copy_graph", dims), fine, || {
            graph_copy(dims)
        })?;
        run(&options, &name("candle", dims), 1, || candle_layer(dims))?;
    }
    run(&options, "copy/16MiB", 1, copy)?;
    for power in 14..=26_u32 {
        let elements = 1_usize << power;
        let line = format!("linear/2^{power}");
        if !line.contains(&options.only) {
            continue;
        }
        let rounds = ((1 << 24) / elements).clamp(1, 20);
        let (median, best) = clock(
            plain(&[elements >> 14, 64, 16, 16], torch(), Passes::Both)?,
            options.rounds.min(15) * rounds,
        );
        let per_element = best * 1e6 / elements as f64;
        println!(
            "{{\"name\": \"{line}\", \"median_ms\": {median:.4}, \"min_ms\": {best:.4}, \"threads\": {}, \"ns_per_element\": {per_element:.4}}}",
            options.threads
        );
    }
    Ok(())
}

fn options() -> Fallible<Options> {
    let mut options = Options {
        only: String::new(),
        threads: 2,
        rounds: 15,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "-h" || word == "--help" {
            println!(
                "usage: speed [--only NAME] [--threads N] [--rounds N]; prints a JSON line per measurement"
            );
            std::process::exit(0);
        }
        let value = words.next().ok_or_else(|| format!("{word}: no value"))?;
        match word.as_str() {
            "--only" => options.only = value,
            "--threads" => options.threads = value.parse()?,
            "--rounds" => options.rounds = value.parse()?,
            _ => return Err(format!("{word}: expected --only, --threads or --rounds").into()),
        }
    }
    Ok(options)
}

fn name(kind: &str, dims: &[usize]) -> String {
    let dims: Vec<String> = dims.iter().map(usize::to_string).collect();
    format!("{kind}/{}", dims.join("x"))
}

fn run(
    options: &Options,
    name: &str,
    fine: usize,
    build: impl FnOnce() -> Fallible<Step>,
) -> Fallible<()> {
    if !name.contains(&options.only) {
        return Ok(());
    }
    let (median, best) = clock(build()?, options.rounds * fine);
    println!(
        "{{\"name\": \"{name}\", \"median_ms\": {median:.4}, \"min_ms\": {best:.4}, \"threads\": {}}}",
        options.threads
    );
    Ok(())
}

fn clock(mut step: Step, rounds: usize) -> (f64, f64) {
    for _ in 0..3 {
        step();
    }
    let mut times: Vec<f64> = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let start = Instant::now();
        step();
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let middle = times.len() / 2;
    let median = match times.len() % 2 {
        1 => times[middle],
        _ => (times[middle - 1] + times[middle]) / 2.0,
    };
    (median, times[0])
}

fn torch() -> BatchNormConfig {
    BatchNormConfig::torch()
}

fn layer(dims: &[usize], config: BatchNormConfig) -> Fallible<BatchNorm> {
    let channels = match config.data_format {
        DataFormat::Nchw => dims[1],
        _ => dims[dims.len() - 1],
    };
    let variables = VarMap::new();
    let vb = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
    Ok(config.build(channels, vb)?)
}

fn normal(dims: &[usize]) -> Fallible<Tensor> {
    Ok(Tensor::randn(0f32, 1., dims, &Device::Cpu)?)
}

#[derive(Clone, Copy, PartialEq)]
enum Passes {
    Forward,
    Both,
}

fn plain(dims: &[usize], config: BatchNormConfig, passes: Passes) -> Fallible<Step> {
    let (x, dy) = (normal(dims)?, normal(dims)?);
    let bn = layer(dims, config)?;
    Ok(Box::new(move || {
        let (y, saved) = bn.forward_train_saved(&x).expect("a forward pass");
        if passes == Passes::Both {
            black_box(saved.backward(&dy).expect("a backward pass"));
        }
        black_box(y);
    }))
}

fn variants() -> Vec<(&'static str, BatchNormConfig, bool)> {
    let renorm = || {
        Some(RenormConfig {
            clipping: Clipping::constant(Some(1.0 / 3.0), Some(3.0), Some(5.0)),
            ..RenormConfig::new(RenormVariant::Tf1)
        })
    };
    let debias = BatchNormConfig {
        zero_debias: ZeroDebias::Both,
        ..torch()
    };
    let renorm = BatchNormConfig {
        renorm: renorm(),
        stored_variance: StoredVariance::Biased,
        ..torch()
    };
    let relu = BatchNormConfig {
        activation: Activation::Relu,
        ..torch()
    };
    let all = BatchNormConfig {
        zero_debias: ZeroDebias::Both,
        ..renorm.clone()
    };
    vec![
        ("bn_weights", torch(), true),
        ("bn_debias", debias, false),
        ("bn_renorm", renorm, false),
        ("bn_relu", relu, false),
        ("bn_all", all, true),
    ]
}

fn variant_step(dims: &[usize], config: BatchNormConfig, weighted: bool) -> Fallible<Step> {
    let (x, dy) = (normal(dims)?, normal(dims)?);
    let weights = Tensor::rand(0.5f32, 1.5, dims[0], &Device::Cpu)?;
    let bn = layer(dims, config)?;
    Ok(Box::new(move || {
        let call = match weighted {
            true => Call::train().with_weights(&weights),
            false => Call::train(),
        };
        let (y, saved) = bn.forward_with_saved(&x, &call).expect("a forward pass");
        black_box(saved.backward(&dy).expect("a backward pass"));
        black_box(y);
    }))
}

/// Gives its argument the gradient `dy`; candle's `backward` starts from ones.
struct Seed {
    dy: Tensor,
}

impl CustomOp1 for Seed {
    fn name(&self) -> &'static str {
        "seed"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle::Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), Shape::from(1)))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> candle::Result<Option<Tensor>> {
        Ok(Some(self.dy.clone()))
    }
}

/// An op that only copies, forward and backward.
struct Copy;

impl CustomOp1 for Copy {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
    ) -> candle::Result<(CpuStorage, Shape)> {
        let CpuStorage::F32(values) = storage else {
            candle::bail!("f32 only");
        };
        Ok((CpuStorage::F32(values.to_vec()), layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, dy: &Tensor) -> candle::Result<Option<Tensor>> {
        Ok(Some(dy.copy()?))
    }
}

fn seeded(y: &Tensor, dy: &Tensor) -> candle::Result<()> {
    black_box(y.apply_op1(Seed { dy: dy.clone() })?.backward()?);
    Ok(())
}

fn graph(dims: &[usize]) -> Fallible<Step> {
    let (x, dy) = (Var::from_tensor(&normal(dims)?)?, normal(dims)?);
    let bn = layer(dims, torch())?;
    Ok(Box::new(move || {
        let y = bn.forward_train(&x).expect("a forward pass");
        seeded(&y, &dy).expect("a backward pass");
    }))
}

fn graph_copy(dims: &[usize]) -> Fallible<Step> {
    let (x, dy) = (Var::from_tensor(&normal(dims)?)?, normal(dims)?);
    Ok(Box::new(move || {
        let y = x.apply_op1(Copy).expect("a copy");
        seeded(&y, &dy).expect("a backward pass");
    }))
}

fn candle_layer(dims: &[usize]) -> Fallible<Step> {
    let (x, dy) = (Var::from_tensor(&normal(dims)?)?, normal(dims)?);
    let variables = VarMap::new();
    let vb = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
    let bn = candle_nn::batch_norm(dims[1], 1e-5, vb)?;
    Ok(Box::new(move || {
        let y = bn.forward_t(&x, true).expect("a forward pass");
        seeded(&y, &dy).expect("a backward pass");
    }))
}

/// A copy of 16 MiB into a buffer that is there, by as many threads as the layer has.
fn copy() -> Fallible<Step> {
    let from = vec![1f32; 4 << 20];
    let mut to = vec![0f32; 4 << 20];
    Ok(Box::new(move || {
        let part = from.len() / rayon::current_num_threads();
        rayon::scope(|scope| {
            for (to, from) in to.chunks_mut(part).zip(from.chunks(part)) {
                scope.spawn(move |_| to.copy_from_slice(from));
            }
        });
        black_box(&to);
    }))
}
