//! Launches of formulas.cu and commit.cu: per-channel values, on the device from one kernel to the next.

use candle::cuda_backend::WrapErr;
use candle::cuda_backend::cudarc::driver::PushKernelArg;
use candle::{DType, Result, Tensor};

use super::arguments::{ByBatch, ByMoving, Commit, Renorm, Shape, Terms, variant};
use super::programs::File;
use super::{Cuda, config};
use crate::channel::Decay;
use crate::cuda::function;
use crate::engine::plan::THREADS;
use crate::engine::resident::{DeviceCommit, Fields, Parameters, in_order};
use crate::tensors::Value;
use crate::tensors::cuda::{Memory, room, with_addresses};

/// Channels of a block; see TOGETHER in formulas.cu.
const TOGETHER: usize = 8;

/// The formulas' kernels know no tensors.
const NUMBERS: DType = DType::F64;

fn is_wide(t: Option<&Tensor>) -> i64 {
    i64::from(t.is_some_and(|t| t.dtype() == DType::F64))
}

/// A parameter as kernels take it: contiguous, in f32 or f64.
fn column(t: Option<&Tensor>) -> Result<Option<Tensor>> {
    let Some(t) = t else { return Ok(None) };
    let t = t.detach();
    match t.dtype() {
        DType::F32 | DType::F64 => t.contiguous().map(Some),
        _ => t.to_dtype(DType::F32)?.contiguous().map(Some),
    }
}

/// The type in which kernels write a parameter's gradient.
pub(super) fn kept(dtype: DType) -> DType {
    if dtype == DType::F32 { DType::F32 } else { DType::F64 }
}

/// What a pass found of all channels.
pub(super) struct Gradients {
    pub(super) terms: Value,
    pub(super) gamma: Tensor,
    pub(super) beta: Tensor,
}

/// The formulas of channels that are normalized by their own moments: what they read, and room for what they find.
pub(super) struct Own<'a> {
    by: &'a Parameters<'a>,
    gamma: Option<Tensor>,
    beta: Option<Tensor>,
    /// Mean, stddev and their weights.
    averages: [Option<&'a Tensor>; 4],
    fields: Value,
    batch: Value,
}

impl<'a> Own<'a> {
    pub(super) fn new(cuda: &Cuda, by: &'a Parameters<'a>) -> Result<Self> {
        let [.., mean, stddev, mean_weight, stddev_weight, _] = in_order(by.averages);
        Ok(Self {
            by,
            gamma: column(by.gamma)?,
            beta: column(by.beta)?,
            averages: [mean, stddev, mean_weight, stddev_weight],
            fields: cuda.allocate(NUMBERS, Fields::COUNT * cuda.count())?,
            batch: cuda.allocate(NUMBERS, 2 * cuda.geometry.channels)?,
        })
    }

    /// In the order of [`Own::arguments`].
    pub(super) fn memory(&self) -> [Memory<'_>; 8] {
        let [mean, stddev, mean_weight, stddev_weight] = self.averages;
        [
            (&self.fields).into(),
            (&self.batch).into(),
            self.gamma.as_ref().into(),
            self.beta.as_ref().into(),
            mean.into(),
            stddev.into(),
            mean_weight.into(),
            stddev_weight.into(),
        ]
    }

    /// The kernels' argument, for memory at these addresses.
    pub(super) fn arguments(
        &self,
        cuda: &Cuda,
        parts: u64,
        splits: usize,
        [fields, batch, gamma, beta, mean, stddev, mean_weight, stddev_weight]: [u64; 8],
    ) -> ByBatch {
        let by = self.by;
        let bounds = by.bounds.unwrap_or_default();
        let renorm = by.averages.renorm.as_ref().filter(|_| by.bounds.is_some());
        ByBatch {
            parts,
            fields,
            batch,
            gamma,
            beta,
            gamma_is_wide: is_wide(self.gamma.as_ref()),
            beta_is_wide: is_wide(self.beta.as_ref()),
            groups: cuda.geometry.groups() as i64,
            channels: cuda.geometry.channels as i64,
            splits: splits as i64,
            epsilon: by.epsilon,
            renorm: Renorm {
                mean,
                stddev,
                mean_weight,
                stddev_weight,
                variant: variant(renorm.map(|renorm| renorm.variant)),
                is_wide: is_wide(self.averages[0]),
                r_min: bounds.r_min.unwrap_or(f64::NEG_INFINITY),
                r_max: bounds.r_max.unwrap_or(f64::INFINITY),
                d_max: bounds.d_max.unwrap_or(f64::INFINITY),
            },
        }
    }

