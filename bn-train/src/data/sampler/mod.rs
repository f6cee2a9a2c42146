//! Which training examples make up which batch.
//!
//! A sampler's choice is a pure function of the run's seed and the step, so a run that goes on from a checkpoint needs the
//! step alone. Every batch has exactly `batch_size` examples, because batch statistics of a short batch are noisier.

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

/// How a run chooses training examples, and what it does about a bias of the choice.
#[derive(Clone, Debug)]
pub struct Sampling {
    /// Chooses them.
    pub sampler: Arc<dyn Sampler>,
    /// Whether the norm layers' batch statistics are weighted, so that a known bias does not move them.
    pub norm_weights: bool,
    /// Whether the loss is.
    pub loss_weights: bool,
}

impl Sampling {
    /// With `sampler`; reads the keys of `[sampler]` that every kind has.
    pub fn read(keys: &mut Keys<'_>, sampler: Option<Arc<dyn Sampler>>) -> Option<Self> {
        let about = "weigh examples in batch statistics, where they are chosen with a known bias";
        let norm_weights = keys.with_default(Key::new("norm_weights", flag(), about), false);
        let about = "weigh examples in the loss, where they are chosen with a known bias";
        let loss_weights = keys.with_default(Key::new("loss_weights", flag(), about), false);
        Some(Self { sampler: sampler?, norm_weights: norm_weights?, loss_weights: loss_weights? })
    }
}

/// A way of choosing training examples.
pub trait Sampler: Debug + Send + Sync {
    /// The batches of one run.
    ///
    /// # Panics
    /// When [`Sampler::misfit`] has something against the batch size.
    fn batches(&self, labels: Labels<'_>, batch_size: usize, seed: u64) -> Box<dyn Batches>;

    /// Why batches of this size cannot be drawn from such data: the key of the sampler that is wrong, and a message that says
    /// what was found and what was expected. None where they can.
    fn misfit(&self, data: Description, batch_size: usize) -> Option<(&'static str, String)>;
}

/// The batches of one run.
pub trait Batches: Debug + Send {
    /// Indices of the examples of the batch at `step`, counted from 0; cheapest in increasing order of steps.
    fn at(&mut self, step: u64) -> Vec<usize>;

    /// What makes up for the bias of the choice, for each class: its share among all examples, divided by its share among
    /// those chosen. None where there is no bias.
    fn class_weights(&self) -> Option<&[f32]> {
        None
    }
}

/// The labels that batches are drawn by.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    /// One per training example.
    pub each: &'a [u32],
    /// Labels are `0..classes`.
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
    let about = "every example once in an epoch, in random order";
    let shuffled = Kind::new("shuffled", about, |_: &mut Keys<'_>| {
        Some(Arc::new(Shuffled) as Arc<dyn Sampler>)
    });
    Kinds::new("sampler", "kind", vec![shuffled, skewed::kind(), grouped::kind()])
}
