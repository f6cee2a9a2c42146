//! What a file says of the hidden layers of a network: their norm layers, their activation.

use bn_core::BatchNormConfig;

/// A normalization layer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NormSettings {
    /// On which side of the activation.
    pub position: Position,
    /// The layer itself; its schedules are scaled to the run.
    pub layer: BatchNormConfig,
}

impl NormSettings {
    /// `layer` on this side of the activation.
    pub fn new(position: Position, layer: BatchNormConfig) -> Self {
        Self { position, layer }
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
