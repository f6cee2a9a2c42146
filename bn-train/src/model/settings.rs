//! What a network is made of: its family and sizes, its activation, its norm layers.

use bn_core::BatchNormConfig;

/// A network.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelSettings {
    /// What the net is made of.
    pub kind: ModelKind,
    /// After every hidden layer.
    pub activation: Activation,
}

impl ModelSettings {
    /// A net of this family with this activation.
    pub fn new(kind: ModelKind, activation: Activation) -> Self {
        Self { kind, activation }
    }
}

/// A family of networks, with its sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelKind {
    /// Dense layers of these widths, then one to the classes.
    Mlp {
        /// Widths, each at least 1; empty for softmax regression.
        hidden: Vec<usize>,
    },
    /// Convolutions, each followed by 2x2 maximum pooling, then one dense layer to the classes.
    Convnet {
        /// Channels of each convolution, each at least 1; no more of them than the image can be halved.
        channels: Vec<usize>,
        /// Height and width of the convolutions' kernels; odd.
        kernel: usize,
    },
    /// A residual network for 32x32 images (He et al. 2015, section 4.2) with projection shortcuts.
    Resnet {
        /// Layers with weights, shortcuts not counted: `6n + 2` for `n` blocks in each of the three groups.
        depth: usize,
    },
}

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
