//! The checked settings of one arm: what the rest of the program may rely on.
//!
//! There is one way in, `check`; whoever holds a [`Settings`] need not check again. `template.toml` says what each key
//! means and what it defaults to.

use super::reader::Word;
use crate::data::Source;
use crate::optimizer::SgdSettings;
use crate::schedule::Schedule;
use bn_core::{BatchNormConfig, RenormVariant, ZeroDebias};

/// Everything that decides the numbers of a run, apart from its seed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// `data.name`.
    pub data: Source,
    /// `[model]`.
    pub model: ModelSettings,
    /// `[norm]`; none where `norm.kind` is `"none"`.
    pub norm: Option<NormSettings>,
    /// `[optimizer]`, less the learning rate.
    pub optimizer: SgdSettings,
    /// `optimizer.learning_rate`, above 0.
    pub learning_rate: f64,
    /// `[schedule]`.
    pub schedule: Schedule,
    /// `[train]`.
    pub train: TrainSettings,
    /// All of the above as the keys of an experiment, defaults written out.
    pub written: toml::Table,
}

/// A network.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelSettings {
    /// What the net is made of.
    pub kind: ModelKind,
    /// After every hidden layer.
    pub activation: Activation,
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

/// How long to train, and when to look.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrainSettings {
    /// Optimizer updates, at least 1.
    pub steps: u64,
    /// Examples per update, from 1 to the number of training examples.
    pub batch_size: usize,
    /// Steps between two evaluations, at least 1. The first and the last step are always evaluated.
    pub evaluate_every: u64,
    /// Further steps to evaluate at, ascending; those past the end are never reached.
    pub evaluate_at: Vec<u64>,
}

impl TrainSettings {
    /// Whether the net is evaluated after `step` updates.
    pub fn evaluates(&self, step: u64) -> bool {
        step.is_multiple_of(self.evaluate_every)
            || step == self.steps
            || self.evaluate_at.binary_search(&step).is_ok()
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $visibility:vis $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $visibility enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl Word for $name {
            fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}
pub(super) use words;

words! {
    /// A function applied to every element.
    pub Activation {
        /// `1 / (1 + exp(-x))`.
        Sigmoid = "sigmoid",
        /// Hyperbolic tangent.
        Tanh = "tanh",
        /// `max(x, 0)`.
        Relu = "relu",
        /// `x`, or `0.01 x` below 0.
        LeakyRelu = "leaky_relu",
    }
}

words! {
    /// On which side of the activation a normalization layer stands.
    pub Position {
        /// Layer, norm, activation.
        Before = "before",
        /// Layer, activation, norm.
        After = "after",
    }
}

impl Word for ZeroDebias {
    fn from_word(word: &str) -> Option<Self> {
        match word {
            "none" => Some(Self::None),
            "mean" => Some(Self::Mean),
            "variance" => Some(Self::Variance),
            "both" => Some(Self::Both),
            _ => None,
        }
    }
}

impl Word for RenormVariant {
    fn from_word(word: &str) -> Option<Self> {
        match word {
            "keras" => Some(Self::Keras),
            "tf1" => Some(Self::Tf1),
            "paper" => Some(Self::Paper),
            _ => None,
        }
    }
}

impl Word for Source {
    fn from_word(word: &str) -> Option<Self> {
        (word == "digits").then_some(Self::Digits)
    }
}
