//! [`Engine`]: the large passes over a layer's tensors. `pass` decides which to run, by the formulas of
//! `channel`.
//!
//! The per-channel values cross this trait as slices on the host. An engine that keeps them on its device is
//! [`Resident`], and runs the same formulas there.

mod composed;
pub(crate) mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(not(feature = "cuda"))]
#[path = "cuda/absent.rs"]
mod cuda;
#[cfg(any(feature = "cuda", test))]
#[path = "cuda/plan.rs"]
mod plan;
mod resident;

use candle::{Device, Tensor};

pub(crate) use resident::{Channels, DeviceCommit, Fields, Kept, Parameters, Resident};

use crate::activation::Activation;
use crate::channel::{Channel, GradientTerms, Moment, Totals, Weight};
use crate::error::Result;
use crate::layout::ChannelView;
use crate::tensors::Value;

/// The tensors of a call: checked, contiguous, outside the graph.
#[derive(Clone)]
pub(crate) struct Operands {
    pub(crate) x: Tensor,
    pub(crate) view: ChannelView,
    /// As [`flat_weights`](crate::weights::flat_weights) takes them.
    pub(crate) weights: Option<Tensor>,
    /// Of x's shape and type.
    pub(crate) residual: Option<Tensor>,
    pub(crate) activation: Activation,
    /// Examples of axis 0 per normalization group; `None` for one group.
    pub(crate) group: Option<usize>,
}

/// By normalization group, then by channel.
pub(crate) type ByGroup<T> = Vec<Vec<T>>;

/// A forward pass by the batch.
pub(crate) struct Normalized {
    pub(crate) y: Value,
    pub(crate) moments: ByGroup<Moment>,
    pub(crate) channels: ByGroup<Channel>,
}

/// What the backward pass writes.
pub(crate) struct Gradients {
    pub(crate) totals: ByGroup<Totals>,
    pub(crate) dx: Value,
    /// The gradient of the residual; `None` without a residual, or if it equals dy (no activation).
    pub(crate) dv: Option<Value>,
}

/// Channels from moments: of a group, from a first channel on.
pub(crate) trait Rule: Fn(usize, usize, &[Moment]) -> Vec<Channel> + Sync {}
impl<F: Fn(usize, usize, &[Moment]) -> Vec<Channel> + Sync> Rule for F {}

/// The large passes over one call's tensors. `y` is the normalized result; `dy` is contiguous and has its shape
/// and type.
pub(crate) trait Engine: Send + Sync {
    /// Total weight of each group; all channels share it.
    fn weights(&self) -> &[Weight];

    /// Products of means or variances above this may overflow the type that the passes compute in.
    fn limit(&self) -> f64;

    /// Whether the gradient reads y.
    fn reads_value(&self) -> bool;

    fn moments(&self) -> Result<ByGroup<Moment>>;

    /// `y = activation((x − mean)·scale + offset + residual)`.
    fn normalize(&self, channels: &ByGroup<Channel>) -> Result<Value>;

    /// Moments, channels and y. An engine may call `rule` for some channels at a time, while their values are
    /// in cache.
    fn moments_and_normalize(&self, rule: &dyn Rule) -> Result<Normalized> {
        let moments = self.moments()?;
        let each = moments.iter().enumerate();
        let channels: ByGroup<Channel> = each.map(|(group, m)| rule(group, 0, m)).collect();
        Ok(Normalized { y: self.normalize(&channels)?, moments, channels })
    }

    /// `Σ dv` and `Σ dv·x̂`.
    fn gradient_sums(
        &self,
        channels: &ByGroup<Channel>,
        y: Option<&Tensor>,
        dy: &Tensor,
    ) -> Result<ByGroup<Totals>>;

    /// `dx = scale·dv − w·(p + (x − mean)·q)`, and dv if it is the gradient of a residual.
    fn input_gradient(
        &self,
        channels: &ByGroup<Channel>,
        terms: &ByGroup<GradientTerms>,
        y: Option<&Tensor>,
        dy: &Tensor,
    ) -> Result<(Value, Option<Value>)>;

    /// The backward pass, for statistics that are not shared with other ranks.
    fn gradients(
        &self,
        channels: &ByGroup<Channel>,
        y: Option<&Tensor>,
        dy: &Tensor,
    ) -> Result<Gradients> {
        let totals = self.gradient_sums(channels, y, dy)?;
        let groups = channels.iter().zip(&totals).zip(self.weights());
        let terms = groups.map(|((channels, totals), weight)| {
            let each = channels.iter().zip(totals);
            each.map(|(channel, t)| channel.terms(channel.through_statistics(t), weight.sum))
                .collect()
        });
        let (dx, dv) = self.input_gradient(channels, &terms.collect(), y, dy)?;
        Ok(Gradients { totals, dx, dv })
    }
}

/// The code that computes a layer. Both use the same formulas and give the same results; `Composed` is
/// slower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Implementation {
    /// Kernels on the CPU and on NVIDIA GPUs, candle's tensor ops elsewhere.
    #[default]
    Fused,
    /// candle's tensor ops in f64, on every device.
    Composed,
}

/// The engine for these tensors.
pub(crate) fn engine(operands: Operands, by: Implementation) -> Result<Box<dyn Engine>> {
    match operands.x.device() {
        Device::Cpu if by == Implementation::Fused => cpu::engine(operands),
        Device::Cuda(_) if by == Implementation::Fused => cuda::engine(&operands),
        _ => Ok(Box::new(composed::Composed::new(&operands)?)),
    }
}

/// The engine that keeps per-channel values on its device, where there is one for these tensors.
pub(crate) fn resident(
    operands: &Operands,
    by: Implementation,
) -> Result<Option<Box<dyn Resident>>> {
    if by == Implementation::Composed { Ok(None) } else { cuda::resident(operands) }
}

/// Commits an update on the device of its tensors, a CUDA device. Returns the moving means and variances before, `[2, C]`.
pub(crate) fn commit_on_device(of: &DeviceCommit<'_>) -> candle::Result<Tensor> {
    cuda::commit(of)
}
