//! Settings of layers: norm, activation and precision.

use bn_core::BatchNormConfig;
use candle::DType;

/// The numbers that a network computes in. Weights, statistics, norm parameters, losses and optimizers are always f32 or
/// wider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// bfloat16: activations, and the operands of convolutions and matrix products, which sum in f32. On a CPU these are
    /// computed in f32 and rounded, so results are the same up to rounding, but slow.
    Bf16,
}

impl Precision {
    /// The type of activations.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
        }
    }
}

/// The settings of norm layers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NormSettings {
    /// Position relative to the activation.
    pub position: Position,
    /// The layer itself.
    pub layer: NormLayer,
    /// The step after which moving statistics are frozen and also used in training; `None` for never.
    pub freeze_after: Option<u64>,
}

/// The kind of norm layer.
#[derive(Clone, Debug, PartialEq)]
pub enum NormLayer {
    /// Batch normalization or renormalization. Its schedules are scaled to the run's length.
    Batch(Box<BatchNormConfig>),
    /// Group normalization; with one group, layer normalization.
    Group {
        /// Number of groups; must divide the number of channels.
        groups: usize,
        /// Added to the variance.
        epsilon: f64,
    },
}

impl NormSettings {
    /// `layer` at `position`, never frozen.
    pub fn new(position: Position, layer: NormLayer) -> Self {
        Self { position, layer, freeze_after: None }
    }

    /// Applies `change` to the batch-norm configuration; `None` for other kinds of norm.
    pub fn with_batch_norm(mut self, change: impl FnOnce(&mut BatchNormConfig)) -> Option<Self> {
        match &mut self.layer {
            NormLayer::Batch(config) => change(config),
            NormLayer::Group { .. } => return None,
        }
        Some(self)
    }

    /// The batch-norm configuration; `None` for other kinds of norm.
    pub fn batch_norm(&self) -> Option<&BatchNormConfig> {
        match &self.layer {
            NormLayer::Batch(config) => Some(config),
            NormLayer::Group { .. } => None,
        }
    }
}

/// An elementwise activation.
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

/// Position of a norm layer relative to the activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Layer, norm, activation.
    Before,
    /// Layer, activation, norm.
    After,
}
