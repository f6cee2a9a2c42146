//! A new shuffle per epoch. An incomplete last batch is dropped, with different examples each time.

use super::super::Description;
use super::{Batches, Labels, Sampler};
use crate::random::{Purpose, Stream};

/// Every example once per epoch, in random order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shuffled;

impl Sampler for Shuffled {
    fn batches(&self, labels: Labels<'_>, batch_size: usize, seed: u64) -> Box<dyn Batches> {
        Box::new(Epochs::new(seed, labels.each.len(), batch_size))
    }

    fn misfit(&self, _data: Description, _batch_size: usize) -> Option<(&'static str, String)> {
        None
    }
}

/// Batches of consecutive epochs.
#[derive(Clone, Debug)]
struct Epochs {
    seed: u64,
    examples: usize,
    batch_size: usize,
    epoch: u64,
    order: Vec<usize>,
}

impl Epochs {
    fn new(seed: u64, examples: usize, batch_size: usize) -> Self {
        assert!(
            (1..=examples).contains(&batch_size),
            "batches of {batch_size} out of {examples} examples"
        );
        Self { seed, examples, batch_size, epoch: 0, order: Self::order(seed, 0, examples) }
    }

    fn order(seed: u64, epoch: u64, examples: usize) -> Vec<usize> {
        Stream::new(seed, Purpose::Shuffle(epoch)).permutation(examples)
    }

    fn per_epoch(&self) -> u64 {
        (self.examples / self.batch_size) as u64
    }
}

impl Batches for Epochs {
    fn at(&mut self, step: u64) -> Vec<usize> {
        let epoch = step / self.per_epoch();
        if epoch != self.epoch {
            self.order = Self::order(self.seed, epoch, self.examples);
            self.epoch = epoch;
        }
        let start = (step % self.per_epoch()) as usize * self.batch_size;
        self.order[start..start + self.batch_size].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epoch_has_no_duplicates_and_its_own_order() {
        for (examples, batch_size) in [(10, 3), (1257, 60), (8, 8), (5, 1)] {
            let mut batches = Epochs::new(1, examples, batch_size);
            let mut epoch = |epoch: u64| -> Vec<usize> {
                let steps = epoch * batches.per_epoch()..(epoch + 1) * batches.per_epoch();
                steps.flat_map(|step| batches.at(step)).collect()
            };
            let (first, second) = (epoch(0), epoch(1));
            assert_ne!(first, second);
            for mut seen in [first, second] {
                assert_eq!(seen.len(), examples / batch_size * batch_size);
                seen.sort_unstable();
                seen.dedup();
                assert_eq!(seen.len(), examples / batch_size * batch_size);
            }
        }
    }

    #[test]
    fn batch_depends_only_on_seed_and_step() {
        let mut forward = Epochs::new(1, 100, 7);
        let in_order: Vec<Vec<usize>> = (0..60).map(|step| forward.at(step)).collect();
        let mut backward = Epochs::new(1, 100, 7);
        for step in (0..60).rev() {
            assert_eq!(backward.at(step), in_order[step as usize]);
        }
        assert_ne!(Epochs::new(2, 100, 7).at(0), in_order[0]);
    }
}
