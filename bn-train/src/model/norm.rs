//! The norm layer as networks see it: bn-core's `BatchNorm`, set up from the experiment.

use super::finish::FinishBackward;
use super::layer::Gradients;
use bn_core::{BatchNorm, BatchNormConfig, Call};
use candle::{Result, Tensor, Var};
use candle_nn::VarBuilder;

/// What a pass through the network is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics, which also move the moving statistics.
    Train,
    /// Moving statistics; nothing changes, and nothing is differentiated.
    Moving,
    /// Batch statistics; nothing changes, and nothing is differentiated.
    Batch,
}

/// A norm layer of `[N, C]` or `[N, C, height, width]`, with what its configuration puts behind the norm.
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
        let layer = config.build(channels, builder).map_err(candle::Error::wrap)?;
        Ok(Self { layer, name })
    }

    pub(super) fn forward(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
        mode: Mode,
    ) -> Result<Tensor> {
        let call = match mode {
            Mode::Train => Call::train(),
            Mode::Moving => Call::eval(),
            Mode::Batch => Call::batch_statistics(),
        };
        let y = self.layer.forward_with(x, &Call { residual, ..call });
        let y = y.map_err(candle::Error::wrap)?;
        match mode {
            Mode::Train => Ok(y),
            Mode::Moving | Mode::Batch => Ok(y.detach()),
        }
    }

    pub(super) fn forward_saved(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
    ) -> Result<(Tensor, FinishBackward<'_>)> {
        let call = Call { residual, ..Call::train() };
        let (y, saved) = self.layer.forward_with_saved(x, &call).map_err(candle::Error::wrap)?;
        let backward = move |dy: Tensor, gradients: &mut Gradients| {
            let found = saved.gradients(&dy).map_err(candle::Error::wrap)?;
            if self.layer.config().trainable {
                let both = [(self.layer.gamma(), found.gamma), (self.layer.beta(), found.beta)];
                for (variable, gradient) in both {
                    if let (Some(variable), Some(gradient)) = (variable, gradient) {
                        gradients.add(variable, gradient)?;
                    }
                }
            }
            Ok((found.x, found.residual))
        };
        Ok((y, Box::new(backward)))
    }

    pub(super) fn trainable(&self) -> Vec<(String, Var)> {
        let variables = self.layer.trainable_variables().into_iter();
        variables.map(|(name, variable)| (format!("{}.{name}", self.name), variable)).collect()
    }
}
