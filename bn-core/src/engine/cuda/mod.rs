//! The CUDA engine: kernels for NVIDIA GPUs, compiled by NVRTC when they are first called. This file launches the passes
//! over tensors; `formulas.rs` launches the formulas on per-channel values.
//!
//! A pass over a channel is split over blocks, whose sums a second kernel adds in a fixed order: results repeat to the
//! bit. Sums are f64; values per element are computed in the tensors' type, f32 for half floats.

mod arguments;
mod formulas;
mod persistent;
mod programs;
mod resident;

use candle::cuda_backend::cudarc::driver::{CudaFunction, LaunchConfig, PushKernelArg};
use candle::cuda_backend::{CudaDevice, WrapErr};
use candle::{DType, Tensor};

pub(super) use formulas::commit;

use super::plan::{Geometry, Pass, Plan, THREADS, plan};
use super::resident::{Fields, Resident};
use super::{ByGroup, Engine, Operands};
use crate::activation::Activation;
use crate::channel::{Channel, GradientTerms, Moment, Totals, Weight};
use crate::cuda::function;
use crate::error::Result;
use crate::moments::total_weight;
use crate::tensors::cuda::{room, with_addresses};
use crate::tensors::{Value, values};
use crate::weights::flat_weights;
use arguments::{Back, Shape, Tail};
use programs::File;

/// The engine whose formulas run on the host.
pub(super) fn engine(operands: &Operands) -> Result<Box<dyn Engine>> {
    Ok(Box::new(Cuda::new(operands)?))
}

/// The engine that keeps per-channel values on the GPU; `None` for weights, whose total the host must judge.
pub(super) fn resident(operands: &Operands) -> Result<Option<Box<dyn Resident>>> {
    if !operands.x.device().is_cuda() || operands.weights.is_some() {
        return Ok(None);
    }
    Ok(Some(Box::new(Cuda::new(operands)?)))
}

struct Cuda {
    device: CudaDevice,
    x: Tensor,
    residual: Option<Tensor>,
    /// A weight per position, `[outer, inner]` in f64.
    weights: Option<Tensor>,
    totals: Vec<Weight>,
    geometry: Geometry,
    activation: Activation,
}

/// 16 bytes hold this many elements.
fn lanes(dtype: DType) -> usize {
    16 / dtype.size_in_bytes()
}

/// Whether vectors can be read at all of these addresses, 0 for nothing among them.
fn are_aligned(addresses: &[u64]) -> bool {
    addresses.iter().all(|address| address.is_multiple_of(16))
}

fn config(blocks: usize, threads: usize) -> candle::Result<LaunchConfig> {
    let Ok(blocks) = u32::try_from(blocks) else {
        candle::bail!("batch norm: {blocks} blocks are more than a launch can have");
    };
    Ok(LaunchConfig {
        grid_dim: (blocks, 1, 1),
        block_dim: (threads as u32, 1, 1),
        shared_mem_bytes: 0,
    })
}

impl Cuda {
    fn new(operands: &Operands) -> Result<Self> {
        let Operands { x, view, weights, residual, activation, group } = operands;
        let weights = weights.as_ref().map(|w| flat_weights("batch norm", w, view)).transpose()?;
        let groups = view.groups(*group);
        let examples = view.dims()[0];
        let per_example = view.outer / examples.max(1);
        let of_group = |range: &std::ops::Range<usize>| {
            if range.len() == examples {
                return total_weight(view, weights.as_ref());
            }
            let rows =
                |t: &Tensor| t.narrow(0, range.start * per_example, range.len() * per_example);
            total_weight(&view.rows(range.len()), weights.as_ref().map(rows).transpose()?.as_ref())
        };
        let totals = groups.iter().map(of_group).collect::<Result<_>>()?;
        // Channels may lie on axis 0; then there is one group.
        let rows = if groups.len() == 1 { view.outer } else { groups[0].len() * per_example };
        let geometry = Geometry {
            outer: view.outer,
            channels: view.channels,
            inner: view.inner,
            group: rows.max(1),
        };
        Ok(Self {
            device: x.device().as_cuda_device()?.clone(),
            x: x.clone(),
            residual: residual.clone(),
            weights,
            totals,
            geometry,
            activation: *activation,
        })
    }

    fn function(&self, file: File, name: &str) -> candle::Result<CudaFunction> {
        function(&self.device, &file.program(self.x.dtype())?, name)
    }

    /// The plan for tensors at these addresses. Weights take a kernel that reads one element at a time.
    fn plan(&self, addresses: &[u64], weighted: bool) -> Plan {
        let aligned = !weighted && are_aligned(addresses);
        plan(self.geometry, lanes(self.x.dtype()), aligned)
    }

    /// The plan of a pass's sums over tensors at these addresses.
    fn plan_of_sums(&self, pass: Pass, addresses: &[u64], weighted: bool) -> Plan {
        let aligned = !weighted && are_aligned(addresses);
        Plan::of(pass, self.geometry, lanes(self.x.dtype()), aligned)
    }

