//! Forward + backward of one layer, side by side: the fused kernels outside and inside candle's graph, the
//! composed path, and candle-nn's layer. Numbers and method are in `README.md` beside this file; for
//! comparisons with PyTorch see `tools/compare_speed.py`.

use std::hint::black_box;
use std::time::Duration;

use bn_core::{BatchNorm, BatchNormConfig, Implementation};
use candle::{CpuStorage, CustomOp1, DType, Device, Layout, Shape, Tensor, Var};
use candle_nn::{ModuleT, VarBuilder, VarMap};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SHAPES: [&[usize]; 5] =
    [&[64, 64, 32, 32], &[128, 16, 32, 32], &[32, 256, 14, 14], &[256, 512], &[60, 100]];

/// Gives its argument the gradient `dy`; candle's `backward` starts from ones.
struct Seed(Tensor);

impl CustomOp1 for Seed {
    fn name(&self) -> &'static str {
        "seed"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle::Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), Shape::from(1)))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> candle::Result<Option<Tensor>> {
        Ok(Some(self.0.clone()))
    }
}

fn layer(channels: usize, implementation: Implementation) -> BatchNorm {
    let variables = VarMap::new();
    let vb = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
    let bn = BatchNormConfig::candle().build(channels, vb);
    bn.expect("a layer").with_implementation(implementation)
}

fn train(bn: &impl ModuleT, x: &Var, dy: &Tensor) {
    let y = bn.forward_t(x, true).expect("a forward pass");
    let seeded = y.apply_op1(Seed(dy.clone())).expect("a seed");
    black_box(seeded.backward().expect("a backward pass"));
}

fn batch_norm(criterion: &mut Criterion) {
    for dims in SHAPES {
        let name: Vec<String> = dims.iter().map(usize::to_string).collect();
        let mut group = criterion.benchmark_group(name.join("x"));
        group.throughput(Throughput::Elements(dims.iter().product::<usize>() as u64));
        group.sample_size(10).warm_up_time(Duration::from_millis(500));
        let normal = || Tensor::randn(0f32, 1., dims, &Device::Cpu).expect("a tensor");
        let (x, dy) = (normal(), normal());
        let var = Var::from_tensor(&x).expect("a variable");
        let fused = layer(dims[1], Implementation::Fused);
        let composed = layer(dims[1], Implementation::Composed);
        let variables = VarMap::new();
        let vb = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
        let candle = candle_nn::batch_norm(dims[1], 1e-5, vb).expect("a layer");
        group.bench_function("fused", |b| {
            b.iter(|| {
                let (y, saved) = fused.forward_train_saved(&x).expect("a forward pass");
                black_box((y, saved.backward(&dy).expect("a backward pass")))
            });
        });
        group.bench_function("fused in the graph", |b| b.iter(|| train(&fused, &var, &dy)));
        group.bench_function("composed", |b| b.iter(|| train(&composed, &var, &dy)));
        group.bench_function("candle-nn", |b| b.iter(|| train(&candle, &var, &dy)));
        group.finish();
    }
}

criterion_group!(benches, batch_norm);
criterion_main!(benches);