    /// The fields, and the moments of all groups together, once a kernel has written them.
    pub(super) fn found(self, cuda: &Cuda) -> Result<(Fields, Tensor)> {
        let shape = (Fields::COUNT, cuda.geometry.groups(), cuda.geometry.channels);
        let batch = self.batch.into_tensor().reshape((2, cuda.geometry.channels))?;
        Ok((Fields(self.fields.into_tensor().reshape(shape)?), batch))
    }
}

impl Cuda {
    fn channel_blocks(&self) -> usize {
        self.geometry.channels.div_ceil(TOGETHER)
    }

    /// Means, then variances, `[2, groups, C]`.
    #[allow(unsafe_code)] // a launch is unsafe
    pub(super) fn combine(&self, parts: &Value, splits: usize) -> Result<Value> {
        let stream = self.device.cuda_stream();
        let moments = self.allocate(NUMBERS, 2 * self.count())?;
        with_addresses(&stream, [parts.into(), (&moments).into()], |[parts, to]| {
            let [groups, channels, splits] =
                [self.geometry.groups(), self.geometry.channels, splits].map(|n| n as i64);
            let kernel = function(&self.device, &File::Formulas.program(NUMBERS)?, "combine")?;
            let mut launch = stream.launch_builder(&kernel);
            launch.arg(&parts).arg(&groups).arg(&channels).arg(&splits).arg(&to);
            // SAFETY: the arguments are those of `combine`.
            unsafe { launch.launch(config(self.channel_blocks(), THREADS)?) }.w()?;
            Ok(())
        })?;
        Ok(moments)
    }

    /// What normalizes each channel by its own moments, and the moments of all groups together.
    #[allow(unsafe_code)] // a launch is unsafe
    pub(super) fn formulas(
        &self,
        (parts, splits): (&Value, usize),
        by: &Parameters<'_>,
    ) -> Result<(Fields, Tensor)> {
        let stream = self.device.cuda_stream();
        let own = Own::new(self, by)?;
        let [a, b, c, d, e, f, g, h] = own.memory();
        with_addresses(&stream, [parts.into(), a, b, c, d, e, f, g, h], |addresses| {
            let [parts, rest @ ..] = addresses;
            let arguments = own.arguments(self, parts, splits, rest);
            let kernel = function(&self.device, &File::Formulas.program(NUMBERS)?, "by_batch")?;
            let mut launch = stream.launch_builder(&kernel);
            launch.arg(&arguments);
            // SAFETY: the argument is that of `by_batch`, which writes all fields and the batch.
            unsafe { launch.launch(config(self.channel_blocks(), THREADS)?) }.w()?;
            Ok(())
        })?;
        own.found(self)
    }

    /// What normalizes each channel by the moving statistics; one group.
    #[allow(unsafe_code)] // a launch is unsafe
    pub(super) fn moving_formulas(&self, by: &Parameters<'_>) -> Result<Fields> {
        let stream = self.device.cuda_stream();
        let channels = self.geometry.channels;
        let (gamma, beta) = (column(by.gamma)?, column(by.beta)?);
        let fields = self.allocate(NUMBERS, Fields::COUNT * channels)?;
        let (mean, variance) = (&by.averages.mean.value, &by.averages.variance.value);
        let memory = [
            mean.into(),
            variance.into(),
            gamma.as_ref().into(),
            beta.as_ref().into(),
            (&fields).into(),
        ];
        with_addresses(&stream, memory, |[of_mean, of_variance, of_gamma, of_beta, fields]| {
            let by = ByMoving {
                mean: of_mean,
                variance: of_variance,
                gamma: of_gamma,
                beta: of_beta,
                is_wide: is_wide(Some(mean)),
                gamma_is_wide: is_wide(gamma.as_ref()),
                beta_is_wide: is_wide(beta.as_ref()),
                channels: channels as i64,
                epsilon: by.epsilon,
                fields,
            };
            let kernel = function(&self.device, &File::Formulas.program(NUMBERS)?, "by_moving")?;
            let mut launch = stream.launch_builder(&kernel);
            launch.arg(&by);
            // SAFETY: the argument is that of `by_moving`, which writes all fields.
            unsafe { launch.launch(config(channels.div_ceil(THREADS), THREADS)?) }.w()?;
            Ok(())
        })?;
        Ok(Fields(fields.into_tensor().reshape((Fields::COUNT, 1, channels))?))
    }

    /// `Σ dv` and `Σ dv·x̂`, `[2, groups, C]`.
    pub(super) fn totals(&self, fields: &Fields, dy: &Tensor) -> Result<Value> {
        let (sums, shape) = self.sums(fields, dy)?;
        let totals = self.allocate(NUMBERS, 2 * self.count())?;
        let terms = self.allocate(NUMBERS, 2 * self.count())?;
        self.launch_terms((&sums, shape), fields, (&terms, Some(&totals)), [None; 2])?;
        Ok(totals)
    }

