//! Prepares the batches of a run: selects examples, assigns weights and augments images. With augmentation, a separate
//! thread prepares batches ahead of training.

use super::ImageShape;
use super::augment::Augmentation;
use super::sampler::{Batches, Labels, Sampling};
use crate::ops::buffer::Numbers;
use candle::{Result, Tensor};
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Number of batches to prepare in advance.
const AHEAD: usize = 2;

/// A prepared batch, not yet on the device.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// Indices of the training examples.
    pub indices: Vec<usize>,
    /// Their augmented images; `None` for the images of the data set.
    pub images: Option<Vec<f32>>,
    /// Weights that correct batch statistics for biased sampling, if enabled; 1 on average.
    pub norm_weights: Option<Vec<f32>>,
    /// The same for the loss.
    pub loss_weights: Option<Vec<f32>>,
}

/// The inputs of batch preparation.
#[derive(Clone, Debug)]
pub struct Recipe<'a> {
    /// How examples are sampled, and where weights are used.
    pub sampling: &'a Sampling,
    /// Augmentation of images.
    pub augmentation: Augmentation,
    /// Labels of the training examples.
    pub labels: Labels<'a>,
    /// Selection weights of the training examples, if they were selected with a known bias.
    pub selection_weights: Option<&'a [f32]>,
    /// Examples per batch.
    pub batch_size: usize,
    /// Seed of the run.
    pub seed: u64,
}

/// The batches of one run.
#[derive(Debug)]
pub struct Loader(Source);

#[derive(Debug)]
enum Source {
    /// Batches are prepared by the caller.
    Here(Preparation),
    /// Batches are prepared by a separate thread.
    Ahead(Ahead),
}

impl Loader {
    /// A loader for `recipe`. `images` returns the training images, `[N, channels, height, width]` in f32 on the CPU; it is
    /// only called with augmentation.
    ///
    /// # Errors
    /// Errors of `images`, or the thread cannot be started.
    pub fn new(recipe: &Recipe<'_>, images: impl FnOnce() -> Result<Tensor>) -> Result<Self> {
        let changes = !recipe.augmentation.is_none();
        let images =
            if changes { Some(Images::new(images()?, recipe.augmentation)?) } else { None };
        let preparation = Preparation::new(recipe, images);
        let source = if changes {
            Source::Ahead(Ahead::start(preparation)?)
        } else {
            Source::Here(preparation)
        };
        Ok(Self(source))
    }

    /// The batch of `step`, counted from 0. Cheapest in increasing order of steps.
    ///
    /// # Errors
    /// The thread that prepares batches has ended.
    pub fn batch(&mut self, step: u64) -> Result<Prepared> {
        match &mut self.0 {
            Source::Here(preparation) => preparation.batch(step),
            Source::Ahead(ahead) => ahead.batch(step),
        }
    }
}

/// Training images and their augmentation.
#[derive(Debug)]
struct Images {
    all: Tensor,
    shape: ImageShape,
    augmentation: Augmentation,
}

impl Images {
    fn new(all: Tensor, augmentation: Augmentation) -> Result<Self> {
        let (_, channels, height, width) = all.dims4()?;
        Ok(Self { all, shape: ImageShape { channels, height, width }, augmentation })
    }

    fn changed(&self, indices: &[usize], seed: u64, epoch: u64) -> Result<Vec<f32>> {
        let numbers = Numbers::of(&self.all)?;
        let size = self.shape.pixels();
        let mut changed = vec![0.0; indices.len() * size];
        for (&index, changed) in indices.iter().zip(changed.chunks_exact_mut(size)) {
            let image = &numbers[index * size..(index + 1) * size];
            self.augmentation.apply(image, self.shape, seed, epoch, index, changed);
        }
        Ok(changed)
    }
}

/// Everything that batches depend on besides the step.
#[derive(Debug)]
struct Preparation {
    batches: Box<dyn Batches>,
    /// Weight of each training example.
    weights: Vec<f32>,
    norm_weights: bool,
    loss_weights: bool,
    images: Option<Images>,
    seed: u64,
    steps_per_epoch: u64,
}

impl Preparation {
    fn new(recipe: &Recipe<'_>, images: Option<Images>) -> Self {
        let &Recipe { sampling, labels, selection_weights, batch_size, seed, .. } = recipe;
        let batches = sampling.sampler.batches(labels, batch_size, seed);
        let of_class = batches.class_weights();
        let weight = |(index, &label): (usize, &u32)| {
            of_class.map_or(1.0, |weights| weights[label as usize])
                * selection_weights.map_or(1.0, |weights| weights[index])
        };
        let weights = labels.each.iter().enumerate().map(weight).collect();
        let steps_per_epoch = (labels.each.len() / batch_size).max(1) as u64;
        let Sampling { norm_weights, loss_weights, .. } = *sampling;
        Self { batches, weights, norm_weights, loss_weights, images, seed, steps_per_epoch }
    }

