//! [`Call`]: what one forward pass through a layer does.

use candle::Tensor;

use crate::moments::Moments;

/// Which mean and variance a forward pass normalizes by.
#[derive(Clone, Copy, Debug, Default)]
pub enum Statistics<'a> {
    /// Those of the batch; gradients flow through them.
    #[default]
    Batch,
    /// The layer's moving averages.
    Moving,
    /// These, `[C]`; held constant.
    Given(&'a Moments),
}

/// One forward pass: by which statistics, and whether it moves the averages.
///
/// | | statistics | update | renorm |
/// |---|---|---|---|
/// | [`Call::train`] | batch | yes | yes, if the layer has it |
/// | [`Call::eval`] | moving | no | no |
/// | [`Call::batch_statistics`] | batch | no | no |
/// | [`Call::given`] | given | no | no |
#[derive(Clone, Copy, Debug, Default)]
pub struct Call<'a> {
    /// What to normalize by.
    pub statistics: Statistics<'a>,
    /// Move the moving averages by this batch (or leave that pending, see [`crate::Updates`]).
    pub update: bool,
    /// Apply the layer's renorm correction. Only batch statistics have one.
    pub renorm: bool,
    /// Weights of the batch statistics: `[N]`, or any shape that broadcasts to x with 1 at the channel axis.
    /// A mask is 0/1 weights. No gradient flows to them.
    /// Values at weight 0 must be finite: 0 times NaN is NaN.
    pub weights: Option<&'a Tensor>,
    /// Replaces the layer's gamma: `[C]`, or `[N, C]` for one per example (conditional batch norm).
    pub gamma: Option<&'a Tensor>,
    /// Replaces the layer's beta: `[C]` or `[N, C]`.
    pub beta: Option<&'a Tensor>,
    /// Added before the activation; of x's shape.
    pub residual: Option<&'a Tensor>,
}

impl<'a> Call<'a> {
    /// A training step: batch statistics, renorm, and an update.
    pub fn train() -> Self {
        Self { update: true, renorm: true, ..Self::default() }
    }

    /// Evaluation by moving statistics.
    pub fn eval() -> Self {
        Self { statistics: Statistics::Moving, ..Self::default() }
    }

    /// Evaluation by the batch's own statistics; nothing is updated, renorm is not applied.
    pub fn batch_statistics() -> Self {
        Self::default()
    }

    /// Normalization by given statistics.
    pub fn given(moments: &'a Moments) -> Self {
        Self { statistics: Statistics::Given(moments), ..Self::default() }
    }

    /// With weights, see [`Call::weights`].
    pub fn with_weights(self, weights: &'a Tensor) -> Self {
        Self { weights: Some(weights), ..self }
    }

    /// With a tensor to add before the activation.
    pub fn with_residual(self, residual: &'a Tensor) -> Self {
        Self { residual: Some(residual), ..self }
    }
}
