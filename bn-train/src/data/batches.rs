//! Which examples make up which training batch: a fresh shuffle per epoch.
//!
//! Every batch has exactly `batch_size` examples, because batch statistics of a short batch are noisier than the rest.
//! What an epoch leaves over (fewer than `batch_size`, other examples each time) is not seen in that epoch.

use crate::random::{Purpose, Stream};

/// The batches of one run: a pure function of the seed and the step.
#[derive(Clone, Debug)]
pub struct Batches {
    seed: u64,
    examples: usize,
    batch_size: usize,
    epoch: u64,
    order: Vec<usize>,
}

impl Batches {
    /// Batches of `batch_size` out of `examples`.
    ///
    /// # Panics
    /// Unless `1 <= batch_size <= examples`.
    pub fn new(seed: u64, examples: usize, batch_size: usize) -> Self {
        assert!(
            (1..=examples).contains(&batch_size),
            "batches of {batch_size} out of {examples} examples"
        );
        let order = Stream::new(seed, Purpose::Shuffle(0)).permutation(examples);
        Self { seed, examples, batch_size, epoch: 0, order }
    }

    /// Batches in one epoch.
    pub fn per_epoch(&self) -> u64 {
        (self.examples / self.batch_size) as u64
    }

    /// The indices of the examples of the batch at `step`, counted from 0; cheapest in increasing order of steps.
    pub fn at(&mut self, step: u64) -> &[usize] {
        let epoch = step / self.per_epoch();
        if epoch != self.epoch {
            self.order = Stream::new(self.seed, Purpose::Shuffle(epoch)).permutation(self.examples);
            self.epoch = epoch;
        }
        let start = (step % self.per_epoch()) as usize * self.batch_size;
        &self.order[start..start + self.batch_size]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_sees_no_example_twice_and_the_next_has_another_order() {
        for (examples, batch_size) in [(10, 3), (1257, 60), (8, 8), (5, 1)] {
            let mut batches = Batches::new(1, examples, batch_size);
            let mut epoch = |epoch: u64| -> Vec<usize> {
                let steps = epoch * batches.per_epoch()..(epoch + 1) * batches.per_epoch();
                steps.flat_map(|step| batches.at(step).to_vec()).collect()
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
    fn a_batch_depends_on_seed_and_step_alone() {
        let mut forward = Batches::new(1, 100, 7);
        let in_order: Vec<Vec<usize>> = (0..60).map(|step| forward.at(step).to_vec()).collect();
        let mut backward = Batches::new(1, 100, 7);
        for step in (0..60).rev() {
            assert_eq!(backward.at(step), in_order[step as usize]);
        }
        assert_ne!(Batches::new(2, 100, 7).at(0), in_order[0]);
    }
}
