//! A family of networks, as an experiment knows it.

use super::Sizes;
use super::finish::Hidden;
use super::layer::Layer;
use super::settings::Activation;
use candle::Result;
use candle_nn::VarBuilder;
use std::fmt::Debug;
use std::sync::Arc;

/// A family of networks with its sizes: what `[model]` describes.
pub trait Architecture: Debug + Send + Sync {
    /// The layers from images `[N, channels, height, width]` to scores `[N, classes]`.
    ///
    /// `hidden` says how hidden layers end: with which norm layer and activation. Variables come from `builder`, which
    /// draws each initial value from the run's seed and the variable's name.
    ///
    /// # Errors
    /// What candle or the norm layers report, for instance too little memory on the device.
    fn build(
        &self,
        sizes: Sizes,
        hidden: Hidden<'_>,
        builder: &VarBuilder<'_>,
    ) -> Result<Box<dyn Layer>>;

    /// What is wrong with this network for images of these sizes, if anything.
    fn misfit(&self, _sizes: Sizes) -> Option<Misfit> {
        None
    }
}

/// Why a network does not fit its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The key of `[model]` that is to blame.
    pub key: &'static str,
    /// What is wrong, and what would be accepted.
    pub message: String,
}

/// A network.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ModelSettings {
    /// What the net is made of.
    pub architecture: Arc<dyn Architecture>,
    /// After every hidden layer.
    pub activation: Activation,
    /// What initial weights are multiplied by, above 0.
    pub initial_scale: f64,
}

impl ModelSettings {
    /// A net of this family with this activation.
    pub fn new(architecture: Arc<dyn Architecture>, activation: Activation) -> Self {
        Self { architecture, activation, initial_scale: 1.0 }
    }
}
