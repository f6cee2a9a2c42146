//! Data sets, split once and for all into training, validation and test examples.
//!
//! One file per format; this one has the types they share. Nothing here depends on the seed of a run: the split of a
//! data set is fixed, so that runs of different seeds are judged on the same examples.

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
pub use sampler::{
    Arrangement, Batches, Grouped, Labels, Sampler, Sampling, Shuffled, Skewed, samplers,
};
pub use source::{Provider, Source, sources};
pub use split::{Parts, stratified};
pub use standardize::Standardize;

/// The size of one image, in the order of a tensor's axes.
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
    /// Pixels of one image, all planes together.
    pub fn pixels(self) -> usize {
        self.channels * self.height * self.width
    }

    /// How many times 2x2 pooling can halve the image.
    pub fn halvings(self) -> usize {
        self.height.min(self.width).checked_ilog2().unwrap_or(0) as usize
    }
}

/// What must be known of a data set before it is read: enough to check an experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// Size of one image.
    pub shape: ImageShape,
    /// Labels are `0..classes`.
    pub classes: usize,
    /// Training examples.
    pub train: usize,
}
