//! Non-i.i.d. batches: a few labels with several images each (Ioffe 2017, section 4.3).

use super::super::Description;
use super::{Batches, Labels, Sampler};
use crate::keys::{Key, Keys, Kind, whole, words};
use crate::random::{Purpose, Stream};
use std::sync::Arc;

/// Draws labels with replacement, and several examples of each.
#[derive(Clone, Copy, Debug)]
pub struct Grouped {
    /// Examples per label in a batch, at least 1. Must divide the batch size.
    pub images: usize,
    /// Their order in the batch.
    pub arrangement: Arrangement,
}

/// The order within a batch, which matters to norms over a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrangement {
    /// The examples of a label are adjacent.
    Together,
    /// The first examples of all labels, then the second ones, and so on. With two images per label, each half of the batch
    /// has one of them.
    Split,
}

/// `sampler.kind = "grouped"`.
pub(super) fn kind() -> Kind<Arc<dyn Sampler>> {
    let about = "draws batch_size / images labels with replacement, and `images` images of each";
    Kind::new("grouped", about, |keys: &mut Keys<'_>| {
        let images = Key::new("images", whole(1..=65_536), "images per label in a batch");
        let images = keys.with_default(images, 2);
        let arrangements = words(&[
            ("together", Arrangement::Together, "images of a label are adjacent"),
            (
                "split",
                Arrangement::Split,
                "first images of all labels, then the second ones, so that halves have no pairs",
            ),
        ]);
        let about = "order within a batch, for norms over a part of it";
        let arrangement =
            keys.with_default(Key::new("arrangement", arrangements, about), Arrangement::Together);
        let grouped = Grouped { images: images? as usize, arrangement: arrangement? };
        Some(Arc::new(grouped) as Arc<dyn Sampler>)
    })
}

impl Sampler for Grouped {
    fn batches(&self, labels: Labels<'_>, batch_size: usize, seed: u64) -> Box<dyn Batches> {
        assert!(
            batch_size.is_multiple_of(self.images),
            "{batch_size} is not a multiple of {}",
            self.images
        );
        let members = labels.by_class();
        let present = (0..labels.classes).filter(|&class| !members[class].is_empty()).collect();
        Box::new(Groups {
            seed,
            labels: batch_size / self.images,
            grouped: *self,
            members,
            present,
        })
    }

    fn misfit(&self, _data: Description, batch_size: usize) -> Option<(&'static str, String)> {
        let images = self.images;
        let message =
            format!("is {images}; expected a divisor of train.batch_size, which is {batch_size}");
        (!batch_size.is_multiple_of(images)).then_some(("images", message))
    }
}

#[derive(Clone, Debug)]
struct Groups {
    seed: u64,
    labels: usize,
    grouped: Grouped,
    members: Vec<Vec<usize>>,
    /// Classes that have examples.
    present: Vec<usize>,
}

impl Groups {
    /// Draws the examples of a class, without repetition if there are enough.
    fn examples(&self, class: usize, stream: &mut Stream) -> Vec<usize> {
        let members = &self.members[class];
        let mut chosen: Vec<usize> = Vec::with_capacity(self.grouped.images);
        while chosen.len() < self.grouped.images {
            let candidate = members[stream.below(members.len() as u64) as usize];
            let all_taken = chosen.len() >= members.len();
            if all_taken || !chosen.contains(&candidate) {
                chosen.push(candidate);
            }
        }
        chosen
    }
}

impl Batches for Groups {
    fn at(&mut self, step: u64) -> Vec<usize> {
        let mut stream = Stream::new(self.seed, Purpose::Sample(step));
        let mut groups = Vec::with_capacity(self.labels);
        for _ in 0..self.labels {
            let class = self.present[stream.below(self.present.len() as u64) as usize];
            groups.push(self.examples(class, &mut stream));
        }
        match self.grouped.arrangement {
            Arrangement::Together => groups.concat(),
            Arrangement::Split => (0..self.grouped.images)
                .flat_map(|image| groups.iter().map(move |group| group[image]))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(arrangement: Arrangement, images: usize, step: u64) -> (Vec<usize>, Vec<u32>) {
        let labels: Vec<u32> = (0..200).map(|i| i % 20).collect();
        let all = Labels { each: &labels, classes: 20 };
        let grouped = Grouped { images, arrangement };
        let chosen = grouped.batches(all, 32, 3).at(step);
        let labels = chosen.iter().map(|&index| labels[index]).collect();
        (chosen, labels)
    }

    #[test]
    fn every_group_has_distinct_images_of_one_label() {
        for images in [1, 2, 4, 8] {
            for step in 0..50 {
                let (chosen, labels) = batch(Arrangement::Together, images, step);
                assert_eq!(chosen.len(), 32);
                for (group, labels) in chosen.chunks(images).zip(labels.chunks(images)) {
                    assert!(labels.iter().all(|label| *label == labels[0]), "{labels:?}");
                    let different: std::collections::BTreeSet<_> = group.iter().collect();
                    assert_eq!(different.len(), images);
                }
            }
        }
    }

    #[test]
    fn split_halves_hold_one_of_each_pair() {
        for step in 0..50 {
            let (together, _) = batch(Arrangement::Together, 2, step);
            let (split, labels) = batch(Arrangement::Split, 2, step);
            assert_eq!(labels[..16], labels[16..]);
            let pairs: Vec<usize> = (0..16).flat_map(|i| [split[i], split[16 + i]]).collect();
            assert_eq!(pairs, together);
        }
    }

    #[test]
    fn class_with_too_few_examples_repeats_them() {
        let labels = Labels { each: &[0, 2, 2], classes: 3 };
        let grouped = Grouped { images: 4, arrangement: Arrangement::Together };
        let mut batches = grouped.batches(labels, 8, 0);
        for step in 0..20 {
            let batch = batches.at(step);
            assert!(batch.iter().all(|index| *index < 3));
            assert!(
                batch
                    .chunks(4)
                    .all(|group| group.contains(&0) || group.contains(&1) && group.contains(&2))
            );
        }
    }

    #[test]
    fn indivisible_batch_size_is_refused() {
        let shape = super::super::super::ImageShape { channels: 1, height: 1, width: 1 };
        let data = Description { shape, classes: 2, train: 10 };
        let grouped = Grouped { images: 3, arrangement: Arrangement::Together };
        assert_eq!(grouped.misfit(data, 6), None);
        assert_eq!(grouped.misfit(data, 8).unwrap().0, "images");
    }
}
