//! Updates of variables on an NVIDIA GPU: one launch for up to [`VARIABLES`] of them, over flat buffers of their state.
//!
//! The norm of the gradients, and whether a loss is finite, are read by the kernels; the host waits for nothing.

mod rule;

pub(super) use rule::OnGpu;

use crate::ops::gpu::{BLOCK, THREADS};
use bn_core::cuda::{Program, function, with_tensors};
use candle::cuda_backend::cudarc::driver::{DeviceRepr, LaunchConfig, PushKernelArg};
use candle::cuda_backend::{CudaDevice, WrapErr};
use candle::{DType, Device, Result, Tensor, Var};
use rule::OfVariable;

/// Variables in the arguments of a launch, of which there are at most 4 KiB.
const VARIABLES: usize = 48;
/// Elements of a block.
const CHUNK: usize = 4096;

const PROGRAM: Program = Program {
    name: "bn-train-optimizer",
    texts: &[BLOCK, include_str!("optimizer.cu")],
    element: 1,
};

/// A variable with its gradient, and where its state starts in the flat buffers.
pub(super) struct Updated<'a, C> {
    pub(super) variable: &'a Var,
    pub(super) gradient: Tensor,
    pub(super) start: usize,
    pub(super) coefficients: C,
}

/// What bounds an update.
pub(super) struct Limits<'a> {
    /// Nothing is updated where it is not finite.
    pub(super) watch: Option<&'a Tensor>,
    pub(super) clip_norm: Option<f64>,
}

/// Whether this module updates the variable.
pub(super) fn applies(variable: &Var) -> bool {
    variable.device().is_cuda() && variable.dtype() == DType::F32 && variable.is_contiguous()
}

/// As optimizer.cu declares it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Variable {
    weight: u64,
    gradient: u64,
    start: i64,
    elements: i64,
    block: i64,
    weight_decay: f64,
    kept: f64,
    rate: f64,
    inv_root: f64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Variables {
    count: i64,
    of: [Variable; VARIABLES],
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Update {
    buffers: [u64; 2],
    watch: u64,
    squares: u64,
    clip_norm: f64,
    first: f64,
    second: f64,
    epsilon: f64,
    nesterov: i64,
}

const _: () = assert!(size_of::<Variables>() + size_of::<Update>() <= 4096);

// SAFETY: numbers of 8 bytes, which a kernel takes by value.
#[allow(unsafe_code)] // the trait is unsafe
unsafe impl DeviceRepr for Variables {}
// SAFETY: as above.
#[allow(unsafe_code)] // the trait is unsafe
unsafe impl DeviceRepr for Update {}

/// A variable of a launch.
struct Item<'a> {
    weight: &'a Tensor,
    gradient: &'a Tensor,
    start: usize,
    of: OfVariable,
}

/// A launch: its variables, and how many blocks they have.
struct Part<'a> {
    items: &'a [Item<'a>],
    blocks: usize,
}

fn parts<'a>(items: &'a [Item<'a>]) -> impl Iterator<Item = Part<'a>> {
    let part = |items: &'a [Item<'a>]| Part { items, blocks: items.iter().map(Item::blocks).sum() };
    items.chunks(VARIABLES).map(part)
}

impl Item<'_> {
    fn blocks(&self) -> usize {
        self.weight.elem_count().div_ceil(CHUNK)
    }
}

impl Part<'_> {
    /// Weights, then gradients.
    fn tensors(&self) -> Vec<&Tensor> {
        let weights = self.items.iter().map(|item| item.weight);
        weights.chain(self.items.iter().map(|item| item.gradient)).collect()
    }

    /// The table for tensors at these addresses.
    fn table(&self, addresses: &[u64]) -> Variables {
        let mut table =
            Variables { count: self.items.len() as i64, of: [Variable::default(); VARIABLES] };
        let (weights, gradients) = addresses.split_at(self.items.len());
        let mut block = 0;
        for (index, item) in self.items.iter().enumerate() {
            let OfVariable { weight_decay, kept, rate, inv_root } = item.of;
            table.of[index] = Variable {
                weight: weights[index],
                gradient: gradients[index],
                start: item.start as i64,
                elements: item.weight.elem_count() as i64,
                block,
                weight_decay,
                kept,
                rate,
                inv_root,
            };
            block += item.blocks() as i64;
        }
        table
    }
}

