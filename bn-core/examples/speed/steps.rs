//! What is timed: one step of a layer, built for a shape.

use std::hint::black_box;
use std::sync::Arc;

use bn_core::{
    Activation, BatchNorm, BatchNormConfig, Call, Clipping, DataFormat, RenormConfig,
    RenormVariant, StoredVariance, Threads, ZeroDebias,
};
use candle::{CpuStorage, CustomOp1, DType, Device, Layout, Shape, Tensor, Var};
use candle_nn::{ModuleT, VarBuilder, VarMap};

use crate::Fallible;

/// A step to be timed.
pub(crate) type Step = Box<dyn FnMut()>;

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
pub(crate) enum Passes {
    Forward,
    Both,
}

pub(crate) fn plain(dims: &[usize], config: BatchNormConfig, passes: Passes) -> Fallible<Step> {
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

/// Two ranks with half of the batch each, each on a thread of its own.
pub(crate) fn ranks(dims: &[usize], synchronized: bool) -> Fallible<Step> {
    let mut half = dims.to_vec();
    half[0] /= 2;
    let rank = |group: Option<Threads>| -> Fallible<Rank> {
        let mut bn = layer(&half, torch())?;
        if let Some(group) = group {
            bn = bn.with_collective(Arc::new(group));
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
        Ok((pool, Arc::new((bn, normal(&half)?, normal(&half)?))))
    };
    let mut group = Threads::group(2).into_iter().map(|rank| synchronized.then_some(rank));
    let (first, second) = (rank(group.next().flatten())?, rank(group.next().flatten())?);
    let (done, finished) = std::sync::mpsc::channel();
    Ok(Box::new(move || {
        let (done, work) = (done.clone(), second.1.clone());
        second.0.spawn(move || {
            step_of(&work);
            done.send(()).expect("the other rank waits");
        });
        first.0.install(|| step_of(&first.1));
        finished.recv().expect("the other rank ends");
    }))
}

/// A rank's thread, layer, x and dy.
type Rank = (rayon::ThreadPool, Arc<(BatchNorm, Tensor, Tensor)>);

fn step_of((bn, x, dy): &(BatchNorm, Tensor, Tensor)) {
    let (y, saved) = bn.forward_train_saved(x).expect("a forward pass");
    black_box(saved.backward(dy).expect("a backward pass"));
    black_box(y);
}

pub(crate) fn variants() -> Vec<(&'static str, BatchNormConfig, bool)> {
    let renorm = || {
        Some(RenormConfig {
            clipping: Clipping::constant(Some(1.0 / 3.0), Some(3.0), Some(5.0)),
            ..RenormConfig::new(RenormVariant::Tf1)
        })
    };
    let debias = BatchNormConfig { zero_debias: ZeroDebias::Both, ..torch() };
    let renorm =
        BatchNormConfig { renorm: renorm(), stored_variance: StoredVariance::Biased, ..torch() };
    let relu = BatchNormConfig { activation: Activation::Relu, ..torch() };
    let all = BatchNormConfig { zero_debias: ZeroDebias::Both, ..renorm.clone() };
    vec![
        ("bn_weights", torch(), true),
        ("bn_debias", debias, false),
        ("bn_renorm", renorm, false),
        ("bn_relu", relu, false),
        ("bn_all", all, true),
    ]
}

pub(crate) fn variant_step(
    dims: &[usize],
    config: BatchNormConfig,
    weighted: bool,
) -> Fallible<Step> {
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

pub(crate) fn graph(dims: &[usize]) -> Fallible<Step> {
    let (x, dy) = (Var::from_tensor(&normal(dims)?)?, normal(dims)?);
    let bn = layer(dims, torch())?;
    Ok(Box::new(move || {
        let y = bn.forward_train(&x).expect("a forward pass");
        seeded(&y, &dy).expect("a backward pass");
    }))
}

pub(crate) fn graph_copy(dims: &[usize]) -> Fallible<Step> {
    let (x, dy) = (Var::from_tensor(&normal(dims)?)?, normal(dims)?);
    Ok(Box::new(move || {
        let y = x.apply_op1(Copy).expect("a copy");
        seeded(&y, &dy).expect("a backward pass");
    }))
}

/// What candle's graph adds of itself: y's and x's gradients, each summed up from a fresh zero tensor.
pub(crate) fn graph_sums(dims: &[usize]) -> Fallible<Step> {
    let (x, dy) = (normal(dims)?, normal(dims)?);
    let summed = move |gradient: &Tensor| x.zeros_like()?.add(gradient);
    Ok(Box::new(move || {
        let dy = summed(&dy).expect("a sum");
        black_box(summed(&dy).expect("a sum"));
    }))
}

pub(crate) fn candle_layer(dims: &[usize]) -> Fallible<Step> {
    let (x, dy) = (Var::from_tensor(&normal(dims)?)?, normal(dims)?);
    let variables = VarMap::new();
    let vb = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
    let bn = candle_nn::batch_norm(dims[1], 1e-5, vb)?;
    Ok(Box::new(move || {
        let y = bn.forward_t(&x, true).expect("a forward pass");
        seeded(&y, &dy).expect("a backward pass");
    }))
}

/// A copy of so many MiB into a buffer that is there, by as many threads as the layer has.
pub(crate) fn copy(mib: usize) -> Fallible<Step> {
    let from = vec![1f32; mib << 18];
    let mut to = vec![0f32; mib << 18];
    let part = from.len() / rayon::current_num_threads();
    let copy = move || {
        rayon::in_place_scope(|scope| {
            for (to, from) in to.chunks_mut(part).zip(from.chunks(part)) {
                scope.spawn(move |_| to.copy_from_slice(from));
            }
        });
        black_box(&to);
    };
    Ok(Box::new(copy))
}
