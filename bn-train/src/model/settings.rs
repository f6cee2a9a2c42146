//! What a file says of the hidden layers of a network: their norm layers, their activation.

use bn_core::BatchNormConfig;

/// A normalization layer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NormSettings {
    /// On which side of the activation.
    pub position: Position,
    /// The layer itself.
    pub layer: NormLayer,
    /// The step from which on the moving statistics normalize in training too, and stay as they are; none for never.
    pub freeze_after: Option<u64>,
}

/// Which layer normalizes.
#[derive(Clone, Debug, PartialEq)]
pub enum NormLayer {
    /// Batch normalization or renormalization; its schedules are scaled to the run.
    Batch(Box<BatchNormConfig>),
    /// Group normalization; of one group, layer normalization.
    Group {
        /// Groups of channels, a divisor of their number.
        groups: usize,
        /// Added to the variance.
        epsilon: f64,
    },
}

impl NormSettings {
    /// `layer` on this side of the activation.
    pub fn new(position: Position, layer: NormLayer) -> Self {
        Self { position, layer, freeze_after: None }
    }

    /// The same after `change` of its batch-norm layer; none if it is another layer.
    pub fn with_batch_norm(mut self, change: impl FnOnce(&mut BatchNormConfig)) -> Option<Self> {
        match &mut self.layer {
            NormLayer::Batch(config) => change(config),
            NormLayer::Group { .. } => return None,
        }
        Some(self)
    }

    /// The batch-norm layer, if it is one.
    pub fn batch_norm(&self) -> Option<&BatchNormConfig> {
        match &self.layer {
            NormLayer::Batch(config) => Some(config),
            NormLayer::Group { .. } => None,
        }
    }
}

/// A function applied to every element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `max(x, 0)`.
    Relu,
    /// `x`, or `0.01 x` below 0.
    LeakyRelu,
}

/// On which side of the activation a normalization layer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Layer, norm, activation.
    Before,
    /// Layer, activation, norm.
    After,
}