    fn batch(&mut self, step: u64) -> Result<Prepared> {
        let indices = self.batches.at(step);
        let epoch = step / self.steps_per_epoch;
        let images = match &self.images {
            Some(images) => Some(images.changed(&indices, self.seed, epoch)?),
            None => None,
        };
        let weights = |wanted: bool| {
            wanted.then(|| indices.iter().map(|&index| self.weights[index]).collect())
        };
        let (norm_weights, loss_weights) = (weights(self.norm_weights), weights(self.loss_weights));
        Ok(Prepared { indices, images, norm_weights, loss_weights })
    }
}

/// A thread that prepares batches. It ends when this handle is dropped.
#[derive(Debug)]
struct Ahead {
    orders: Sender<u64>,
    batches: Receiver<Result<Prepared>>,
    /// Steps that were ordered but not yet received.
    ordered: VecDeque<u64>,
}

impl Ahead {
    fn start(mut preparation: Preparation) -> Result<Self> {
        let (orders, ordered) = channel::<u64>();
        let (done, batches) = channel();
        let work = move || {
            // Stop when the receiver is gone.
            for step in ordered {
                if done.send(preparation.batch(step)).is_err() {
                    break;
                }
            }
        };
        std::thread::Builder::new().name("batches".to_owned()).spawn(work)?;
        Ok(Self { orders, batches, ordered: VecDeque::new() })
    }

    fn batch(&mut self, step: u64) -> Result<Prepared> {
        // After a jump, for example when a run resumes, discard prepared batches.
        while self.ordered.front().is_some_and(|&first| first != step) {
            self.take()?.ok();
        }
        for next in self.ordered.len()..=AHEAD {
            self.order(step + next as u64)?;
        }
        self.take()?
    }

    fn order(&mut self, step: u64) -> Result<()> {
        match self.orders.send(step) {
            Ok(()) => self.ordered.push_back(step),
            Err(_) => candle::bail!("the thread that prepares batches has ended"),
        }
        Ok(())
    }

    fn take(&mut self) -> Result<Result<Prepared>> {
        self.ordered.pop_front();
        match self.batches.recv() {
            Ok(batch) => Ok(batch),
            Err(_) => candle::bail!("the thread that prepares batches has ended"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sampler::Shuffled;
    use super::*;
    use candle::Device;
    use std::sync::Arc;

    fn loader(augmentation: Augmentation, weighs: bool) -> Loader {
        let labels: Vec<u32> = (0..50).map(|i| i % 5).collect();
        let selection: Vec<f32> = (0..50).map(|i| i as f32).collect();
        let sampling =
            Sampling { sampler: Arc::new(Shuffled), norm_weights: weighs, loss_weights: false };
        let recipe = Recipe {
            sampling: &sampling,
            augmentation,
            labels: Labels { each: &labels, classes: 5 },
            selection_weights: Some(&selection),
            batch_size: 8,
            seed: 3,
        };
        let images = || Tensor::arange(0.0_f32, 50.0 * 48.0, &Device::Cpu)?.reshape((50, 3, 4, 4));
        Loader::new(&recipe, images).unwrap()
    }

    const AUGMENTED: Augmentation = Augmentation { flip: true, shift: 1, crop: 0.7 };

    #[test]
    fn batches_do_not_depend_on_earlier_requests() {
        let mut straight = loader(AUGMENTED, true);
        let want: Vec<Prepared> = (0..20).map(|step| straight.batch(step).unwrap()).collect();
        for start in [1, 5, 19, 0, 7] {
            // Both in a new loader and in one that jumps.
            let mut fresh = loader(AUGMENTED, true);
            for step in start..20 {
                assert_eq!(fresh.batch(step).unwrap(), want[step as usize]);
            }
            assert_eq!(straight.batch(start).unwrap(), want[start as usize]);
        }
    }

    #[test]
    fn augmentation_keeps_the_selected_examples() {
        let mut plain = loader(Augmentation::default(), false);
        let mut shifted = loader(Augmentation { flip: true, ..Augmentation::default() }, false);
        for step in 0..12 {
            let (plain, flipped) = (plain.batch(step).unwrap(), shifted.batch(step).unwrap());
            assert_eq!(plain.indices, flipped.indices);
            assert_eq!((plain.images, plain.norm_weights), (None, None));
            let images = flipped.images.unwrap();
            for (image, index) in images.chunks(48).zip(&flipped.indices) {
                // A mirrored row has the same sum.
                for (row, pixels) in image.chunks(4).enumerate() {
                    let first = (index * 48 + row * 4) as f32;
                    assert_eq!(pixels.iter().sum::<f32>(), 4.0 * first + 6.0);
                }
            }
        }
    }

    #[test]
    fn weights_are_present_only_when_enabled() {
        let batch = loader(Augmentation::default(), true).batch(4).unwrap();
        let want: Vec<f32> = batch.indices.iter().map(|&index| index as f32).collect();
        assert_eq!((batch.norm_weights, batch.loss_weights), (Some(want), None));
        assert_eq!(loader(AUGMENTED, false).batch(4).unwrap().norm_weights, None);
    }
}