    /// Splits at most, whatever the tensors' alignment.
    fn most_splits(&self) -> usize {
        let of = |aligned| {
            let (geometry, lanes) = (self.geometry, lanes(self.x.dtype()));
            let of = |pass| Plan::of(pass, geometry, lanes, aligned).splits;
            of(Pass::Forward).max(of(Pass::Backward))
        };
        of(true).max(of(false))
    }

    fn count(&self) -> usize {
        self.geometry.groups() * self.geometry.channels
    }

    fn allocate(&self, dtype: DType, len: usize) -> candle::Result<Value> {
        // SAFETY: callers launch a kernel that writes all that is read later.
        #[allow(unsafe_code)] // see `room`
        unsafe {
            room(&self.device, dtype, len)
        }
    }

    fn like_x(&self) -> candle::Result<Value> {
        // SAFETY: callers launch a kernel that writes every element.
        #[allow(unsafe_code)] // see `room`
        unsafe {
            room(&self.device, self.x.dtype(), self.x.shape().clone())
        }
    }

    /// Where dv is the gradient of a residual and differs from dy.
    fn room_for_dv(&self) -> candle::Result<Option<Value>> {
        let with_dv = self.residual.is_some() && self.activation != Activation::None;
        with_dv.then(|| self.like_x()).transpose()
    }

    fn name(family: &str, plan: &Plan, weighted: bool, tail: Option<Tail>) -> String {
        let layout = if plan.rows { "rows" } else { "columns" };
        let access = match (weighted, plan.vectors) {
            (true, _) => "weighted",
            (false, true) => "vector",
            (false, false) => "single",
        };
        match tail {
            None => format!("{family}_{layout}_{access}"),
            Some(tail) if plan.vectors && !weighted => {
                format!("{family}_{layout}_{access}_{}", tail.name())
            }
            Some(_) => format!("{family}_{layout}_{access}_any"),
        }
    }

    /// A part of each split's moments, three numbers each, and how many splits there are.
    #[allow(unsafe_code)] // a launch is unsafe
    fn parts(&self) -> candle::Result<(Value, usize)> {
        let stream = self.device.cuda_stream();
        let parts = self.allocate(DType::F64, 3 * self.count() * self.most_splits())?;
        let weighted = self.weights.is_some();
        let memory = [(&self.x).into(), self.weights.as_ref().into(), (&parts).into()];
        let splits = with_addresses(&stream, memory, |[x, weights, to]| {
            let plan = self.plan_of_sums(Pass::Forward, &[x], weighted);
            let shape = Shape::new(self.geometry, &plan);
            let name = Self::name("moments", &plan, weighted, None);
            let kernel = self.function(File::Moments, &name)?;
            let mut launch = stream.launch_builder(&kernel);
            launch.arg(&x).arg(&shape).arg(&weights).arg(&to);
            // SAFETY: the arguments are those of `MOMENTS` in moments.cu; `parts` has room for every split.
            unsafe { launch.launch(config(plan.blocks, THREADS)?) }.w()?;
            Ok(plan.splits)
        })?;
        Ok((parts, splits))
    }

    #[allow(unsafe_code)] // a launch is unsafe
    fn normalized(&self, fields: &Fields) -> candle::Result<Value> {
        let stream = self.device.cuda_stream();
        let y = self.like_x()?;
        let memory =
            [(&self.x).into(), self.residual.as_ref().into(), (&fields.0).into(), (&y).into()];
        with_addresses(&stream, memory, |[x, residual, fields, to]| {
            let plan = self.plan(&[x, residual, to], false);
            let (shape, tail) = (Shape::new(self.geometry, &plan), Tail::new(self.activation));
            let name = Self::name("normalize", &plan, false, Some(tail));
            let kernel = self.function(File::Normalize, &name)?;
            let mut launch = stream.launch_builder(&kernel);
            launch.arg(&x).arg(&residual).arg(&fields).arg(&shape).arg(&tail).arg(&to);
            // SAFETY: the arguments are those of `NORMALIZE` in normalize.cu, which writes all of y.
            unsafe { launch.launch(config(plan.blocks, THREADS)?) }.w()?;
            Ok(())
        })?;
        Ok(y)
    }

    /// Two sums of each split, and the shape they are stored by.
    #[allow(unsafe_code)] // a launch is unsafe
    fn sums(&self, fields: &Fields, dy: &Tensor) -> candle::Result<(Value, Shape)> {
        let stream = self.device.cuda_stream();
        let sums = self.allocate(DType::F64, 2 * self.count() * self.most_splits())?;
        let memory = [
            (&self.x).into(),
            self.residual.as_ref().into(),
            dy.into(),
            (&fields.0).into(),
            (&sums).into(),
        ];
        let shape = with_addresses(&stream, memory, |[x, residual, dy, fields, to]| {
            let plan = self.plan_of_sums(Pass::Backward, &[x, residual, dy], false);
            let (shape, tail) = (Shape::new(self.geometry, &plan), Tail::new(self.activation));
            let back = Back { x, residual, dy, channels: fields };
            let name = Self::name("gradient_sums", &plan, false, Some(tail));
            let kernel = self.function(File::Gradient, &name)?;
            let mut launch = stream.launch_builder(&kernel);
            launch.arg(&back).arg(&shape).arg(&tail).arg(&to);
            // SAFETY: the arguments are those of `SUMS` in gradient.cu; `sums` has room for every split.
            unsafe { launch.launch(config(plan.blocks, THREADS)?) }.w()?;
            Ok(shape)
        })?;
        Ok((sums, shape))
    }

