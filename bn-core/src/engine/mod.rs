//! [`Engine`]: the large passes over a layer's tensors. What they are for is decided in `pass`, by the
//! formulas of `channel`.
//!
//! The per-channel values cross this trait as slices on the host. An engine on a device may override the
//! provided methods ([`Engine::moments_and_normalize`], [`Engine::gradients`]) and run the same formulas there.

mod composed;
pub(crate) mod cpu;

use candle::Tensor;

use crate::activation::Activation;
use crate::channel::{Channel, GradientTerms, Moment, Totals, Weight};
use crate::error::Result;
use crate::layout::ChannelView;
use crate::tensors::Value;

/// A call's tensors, checked, contiguous, outside the graph.
#[derive(Clone)]
pub(crate) struct Operands {
    pub(crate) x: Tensor,
    pub(crate) view: ChannelView,
    /// As [`flat_weights`](crate::weights::flat_weights) takes them.
    pub(crate) weights: Option<Tensor>,
    /// Of x's shape and type.
    pub(crate) residual: Option<Tensor>,
    pub(crate) activation: Activation,
    /// Examples of axis 0 per normalization group; none for one group.
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
    /// The gradient of the residual, if there is one; none without an activation, where it is dy itself.
    pub(crate) dv: Option<Value>,
}

/// The formulas that a forward pass by the batch goes through: group, first channel, moments from there on.
pub(crate) trait Rule: Fn(usize, usize, &[Moment]) -> Vec<Channel> + Sync {}
impl<F: Fn(usize, usize, &[Moment]) -> Vec<Channel> + Sync> Rule for F {}

/// The large passes over one call's tensors. `y` is what normalization returned, `dy` is contiguous and of
/// y's shape and type.
pub(crate) trait Engine: Send + Sync {
    /// Total weight of each group; all channels share it.
    fn weights(&self) -> &[Weight];

    /// Means and variances above this leave no room for products in the type that the passes compute in.
    fn limit(&self) -> f64;

    /// Whether the gradient reads y.
    fn reads_value(&self) -> bool;

    fn moments(&self) -> Result<ByGroup<Moment>>;

    /// `y = activation((x − mean)·scale + offset + residual)`.
    fn normalize(&self, channels: &ByGroup<Channel>) -> Result<Value>;

    /// Moments, formulas and y. An engine may run `rule` on some channels at a time, while their values are
    /// in a cache.
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

    /// `dx = scale·dv − w·(p + (x − mean)·q)`, and dv where it is the gradient of a residual.
    fn input_gradient(
        &self,
        channels: &ByGroup<Channel>,
        terms: &ByGroup<GradientTerms>,
        y: Option<&Tensor>,
        dy: &Tensor,
    ) -> Result<(Value, Option<Value>)>;

    /// All of the backward pass, for statistics that are this process's own.
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

/// Which code computes a layer.
///
/// Both go through the same formulas and give the same results; `Composed` is the slower one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Implementation {
    /// Kernels on the CPU, plain tensor ops elsewhere.
    #[default]
    Fused,
    /// Plain tensor ops in f64, on every device.
    Composed,
}

/// The engine for these tensors.
pub(crate) fn engine(operands: Operands, by: Implementation) -> Result<Box<dyn Engine>> {
    if by == Implementation::Composed || !operands.x.device().is_cpu() {
        return Ok(Box::new(composed::Composed::new(&operands)?));
    }
    cpu::engine(operands)
}
