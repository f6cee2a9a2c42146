//! Data sets with a fixed split into training, validation and test examples.
//!
//! The split does not depend on a run's seed, so that runs with different seeds are evaluated on the same examples.

mod augment;
mod batch;
mod bytes;
mod cifar;
mod dataset;
mod digits;
mod error;
pub mod fetch;
mod folder;
#[doc(hidden)]
pub mod formats;
mod generated;
mod glyphs;
mod loader;
mod mnist;
mod own;
mod plane;
mod sampler;
mod selection;
mod source;
mod split;
mod standardize;

pub use augment::Augmentation;
pub use batch::{Batch, in_batches};
pub use dataset::{Dataset, Examples};
pub use error::{At, DataError, Flaw};
pub use folder::default_folder;
pub use loader::{Loader, Prepared, Recipe};
#[doc(hidden)]
pub use own::convert_safetensors;
pub use sampler::{
    Arrangement, Batches, Grouped, Labels, Sampler, Sampling, Shuffled, Skewed, samplers,
};
pub use source::{Provider, Source, sources};
pub use split::{Parts, stratified};
pub use standardize::Standardize;

/// The shape of an image, in the order of a tensor's axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageShape {
    /// Colour planes.
    pub channels: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
}

impl ImageShape {
    /// Number of values of an image over all channels.
    pub fn pixels(self) -> usize {
        self.channels * self.height * self.width
    }

    /// How many times 2x2 pooling can halve the image.
    pub fn halvings(self) -> usize {
        self.height.min(self.width).checked_ilog2().unwrap_or(0) as usize
    }
}

/// What must be known about a data set before it is loaded, to validate an experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// Shape of an image.
    pub shape: ImageShape,
    /// Number of classes; labels are `0..classes`.
    pub classes: usize,
    /// Number of training examples.
    pub train: usize,
}
