//! Norm, residual and activation after an affine layer, in the configured order.

use super::activation::{Activate, sum};
use super::group_norm::GroupNorm;
use super::layer::{Layer, Named};
use super::norm::Norm;
use super::pass::Pass;
use super::settings::{self, NormLayer, NormSettings, Position};
use super::signal::Signal;
use bn_core::{Activation, BatchNormConfig};
use candle::Result;
use candle_nn::VarBuilder;

/// The norm and activation of hidden layers.
#[derive(Clone, Copy, Debug)]
pub struct Hidden<'a> {
    pub(super) norm: Option<&'a NormSettings>,
    pub(super) activation: Activation,
}

/// Slope of the leaky `ReLU` below 0.
const LEAK: f64 = 0.01;

impl<'a> Hidden<'a> {
    /// Hidden layers with this norm, if any, and this activation.
    pub fn new(norm: Option<&'a NormSettings>, activation: settings::Activation) -> Self {
        let activation = match activation {
            settings::Activation::Sigmoid => Activation::Sigmoid,
            settings::Activation::Tanh => Activation::Tanh,
            settings::Activation::Relu => Activation::Relu,
            settings::Activation::LeakyRelu => Activation::LeakyRelu(LEAK),
        };
        Self { norm, activation }
    }

    /// The same without an activation.
    pub fn linear(self) -> Self {
        Self { activation: Activation::None, ..self }
    }

    /// Whether the affine layer needs a bias. It does not before a batch norm with beta, which would subtract the bias.
    pub fn needs_bias(&self) -> bool {
        !self.norm.is_some_and(|norm| {
            norm.position == Position::Before && norm.batch_norm().is_some_and(|layer| layer.center)
        })
    }
}

/// `activation(norm(x) + residual)`, or `norm(activation(x + residual))`.
#[derive(Debug)]
pub(super) enum Finish {
    /// Norm, residual and activation, fused in the norm layer.
    Before(Norm),
    /// The activation, then the norm.
    After(Activate, Norm),
    /// Group norm, on either side of the activation.
    Group(Position, GroupNorm, Activate),
    /// No norm.
    Plain(Activate),
}

impl Finish {
    pub(super) fn build(
        channels: usize,
        hidden: Hidden<'_>,
        builder: &VarBuilder<'_>,
    ) -> Result<Self> {
        let activate = Activate::new(builder.pp("activation").prefix(), hidden.activation);
        let Some(NormSettings { position, layer, .. }) = hidden.norm else {
            return Ok(Self::Plain(activate));
        };
        let builder = builder.pp("norm");
        let layer = match layer {
            NormLayer::Batch(layer) => layer.as_ref(),
            NormLayer::Group { groups, epsilon } => {
                let norm = GroupNorm::build(*groups, *epsilon, channels, &builder)?;
                return Ok(Self::Group(*position, norm, activate));
            }
        };
        match position {
            Position::Before => {
                let layer = BatchNormConfig { activation: hidden.activation, ..layer.clone() };
                Ok(Self::Before(Norm::build(&layer, channels, builder)?))
            }
            Position::After => Ok(Self::After(activate, Norm::build(layer, channels, builder)?)),
        }
    }

    pub(super) fn forward(
        &self,
        x: &Signal,
        residual: Option<&Signal>,
        pass: &mut Pass<'_>,
    ) -> Result<Signal> {
        match self {
            Self::Before(norm) => norm.forward_with(x, residual, pass),
            Self::After(activate, norm) => {
                norm.forward(&activated(activate, x, residual, pass)?, pass)
            }
            Self::Group(Position::Before, norm, activate) => {
                activated(activate, &norm.forward(x, pass)?, residual, pass)
            }
            Self::Group(Position::After, norm, activate) => {
                norm.forward(&activated(activate, x, residual, pass)?, pass)
            }
            Self::Plain(activate) => activated(activate, x, residual, pass),
        }
    }

    pub(super) fn visit<'a>(&'a self, visitor: &mut dyn FnMut(Named<'a>)) {
        match self {
            Self::Before(norm) | Self::After(_, norm) => norm.visit(visitor),
            Self::Group(_, norm, _) => norm.visit(visitor),
            Self::Plain(_) => {}
        }
    }
}

fn activated(
    activate: &Activate,
    x: &Signal,
    residual: Option<&Signal>,
    pass: &mut Pass<'_>,
) -> Result<Signal> {
    match residual {
        Some(residual) => activate.forward(&sum(x, residual, pass)?, pass),
        None => activate.forward(x, pass),
    }
}
