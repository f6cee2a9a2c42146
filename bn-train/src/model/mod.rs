//! Networks: each topology once, made of layers that know how to compute and how to be differentiated.
//!
//! A [`Layer`] turns a [`Signal`] into another within a [`Pass`], which says what the pass is for and keeps the [`Tape`].
//! A network knows sizes, not data sets: it is built for images of some shape and a number of classes. Its variables come
//! from a [`Parameters`] store, which draws each initial value from a stream named after the variable. Whoever needs
//! variables or norm layers asks [`Layer::visit`].

mod settings;
mod parameters;
mod signal;
mod gradients;
mod tape;
mod pass;
mod layer;
mod variables;
mod dense;
mod convolution;
mod pool;
mod activation;
mod norm;
mod graph;
mod finish;
mod block;
mod architecture;
mod mlp;
mod convnet;
mod resnet;
mod kinds;

pub use activation::Activate;
pub use architecture::{Architecture, Misfit, ModelSettings};
pub use block::Block;
pub use convnet::Convnet;
pub use convolution::{Convolution, ConvolutionSizes};
pub use dense::Dense;
pub use finish::Hidden;
pub use gradients::Gradients;
pub use graph::Graph;
pub use kinds::{activation, models, norms};
pub use layer::{Chain, Item, Layer, Named, Parameter, Role, norm_layers, parameters, statistics};
pub use mlp::Mlp;
pub use norm::Norm;
pub use parameters::Parameters;
pub use pass::{Mode, MomentsByPath, Observer, Pass};
pub use pool::{Flatten, MaxPool, MeanOverMap};
pub use resnet::Resnet;
pub use settings::{Activation, NormSettings, Position};
pub use signal::Signal;
pub use tape::{Backward, GradientSink, Tape};

use crate::data::ImageShape;
use crate::ops::buffer::is_plain;
use crate::ops::softmax_cross_entropy;
use candle::{DType, Device, Result, Tensor, Var};

/// What a network turns images into: one score per class.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Size of one image.
    pub input: ImageShape,
    /// Labels are `0..classes`.
    pub classes: usize,
}

/// A network that classifies: it turns images into one score per class.
#[derive(Debug)]
pub struct Model {
    layers: Box<dyn Layer>,
    /// Whether it has a norm layer, so that statistics matter.
    pub is_normalized: bool,
}

/// What a training pass computes from one batch.
#[derive(Debug)]
pub struct StepOutput {
    /// Mean cross-entropy in nats; may be infinite or not a number.
    pub loss: f64,
    /// Share of examples whose own class scored highest.
    pub accuracy: f64,
    /// Of the loss, for an optimizer; none where the loss is not finite.
    pub gradients: Gradients,
}

impl Model {
    /// A network of the user's own: `[N, channels, height, width]` to scores `[N, classes]`.
    pub fn new(layers: impl Layer + 'static) -> Self {
        let is_normalized = !norm_layers(&layers).is_empty();
        Self { layers: Box::new(layers), is_normalized }
    }

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
        let hidden = Hidden::new(norm, settings.activation);
        let layers = settings.architecture.build(sizes, hidden, &parameters)?;
        let is_normalized = !norm_layers(&*layers).is_empty();
        Ok(Self { layers, is_normalized })
    }

    /// Scores `[N, classes]` of images `[N, channels, height, width]`.
    ///
    /// # Errors
    /// What candle or the norm layers report.
    pub fn forward(&self, images: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        self.layers.forward(&Signal::new(images.clone()), pass).map(Signal::into_tensor)
    }

    /// Scores in a pass that nothing is learned from.
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn evaluate(&self, images: &Tensor, mode: Mode<'_>) -> Result<Tensor> {
        self.forward(images, &mut Pass::evaluate(mode))
    }

    /// A training pass over images and their labels: the loss, and its gradients.
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn train_step(&self, images: &Tensor, labels: &Tensor) -> Result<StepOutput> {
        if is_plain(images) {
            self.train_step_in(Pass::train(), images, labels)
        } else {
            self.train_step_in(Pass::train_by_graph(), images, labels)
        }
    }

    /// A training pass with an observer, weights or a collective.
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn train_step_in(
        &self,
        mut pass: Pass<'_>,
        images: &Tensor,
        labels: &Tensor,
    ) -> Result<StepOutput> {
        let scores = self.layers.forward(&Signal::new(images.clone()), &mut pass)?;
        if pass.is_by_graph() {
            return self.differentiate_graph(scores.tensor(), labels);
        }
        let loss = softmax_cross_entropy(&scores.tensor().contiguous()?, labels)?;
        let gradients = if loss.mean.is_finite() {
            pass.backward(&scores, loss.gradient)?
        } else {
            Gradients::new()
        };
        Ok(StepOutput { loss: loss.mean, accuracy: loss.accuracy, gradients })
    }

    /// The rest of a training pass that candle's graph differentiates.
    fn differentiate_graph(&self, scores: &Tensor, labels: &Tensor) -> Result<StepOutput> {
        let loss = candle_nn::loss::cross_entropy(scores, labels)?;
        let mean = f64::from(loss.to_scalar::<f32>()?);
        let mut gradients = Gradients::new();
        if mean.is_finite() {
            let store = loss.backward()?;
            gradients.add_all(self.trainable().iter().map(|(_, variable)| variable), &store)?;
        }
        let scores = scores.detach().to_device(&Device::Cpu)?.to_dtype(DType::F32)?.contiguous()?;
        let accuracy = softmax_cross_entropy(&scores, &labels.to_device(&Device::Cpu)?)?.accuracy;
        Ok(StepOutput { loss: mean, accuracy, gradients })
    }

    /// The network's layers, for [`parameters`], [`norm_layers`] and [`statistics`].
    pub fn layers(&self) -> &dyn Layer {
        &*self.layers
    }

    /// What an optimizer may change, in the order of the names. Moving statistics are not among them.
    pub fn trainable(&self) -> Vec<(String, Var)> {
        let trained = parameters(self.layers()).into_iter().filter(|found| found.is_trained);
        trained.map(|found| (found.path, found.var)).collect()
    }
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