    /// dx, and dv if it is the gradient of a residual and differs from dy. `terms`: p and q, `[2, groups, C]`.
    #[allow(unsafe_code)] // a launch is unsafe
    fn input_gradients(
        &self,
        fields: &Fields,
        terms: &Value,
        dy: &Tensor,
    ) -> candle::Result<(Value, Option<Value>)> {
        let stream = self.device.cuda_stream();
        let dx = self.like_x()?;
        let dv = self.room_for_dv()?;
        let weighted = self.weights.is_some();
        let memory = [
            (&self.x).into(),
            self.residual.as_ref().into(),
            dy.into(),
            (&fields.0).into(),
            terms.into(),
            self.weights.as_ref().into(),
            (&dx).into(),
            dv.as_ref().into(),
        ];
        with_addresses(&stream, memory, |[x, residual, dy, fields, terms, weights, dx, dv]| {
            let plan = self.plan(&[x, residual, dy, dx, dv], weighted);
            let (shape, tail) = (Shape::new(self.geometry, &plan), Tail::new(self.activation));
            let back = Back { x, residual, dy, channels: fields };
            let name = Self::name("input_gradient", &plan, weighted, Some(tail));
            let kernel = self.function(File::Gradient, &name)?;
            let mut launch = stream.launch_builder(&kernel);
            launch.arg(&back).arg(&terms).arg(&weights).arg(&shape).arg(&tail).arg(&dx).arg(&dv);
            // SAFETY: the arguments are those of `INPUT_GRADIENT` in gradient.cu, which writes all of dx and dv.
            unsafe { launch.launch(config(plan.blocks, THREADS)?) }.w()?;
            Ok(())
        })?;
        Ok((dx, dv))
    }

    fn upload(&self, numbers: Vec<f64>, rows: usize) -> candle::Result<Tensor> {
        let shape = (rows, self.geometry.groups(), self.geometry.channels);
        Tensor::from_vec(numbers, shape, self.x.device())
    }

    fn fields(&self, channels: &ByGroup<Channel>) -> candle::Result<Fields> {
        Ok(Fields(self.upload(Fields::of(channels), Fields::COUNT)?))
    }

    /// Two numbers of each channel, `[2, groups, C]`, by group.
    fn pairs<T>(&self, of: Value, pair: impl Fn(f64, f64) -> T) -> candle::Result<ByGroup<T>> {
        let all = values(&of.into_tensor())?;
        let (first, second) = all.split_at(self.count());
        let groups =
            first.chunks(self.geometry.channels).zip(second.chunks(self.geometry.channels));
        let each = |(a, b): (&[f64], &[f64])| a.iter().zip(b).map(|(a, b)| pair(*a, *b)).collect();
        Ok(groups.map(each).collect())
    }
}

impl Engine for Cuda {
    fn weights(&self) -> &[Weight] {
        &self.totals
    }

    fn limit(&self) -> f64 {
        f64::INFINITY // see `Affine` in common.cu
    }

    fn reads_value(&self) -> bool {
        false
    }

    fn moments(&self) -> Result<ByGroup<Moment>> {
        let (parts, splits) = self.parts()?;
        let moments = self.combine(&parts, splits)?;
        Ok(self.pairs(moments, |mean, variance| Moment { mean, variance })?)
    }

    fn normalize(&self, channels: &ByGroup<Channel>) -> Result<Value> {
        Ok(self.normalized(&self.fields(channels)?)?)
    }

    fn gradient_sums(
        &self,
        channels: &ByGroup<Channel>,
        _: Option<&Tensor>,
        dy: &Tensor,
    ) -> Result<ByGroup<Totals>> {
        let fields = self.fields(channels)?;
        let totals = self.totals(&fields, dy)?;
        Ok(self.pairs(totals, |dv, dv_x_hat| Totals { dv, dv_x_hat })?)
    }

    fn input_gradient(
        &self,
        channels: &ByGroup<Channel>,
        terms: &ByGroup<GradientTerms>,
        _: Option<&Tensor>,
        dy: &Tensor,
    ) -> Result<(Value, Option<Value>)> {
        let each = || terms.iter().flatten();
        let numbers = each().map(|t| t.p).chain(each().map(|t| t.q)).collect();
        let terms = Value::of(&self.upload(numbers, 2)?)?;
        Ok(self.input_gradients(&self.fields(channels)?, &terms, dy)?)
    }
}