/// Updates variables of one GPU, whose state is in `buffers`.
///
/// # Errors
/// Errors of the kernels' compiler and of the driver.
#[allow(unsafe_code)] // a launch is unsafe
pub(super) fn update<R: OnGpu<BUFFERS>, const BUFFERS: usize>(
    rule: &R,
    updated: &[Updated<'_, R::Coefficients>],
    buffers: &[Tensor; BUFFERS],
    limits: &Limits<'_>,
) -> Result<()> {
    let item = |updated: &'_ Updated<'_, R::Coefficients>| R::of_variable(&updated.coefficients);
    let items: Vec<Item<'_>> = updated
        .iter()
        .map(|updated| Item {
            weight: updated.variable.as_tensor(),
            gradient: &updated.gradient,
            start: updated.start,
            of: item(updated),
        })
        .collect();
    let device = buffers[0].device().as_cuda_device()?.clone();
    let squares = match limits.clip_norm {
        Some(_) => Some(squares(&device, buffers[0].device(), &items)?),
        None => None,
    };
    let numbers = rule.numbers();
    let stream = device.cuda_stream();
    let kernel = function(&device, &PROGRAM, numbers.kernel)?;
    // A rule without a second buffer does not touch it.
    let shared = [Some(&buffers[0]), buffers.get(1), limits.watch, squares.as_ref()];
    for part in parts(&items) {
        let mut tensors = part.tensors();
        let own = tensors.len();
        tensors.extend(shared.into_iter().flatten());
        with_tensors(&stream, &tensors, |addresses| {
            let (own, rest) = addresses.split_at(own);
            let mut rest = rest.iter().copied();
            let [first, second, watch, squares] =
                shared.map(|tensor| tensor.and_then(|_| rest.next()).unwrap_or(0));
            let table = part.table(own);
            let update = Update {
                buffers: [first, second],
                watch,
                squares,
                clip_norm: limits.clip_norm.unwrap_or(f64::INFINITY),
                first: numbers.first,
                second: numbers.second,
                epsilon: numbers.epsilon,
                nesterov: i64::from(numbers.nesterov),
            };
            let mut launch = stream.launch_builder(&kernel);
            launch.arg(&table).arg(&update);
            // SAFETY: the arguments are those of optimizer.cu's updates. Each variable has as many elements as the table
            // says, in its gradient and in the buffers from its start on.
            unsafe { launch.launch(config(part.blocks)?) }.w()?;
            Ok(())
        })?;
    }
    Ok(())
}

/// The sum of squares of all gradients, a scalar on the device. Added in a fixed order.
#[allow(unsafe_code)] // a launch is unsafe
fn squares(device: &CudaDevice, on: &Device, items: &[Item<'_>]) -> Result<Tensor> {
    let stream = device.cuda_stream();
    let count: usize = parts(items).map(|part| part.blocks).sum();
    let partial = Tensor::zeros(count, DType::F64, on)?;
    let total = Tensor::zeros((), DType::F64, on)?;
    let kernel = function(device, &PROGRAM, "gradient_squares")?;
    let mut first = 0;
    for part in parts(items) {
        let mut tensors = part.tensors();
        tensors.push(&partial);
        with_tensors(&stream, &tensors, |addresses| {
            let (to, own) = addresses.split_last().map_or((0, addresses), |(to, own)| (*to, own));
            let (table, from) = (part.table(own), first as i64);
            let mut launch = stream.launch_builder(&kernel);
            launch.arg(&table).arg(&from).arg(&to);
            // SAFETY: the arguments are those of `gradient_squares`; each block writes one of `count` sums.
            unsafe { launch.launch(config(part.blocks)?) }.w()?;
            Ok(())
        })?;
        first += part.blocks;
    }
    let kernel = function(device, &PROGRAM, "total_squares")?;
    with_tensors(&stream, &[&partial, &total], |addresses| {
        let (from, count, to) = (addresses[0], count as i64, addresses[1]);
        let mut launch = stream.launch_builder(&kernel);
        launch.arg(&from).arg(&count).arg(&to);
        // SAFETY: the arguments are those of `total_squares`, with `count` sums to read and one to write.
        unsafe { launch.launch(config(1)?) }.w()?;
        Ok(())
    })?;
    Ok(total)
}

fn config(blocks: usize) -> Result<LaunchConfig> {
    let Ok(blocks) = u32::try_from(blocks) else {
        candle::bail!("optimizer: {blocks} blocks are more than a launch can have");
    };
    Ok(LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (THREADS, 1, 1), shared_mem_bytes: 0 })
}
