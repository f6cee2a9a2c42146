//! What follows an affine map: norm, residual and activation, in the order of the experiment.

use super::layer::{Backward, Gradients, Wanted};
use super::norm::{Mode, Norm};
use super::settings::{self, NormSettings, Position};
use crate::ops::{self, activation};
use bn_core::{Activation, BatchNormConfig};
use candle::{Result, Tensor, Var};
use candle_nn::VarBuilder;

/// How hidden layers are finished.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hidden<'a> {
    pub(super) norm: Option<&'a NormSettings>,
    pub(super) activation: Activation,
}

/// Slope of the leaky rectifier below 0.
const LEAK: f64 = 0.01;

impl<'a> Hidden<'a> {
    pub(super) fn new(norm: Option<&'a NormSettings>, activation: settings::Activation) -> Self {
        let activation = match activation {
            settings::Activation::Sigmoid => Activation::Sigmoid,
            settings::Activation::Tanh => Activation::Tanh,
            settings::Activation::Relu => Activation::Relu,
            settings::Activation::LeakyRelu => Activation::LeakyRelu(LEAK),
        };
        Self { norm, activation }
    }

    /// The same without an activation.
    pub(super) fn linear(self) -> Self {
        Self { activation: Activation::None, ..self }
    }

    /// Whether the affine map needs a bias of its own. Not where a norm that learns an offset follows: the norm would
    /// subtract it again.
    pub(super) fn needs_bias(&self) -> bool {
        !self.norm.is_some_and(|norm| norm.position == Position::Before && norm.layer.center)
    }
}

/// `activation(norm(x) + residual)`, or `norm(activation(x + residual))`.
#[derive(Debug)]
pub(super) enum Finish {
    /// The norm layer does all of it in one pass.
    Before(Norm),
    /// The activation, then the norm.
    After(Activation, Norm),
    /// No norm.
    Plain(Activation),
}

/// From dy to dx and the gradient of the residual, if there is one.
pub(super) type FinishBackward<'a> =
    Box<dyn FnOnce(Tensor, &mut Gradients) -> Result<(Tensor, Option<Tensor>)> + 'a>;

impl Finish {
    pub(super) fn build(
        channels: usize,
        hidden: Hidden<'_>,
        builder: &VarBuilder<'_>,
    ) -> Result<Self> {
        let activation = hidden.activation;
        let Some(NormSettings { position, layer }) = hidden.norm else {
            return Ok(Self::Plain(activation));
        };
        let norm = |config: &BatchNormConfig| Norm::build(config, channels, builder.pp("norm"));
        match position {
            Position::Before => {
                Ok(Self::Before(norm(&BatchNormConfig { activation, ..layer.clone() })?))
            }
            Position::After => Ok(Self::After(activation, norm(layer)?)),
        }
    }

    pub(super) fn forward(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
        mode: Mode,
    ) -> Result<Tensor> {
        let activated = |activation: &Activation| match residual {
            Some(residual) => activation.apply(&(x + residual)?),
            None => activation.apply(x),
        };
        match self {
            Self::Before(norm) => norm.forward(x, residual, mode),
            Self::After(activation, norm) => norm.forward(&activated(activation)?, None, mode),
            Self::Plain(activation) => activated(activation),
        }
    }

    pub(super) fn forward_saved(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
    ) -> Result<(Tensor, FinishBackward<'_>)> {
        let has_residual = residual.is_some();
        let activated = |activation: Activation| {
            let y = match residual {
                Some(residual) => activation.apply(&ops::sum(x, residual)?)?,
                None => activation.apply(x)?,
            };
            Ok::<_, candle::Error>(y)
        };
        // The gradient of the sum is that of both its terms.
        let back = move |activation, y: &Tensor, dy: &Tensor| {
            let dx = activation::gradient(activation, y, dy)?;
            let residual = has_residual.then(|| dx.clone());
            Ok::<_, candle::Error>((dx, residual))
        };
        match self {
            Self::Before(norm) => {
                let (y, way) = norm.forward_saved(x, residual)?;
                Ok((y, way))
            }
            Self::After(activation, norm) => {
                let middle = activated(*activation)?;
                let (y, way) = norm.forward_saved(&middle, None)?;
                let backward = move |dy: Tensor, gradients: &mut Gradients| {
                    let (dy, _) = way(dy, gradients)?;
                    back(*activation, &middle, &dy)
                };
                Ok((y, Box::new(backward)))
            }
            Self::Plain(activation) => {
                let y = activated(*activation)?;
                let saved = y.clone();
                let backward = move |dy: Tensor, _: &mut Gradients| back(*activation, &saved, &dy);
                Ok((y, Box::new(backward)))
            }
        }
    }

    pub(super) fn trainable(&self) -> Vec<(String, Var)> {
        match self {
            Self::Before(norm) | Self::After(_, norm) => norm.trainable(),
            Self::Plain(_) => Vec::new(),
        }
    }
}

/// The way back through a layer and what finishes it; the gradient of the residual is dropped.
pub(super) fn join<'a>(affine: Backward<'a>, finish: FinishBackward<'a>) -> Backward<'a> {
    Box::new(move |dy: Tensor, wanted: Wanted, gradients: &mut Gradients| {
        let (dy, _) = finish(dy, gradients)?;
        affine(dy, wanted, gradients)
    })
}