    /// The gradients of gamma and beta in these types, and the terms of that of x.
    pub(super) fn terms(
        &self,
        fields: &Fields,
        dy: &Tensor,
        types: [DType; 2],
    ) -> Result<Gradients> {
        let (sums, shape) = self.sums(fields, dy)?;
        let terms = self.allocate(NUMBERS, 2 * self.count())?;
        let column = |dtype| self.allocate(kept(dtype), self.geometry.channels);
        let [gamma, beta] = [column(types[0])?, column(types[1])?];
        let columns = [Some((&gamma, kept(types[0]))), Some((&beta, kept(types[1])))];
        self.launch_terms((&sums, shape), fields, (&terms, None), columns)?;
        Ok(Gradients {
            terms,
            gamma: gamma.into_tensor().to_dtype(types[0])?,
            beta: beta.into_tensor().to_dtype(types[1])?,
        })
    }

    #[allow(unsafe_code)] // a launch is unsafe
    fn launch_terms(
        &self,
        (sums, shape): (&Value, Shape),
        fields: &Fields,
        (terms, totals): (&Value, Option<&Value>),
        columns: [Option<(&Value, DType)>; 2],
    ) -> Result<()> {
        let stream = self.device.cuda_stream();
        let value = |k: usize| columns[k].map(|(value, _)| value);
        let wide = |k: usize| columns[k].is_some_and(|(_, dtype)| dtype == DType::F64);
        let memory = [
            sums.into(),
            (&fields.0).into(),
            terms.into(),
            totals.into(),
            value(0).into(),
            value(1).into(),
        ];
        with_addresses(&stream, memory, |addresses| {
            let of = Terms::new(addresses, [wide(0), wide(1)], shape);
            let kernel = function(&self.device, &File::Formulas.program(NUMBERS)?, "terms")?;
            let mut launch = stream.launch_builder(&kernel);
            launch.arg(&of);
            // SAFETY: the argument is that of `terms`, which writes all of its results.
            unsafe { launch.launch(config(self.channel_blocks(), THREADS)?) }.w()?;
            Ok(())
        })
    }
}

/// Updates the averages by one batch, unless one of its statistics is not finite. Returns the moving means and variances
/// before, `[2, C]`.
#[allow(unsafe_code)] // a launch is unsafe
pub(in super::super) fn commit(of: &DeviceCommit<'_>) -> Result<Tensor> {
    let DeviceCommit { rules, averages, batch, weight, step, updates, counts } = of;
    let device = batch.device().as_cuda_device()?;
    let stream = device.cuda_stream();
    let channels = batch.elem_count() / 2;
    // SAFETY: the kernel writes all of it.
    let before = unsafe { room(device, NUMBERS, (2, channels))? };
    let all = in_order(averages);
    let memory = [
        (*batch).into(),
        (&before).into(),
        (*updates).into(),
        (*counts).into(),
        all[0].into(),
        all[1].into(),
        all[2].into(),
        all[3].into(),
        all[4].into(),
        all[5].into(),
        all[6].into(),
        all[7].into(),
        all[8].into(),
        all[9].into(),
        all[10].into(),
    ];
    with_addresses(&stream, memory, |[batch, before, updates_at, counts, averages_at @ ..]| {
        let is_cumulative = rules.decay == Decay::Cumulative;
        let freedom = rules.unbiased_by.map(|kind| weight.freedom(kind));
        let commit = Commit {
            averages: averages_at,
            batch,
            before,
            updates: updates_at,
            counts,
            channels: channels as i64,
            is_wide: is_wide(all[0]),
            updates_are_i64: i64::from(updates.dtype() == DType::I64),
            variant: variant(averages.renorm.as_ref().map(|renorm| renorm.variant)),
            is_cumulative: i64::from(is_cumulative),
            moves_variance: i64::from(rules.degenerate.moves_variance(*weight, rules.unbiased_by)),
            skips_constant: i64::from(rules.degenerate.skips_constant()),
            is_unbiased: i64::from(freedom.is_some()),
            // The kernel counts what took effect, where the rate depends on it.
            rate: rules.decay.rate(*step, 0.0),
            renorm_decay: averages.renorm.as_ref().map_or(0.0, |renorm| renorm.decay),
            epsilon: rules.epsilon,
            weight: weight.sum,
            freedom: freedom.unwrap_or_default(),
            values: weight.values(),
        };
        let kernel = function(device, &File::Formulas.program(NUMBERS)?, "commit")?;
        let mut launch = stream.launch_builder(&kernel);
        launch.arg(&commit);
        // SAFETY: the argument is that of `commit`; the caller holds the lock of the variables that it writes.
        unsafe { launch.launch(config(1, THREADS)?) }.w()?;
        Ok(())
    })?;
    Ok(before.into_tensor())
}
