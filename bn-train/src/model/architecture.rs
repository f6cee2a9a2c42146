//! Families of networks.

use super::Sizes;
use super::finish::Hidden;
use super::layer::Layer;
use super::settings::Activation;
use candle::Result;
use candle_nn::VarBuilder;
use std::fmt::Debug;
use std::sync::Arc;

/// A family of networks with its hyperparameters, as described by `[model]`.
pub trait Architecture: Debug + Send + Sync {
    /// Builds the layers from images `[N, channels, height, width]` to scores `[N, classes]`.
    ///
    /// `hidden` gives the norm layer and activation of hidden layers. Variables come from `builder`, which draws initial
    /// values from the run's seed and the variable's name.
    ///
    /// # Errors
    /// Errors of candle or the norm layers, for example too little memory on the device.
    fn build(
        &self,
        sizes: Sizes,
        hidden: Hidden<'_>,
        builder: &VarBuilder<'_>,
    ) -> Result<Box<dyn Layer>>;

    /// Why this network does not fit these sizes, if it does not.
    fn misfit(&self, _sizes: Sizes) -> Option<Misfit> {
        None
    }
}

/// Why a network does not fit its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The key of `[model]` to report.
    pub key: &'static str,
    /// What is wrong, and what would be accepted.
    pub message: String,
}

/// The settings of a network.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ModelSettings {
    /// The family of networks.
    pub architecture: Arc<dyn Architecture>,
    /// Activation of every hidden layer.
    pub activation: Activation,
    /// Factor of initial weights, above 0.
    pub initial_scale: f64,
}

impl ModelSettings {
    /// A network of this family with this activation, with an initial scale of 1.
    pub fn new(architecture: Arc<dyn Architecture>, activation: Activation) -> Self {
        Self { architecture, activation, initial_scale: 1.0 }
    }
}
