//! Networks: one file per family, each made of blocks and taking its norm layer from the experiment.
//!
//! A network knows sizes, not data sets: it is built for images of some shape and a number of classes. Its variables
//! come from a [`Parameters`] store, which draws each initial value from a stream named after the variable.

mod activation;
mod block;
mod convnet;
mod mlp;
mod norm;
mod parameters;

pub use norm::Mode;
pub use parameters::Parameters;

use crate::data::ImageShape;
use crate::experiment::Settings;
use crate::experiment::settings::ModelKind;
use candle::{Device, Result, Tensor, Var};

/// What a network turns images into: one score per class.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Size of one image.
    pub input: ImageShape,
    /// Labels are `0..classes`.
    pub classes: usize,
}

/// A network.
#[derive(Debug)]
pub struct Model {
    network: Network,
    /// Whether it has a norm layer, so that statistics matter.
    pub is_normalized: bool,
}

#[derive(Debug)]
enum Network {
    Mlp(mlp::Mlp),
    Convnet(convnet::Convnet),
}

impl Model {
    /// The network that `settings` describe, with the initial values that belong to `seed`.
    ///
    /// # Errors
    /// What candle or the norm layer report, for instance too little memory on the device.
    pub fn build(settings: &Settings, sizes: Sizes, seed: u64, device: &Device) -> Result<Self> {
        let parameters = Parameters::new(seed).into_builder(device);
        let hidden = block::Hidden {
            norm: settings.norm.as_ref(),
            activation: settings.model.activation,
        };
        let network =
            match &settings.model.kind {
                ModelKind::Mlp { hidden: widths } => {
                    Network::Mlp(mlp::Mlp::build(widths, hidden, sizes, &parameters)?)
                }
                ModelKind::Convnet { channels, kernel } => Network::Convnet(
                    convnet::Convnet::build(channels, *kernel, hidden, sizes, &parameters)?,
                ),
            };
        Ok(Self {
            network,
            is_normalized: settings.norm.is_some(),
        })
    }

    /// Scores `[N, classes]` of images `[N, channels, height, width]`.
    ///
    /// # Errors
    /// What candle or the norm layers report.
    pub fn forward(&self, images: &Tensor, mode: Mode) -> Result<Tensor> {
        match &self.network {
            Network::Mlp(mlp) => mlp.forward(images, mode),
            Network::Convnet(convnet) => convnet.forward(images, mode),
        }
    }

    /// What an optimizer may change, by name. Moving statistics are not among them.
    pub fn trainable(&self) -> Vec<(String, Var)> {
        let mut variables = match &self.network {
            Network::Mlp(mlp) => mlp.trainable(),
            Network::Convnet(convnet) => convnet.trainable(),
        };
        variables.sort_by(|(left, _), (right, _)| left.cmp(right));
        variables
    }
}

#[cfg(test)]
mod tests;
