//! Networks, built from layers that define their forward and backward computation.
//!
//! A [`Layer`] maps a [`Signal`] to another within a [`Pass`], which holds the mode and the [`Tape`]. A network does not
//! know its data set; it is built for an image shape and a number of classes. Its variables come from a [`Parameters`]
//! store, which draws each initial value from a random stream named after the variable. [`Layer::visit`] lists variables
//! and norm layers.

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
mod group_norm;
mod join;
mod finish;
mod block;
mod architecture;
mod mlp;
mod convnet;
mod resnet;
mod inception;
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
pub use group_norm::GroupNorm;
pub use inception::Inception;
pub use join::Join;
pub use kinds::{activation, initial_scale, models, norms};
pub use layer::{Chain, Item, Layer, Named, Parameter, Role, norm_layers, parameters, statistics};
pub use mlp::Mlp;
pub use norm::Norm;
pub use parameters::Parameters;
pub use pass::{Mode, MomentsByPath, Observer, Pass};
pub use pool::{Flatten, MaxPool, MeanOverMap, Reshape};
pub use resnet::Resnet;
pub use settings::{Activation, NormLayer, NormSettings, Position, Precision};
pub use signal::Signal;
pub use tape::{Backward, GradientSink, Tape};

use crate::data::ImageShape;
use candle::{DType, Result, Tensor, Var};
use candle_nn::VarBuilder;

/// Input and output sizes of a network.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Shape of one image.
    pub input: ImageShape,
    /// Number of classes; labels are `0..classes`.
    pub classes: usize,
}

/// A network: it maps images to one score per class, or to other outputs that its task defines.
#[derive(Debug)]
pub struct Model {
    layers: Box<dyn Layer>,
    /// Whether it has a batch-norm layer, so that statistics matter.
    pub is_normalized: bool,
    precision: Precision,
}

impl Model {
    /// A network from custom layers, which map `[N, channels, height, width]` to scores `[N, classes]`.
    pub fn new(layers: impl Layer + 'static) -> Self {
        let is_normalized = !norm_layers(&layers).is_empty();
        Self { layers: Box::new(layers), is_normalized, precision: Precision::default() }
    }

    /// Builds the network of `settings` with the norm layers of `norm` and variables from `parameters`.
    ///
    /// # Errors
    /// Errors of candle or the norm layers, for example too little memory on the device.
    pub fn build(
        settings: &ModelSettings,
        norm: Option<&NormSettings>,
        sizes: Sizes,
        parameters: &VarBuilder<'_>,
    ) -> Result<Self> {
        let hidden = Hidden::new(norm, settings.activation);
        let layers = settings.architecture.build(sizes, hidden, parameters)?;
        let is_normalized = !norm_layers(&*layers).is_empty();
        Ok(Self { layers, is_normalized, precision: Precision::default() })
    }

    /// The same network, computing in `precision`. Its inputs and outputs stay f32.
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Scores `[N, classes]` of images `[N, channels, height, width]`.
    ///
    /// # Errors
    /// Errors of candle or the norm layers.
    pub fn forward(&self, images: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        self.apply(&Signal::new(images.clone()), pass).map(Signal::into_tensor)
    }

    /// Scores in a pass without gradients.
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn evaluate(&self, images: &Tensor, mode: Mode<'_>) -> Result<Tensor> {
        self.forward(images, &mut Pass::evaluate(mode))
    }

    /// Applies the network to a signal. Networks that are differentiated together share the pass.
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn apply(&self, x: &Signal, pass: &mut Pass<'_>) -> Result<Signal> {
        let x = activation::cast(x, self.precision.dtype(), pass)?;
        let y = self.layers.forward(&x, pass)?;
        activation::cast(&y, DType::F32, pass)
    }

    /// The network's layers, for [`parameters`], [`norm_layers`] and [`statistics`].
    pub fn layers(&self) -> &dyn Layer {
        &*self.layers
    }

    /// The trainable variables, sorted by path. Does not include moving statistics.
    pub fn trainable(&self) -> Vec<(String, Var)> {
        let trained = parameters(self.layers()).into_iter().filter(|found| found.is_trained);
        trained.map(|found| (found.path, found.var)).collect()
    }
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
