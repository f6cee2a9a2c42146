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
pub(super) struct Norm {
    layer: BatchNorm,
    name: String,
}

impl Norm {
    pub(super) fn build(
        config: &BatchNormConfig,
        channels: usize,
        builder: VarBuilder<'_>,
    ) -> Result<Self> {
        let name = builder.prefix();
        let layer = config
            .clone()
            .build(channels, builder)
            .map_err(candle::Error::wrap)?;
        Ok(Self { layer, name })
    }

    pub(super) fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let call = match mode {
            Mode::Train => Call::train(),
            Mode::Moving => Call::eval(),
            Mode::Batch => Call::batch_statistics(),
        };
        self.layer
            .forward_with(x, &call)
            .map_err(candle::Error::wrap)
    }

    pub(super) fn trainable(&self) -> Vec<(String, Var)> {
        let variables = self.layer.trainable_variables().into_iter();
        variables
            .map(|(name, variable)| (format!("{}.{name}", self.name), variable))
            .collect()
    }
}
