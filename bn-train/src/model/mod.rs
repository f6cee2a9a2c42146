//! Networks: one file per family, each made of blocks and taking its norm layer from the experiment.
//!
//! A network knows sizes, not data sets: it is built for images of some shape and a number of classes. Its variables
//! come from a [`Parameters`] store, which draws each initial value from a stream named after the variable.

mod affine;
mod block;
mod convnet;
mod finish;
mod kinds;
mod layer;
mod mlp;
mod norm;
mod parameters;
mod pool;
mod resnet;
mod settings;

pub use kinds::{activation, models, norms};
pub use layer::{Backward, Chain, Gradients, Graph, Layer, Wanted};
pub use norm::Mode;
pub use parameters::Parameters;
pub use settings::{Activation, ModelKind, ModelSettings, NormSettings, Position};

use crate::data::ImageShape;
use crate::ops::buffer::is_plain;
use crate::ops::softmax_cross_entropy;
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
    layers: Chain,
    /// Whether it has a norm layer, so that statistics matter.
    pub is_normalized: bool,
}

/// What a network learns from one batch.
#[derive(Debug)]
pub struct Lesson {
    /// Mean cross-entropy in nats; may be infinite or not a number.
    pub loss: f64,
    /// Share of examples whose own class scored highest.
    pub accuracy: f64,
    /// Of the loss, for an optimizer.
    pub gradients: Gradients,
}

impl Model {
    /// The network that `settings` describe, normalized as `norm` says, with the initial values that belong to `seed`.
    ///
    /// # Errors
    /// What candle or the norm layer report, for instance too little memory on the device.
    pub fn build(
        settings: &ModelSettings,
        norm: Option<&NormSettings>,
        sizes: Sizes,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let parameters = Parameters::new(seed).into_builder(device);
        let hidden = finish::Hidden::new(norm, settings.activation);
        let layers = match &settings.kind {
            ModelKind::Mlp { hidden: widths } => mlp::build(widths, hidden, sizes, &parameters),
            ModelKind::Convnet { channels, kernel } => {
                convnet::build(channels, *kernel, hidden, sizes, &parameters)
            }
            ModelKind::Resnet { depth } => resnet::build(*depth, hidden, sizes, &parameters),
        };
        Ok(Self { layers: layers?, is_normalized: norm.is_some() })
    }

    /// Scores `[N, classes]` of images `[N, channels, height, width]`. Only in [`Mode::Train`] do they know the
    /// variables that they came from.
    ///
    /// # Errors
    /// What candle or the norm layers report.
    pub fn forward(&self, images: &Tensor, mode: Mode) -> Result<Tensor> {
        self.layers.forward(images, mode)
    }

    /// A training pass over images and their labels: the loss, and its gradients.
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn learn(&self, images: &Tensor, labels: &Tensor) -> Result<Lesson> {
        if !is_plain(images) {
            return self.learn_by_graph(images, labels);
        }
        let (scores, backward) = self.layers.forward_saved(images)?;
        let loss = softmax_cross_entropy(&scores, labels)?;
        let mut gradients = Gradients::new();
        if loss.mean.is_finite() {
            backward(loss.gradient, Wanted::Variables, &mut gradients)?;
            gradients.settle()?;
        }
        Ok(Lesson { loss: loss.mean, accuracy: loss.accuracy, gradients })
    }

    /// The same by candle's graph, on any device.
    fn learn_by_graph(&self, images: &Tensor, labels: &Tensor) -> Result<Lesson> {
        let scores = self.forward(images, Mode::Train)?;
        let loss = candle_nn::loss::cross_entropy(&scores, labels)?;
        let mut gradients = Gradients::new();
        let mean = f64::from(loss.to_scalar::<f32>()?);
        if mean.is_finite() {
            gradients.add_all(&self.trainable(), &loss.backward()?)?;
        }
        Ok(Lesson { loss: mean, accuracy: accuracy(&scores, labels)?, gradients })
    }

    /// What an optimizer may change, by name. Moving statistics are not among them.
    pub fn trainable(&self) -> Vec<(String, Var)> {
        let mut variables = self.layers.trainable();
        variables.sort_by(|(left, _), (right, _)| left.cmp(right));
        variables
    }
}

/// Share of rows whose highest score is that of their label. Scores that are not numbers are never right.
pub fn accuracy(scores: &Tensor, labels: &Tensor) -> Result<f64> {
    let (rows, classes) = scores.dims2()?;
    let scores = scores.flatten_all()?.to_vec1::<f32>()?;
    let labels = labels.to_vec1::<u32>()?;
    let is_right = |(row, label): (&[f32], &u32)| {
        let own = row[*label as usize];
        row.iter().enumerate().all(|(class, &score)| class == *label as usize || own > score)
    };
    let right = scores
        .chunks_exact(classes)
        .zip(&labels)
        .filter(|&(row, label)| is_right((row, label)))
        .count();
    Ok(right as f64 / rows as f64)
}

#[cfg(test)]
mod tests;
