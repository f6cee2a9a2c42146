//! Samplers, which select the training examples of each batch.
//!
//! The selection is a pure function of the run's seed and the step, so a checkpoint only needs the step. Every batch has
//! exactly `batch_size` examples, because batch statistics of a short batch are noisier.

mod grouped;
mod shuffled;
mod skewed;

pub use grouped::{Arrangement, Grouped};
pub use shuffled::Shuffled;
pub use skewed::Skewed;

use super::Description;
use crate::keys::{Key, Keys, Kind, Kinds, flag};
use std::fmt::Debug;
use std::sync::Arc;

/// How a run samples training examples, and whether it corrects for bias.
#[derive(Clone, Debug)]
pub struct Sampling {
    /// Selects the examples.
    pub sampler: Arc<dyn Sampler>,
    /// Whether batch statistics are weighted to correct for a known bias.
    pub norm_weights: bool,
    /// Whether the loss is weighted.
    pub loss_weights: bool,
}

impl Sampling {
    /// Reads the keys of `[sampler]` that all kinds share.
    pub fn read(keys: &mut Keys<'_>, sampler: Option<Arc<dyn Sampler>>) -> Option<Self> {
        let about = "weight examples in batch statistics to correct for a known sampling bias";
        let norm_weights = keys.with_default(Key::new("norm_weights", flag(), about), false);
        let about = "weight examples in the loss to correct for a known sampling bias";
        let loss_weights = keys.with_default(Key::new("loss_weights", flag(), about), false);
        Some(Self { sampler: sampler?, norm_weights: norm_weights?, loss_weights: loss_weights? })
    }
}

/// A method of sampling training examples.
pub trait Sampler: Debug + Send + Sync {
    /// The batches of one run.
    ///
    /// # Panics
    /// The batch size does not fit; see [`Sampler::misfit`].
    fn batches(&self, labels: Labels<'_>, batch_size: usize, seed: u64) -> Box<dyn Batches>;

    /// Why batches of this size cannot be drawn from the data: a key of the sampler, and what was found and expected.
    /// `None` if they can.
    fn misfit(&self, data: Description, batch_size: usize) -> Option<(&'static str, String)>;
}

/// The batches of one run.
pub trait Batches: Debug + Send {
    /// Indices of the examples in the batch of `step`, counted from 0. Cheapest in increasing order of steps.
    fn at(&mut self, step: u64) -> Vec<usize>;

    /// Weights per class that correct for sampling bias: the class's share among all examples divided by its share among
    /// the sampled ones. `None` without bias.
    fn class_weights(&self) -> Option<&[f32]> {
        None
    }
}

/// The labels of the training examples.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    /// One per training example.
    pub each: &'a [u32],
    /// Number of classes; labels are `0..classes`.
    pub classes: usize,
}

impl Labels<'_> {
    /// Indices of the examples of each class.
    fn by_class(self) -> Vec<Vec<usize>> {
        let mut members = vec![Vec::new(); self.classes];
        for (index, &label) in self.each.iter().enumerate() {
            members[label as usize].push(index);
        }
        members
    }
}

/// `[sampler]`.
pub fn samplers() -> Kinds<Arc<dyn Sampler>> {
    let about = "every example once per epoch, in random order";
    let shuffled = Kind::new("shuffled", about, |_: &mut Keys<'_>| {
        Some(Arc::new(Shuffled) as Arc<dyn Sampler>)
    });
    Kinds::new("sampler", "kind", vec![shuffled, skewed::kind(), grouped::kind()])
}
