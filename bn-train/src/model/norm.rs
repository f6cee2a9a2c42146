//! The norm layer as networks see it: bn-core's `BatchNorm`, set up from the experiment.

use bn_core::{BatchNorm, BatchNormConfig, Call};
use candle::{Result, Tensor, Var};
use candle_nn::VarBuilder;

/// What a pass through the network is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics, which also move the moving statistics.
    Train,
    /// Moving statistics; nothing changes.
    Moving,
    /// Batch statistics; nothing changes.
    Batch,
}

/// A norm layer of `[N, C]` or `[N, C, height, width]`.
#[derive(Debug)]
pub(super) struct Norm(BatchNorm);

impl Norm {
    pub(super) fn build(config: &BatchNormConfig, channels: usize, builder: VarBuilder<'_>) -> Result<Self> {
        Ok(Self(config.clone().build(channels, builder).map_err(candle::Error::wrap)?))
    }

    pub(super) fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let call = match mode {
            Mode::Train => Call::train(),
            Mode::Moving => Call::eval(),
            Mode::Batch => Call::batch_statistics(),
        };
        self.0.forward_with(x, &call).map_err(candle::Error::wrap)
    }

    pub(super) fn trainable(&self) -> Vec<(String, Var)> {
        self.0.trainable_variables()
    }
}
