//! [`Call`]: the options of one forward pass.

use candle::Tensor;

use crate::moments::Moments;

/// The mean and variance that a forward pass normalizes by.
#[derive(Clone, Copy, Debug, Default)]
pub enum Statistics<'a> {
    /// The batch's. Gradients flow through them.
    #[default]
    Batch,
    /// The layer's moving statistics.
    Moving,
    /// These, `[C]`. They are held constant.
    Given(&'a Moments),
}

/// The options of one forward pass.
///
/// | | statistics | update | renorm |
/// |---|---|---|---|
/// | [`Call::train`] | batch | yes | yes, if the layer has it |
/// | [`Call::eval`] | moving | no | no |
/// | [`Call::batch_statistics`] | batch | no | no |
/// | [`Call::given`] | given | no | no |
#[derive(Clone, Copy, Debug, Default)]
pub struct Call<'a> {
    /// The statistics to normalize by.
    pub statistics: Statistics<'a>,
    /// Update the moving statistics with this batch, at once or through [`crate::Updates`].
    pub update: bool,
    /// Apply the layer's renorm correction, which only batch statistics have.
    pub renorm: bool,
    /// Weights for the batch statistics: `[N]`, or any shape that broadcasts to x with 1 at the channel axis.
    /// A mask is weights of 0 and 1. Weights get no gradient. Values of weight 0 must be finite: 0 times NaN is
    /// NaN.
    pub weights: Option<&'a Tensor>,
    /// Replaces the layer's gamma: `[C]`, or `[N, C]` for one per example (conditional batch norm).
    pub gamma: Option<&'a Tensor>,
    /// Replaces the layer's beta: `[C]` or `[N, C]`.
    pub beta: Option<&'a Tensor>,
    /// Added before the activation; has x's shape.
    pub residual: Option<&'a Tensor>,
}

impl<'a> Call<'a> {
    /// A training step: batch statistics, renorm, and an update.
    pub fn train() -> Self {
        Self { update: true, renorm: true, ..Self::default() }
    }

    /// Evaluation by the moving statistics.
    pub fn eval() -> Self {
        Self { statistics: Statistics::Moving, ..Self::default() }
    }

    /// Evaluation by the batch's own statistics, without update or renorm.
    pub fn batch_statistics() -> Self {
        Self::default()
    }

    /// Normalization by given statistics.
    pub fn given(moments: &'a Moments) -> Self {
        Self { statistics: Statistics::Given(moments), ..Self::default() }
    }

    /// Sets [`Call::weights`].
    pub fn with_weights(self, weights: &'a Tensor) -> Self {
        Self { weights: Some(weights), ..self }
    }

    /// Sets [`Call::residual`].
    pub fn with_residual(self, residual: &'a Tensor) -> Self {
        Self { residual: Some(residual), ..self }
    }
}
