//! Shared parts of generated data sets: the sizes of the parts, and the classes of the examples.

use super::{Dataset, Examples, ImageShape};
use crate::keys::{Key, Keys, whole};
use crate::ops::parallel::chunks;
use crate::random::{Purpose, Stream};

/// A part of a generated data set. Its number selects its random streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Train = 0,
    Validation = 1,
    Test = 2,
}

/// The sizes of the parts and the seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) train: usize,
    pub(super) validation: usize,
    pub(super) test: usize,
    /// Seed of the data. Runs of every seed train on the same examples.
    pub(super) seed: u64,
}

impl Sizes {
    /// Reads the sizes, with the defaults `train` and `others`.
    pub(super) fn read(keys: &mut Keys<'_>, train: u64, others: u64) -> Option<Self> {
        let mut count = |name, about, default| {
            let key = Key::new(name, whole(1..=1_000_000), about);
            keys.with_default(key, default).map(|count| count as usize)
        };
        let train = count("examples", "training examples", train);
        let validation = count("validation", "validation examples", others);
        let test = count("test", "test examples", others);
        let about = "seed of the data, independent of a run's seed";
        let seed = keys.with_default(Key::new("seed", whole(0..=u64::MAX), about), 0);
        Some(Self { train: train?, validation: validation?, test: test?, seed: seed? })
    }

    /// Total number of examples.
    pub(super) fn total(self) -> usize {
        self.train + self.validation + self.test
    }

    fn of(self, part: Part) -> usize {
        match part {
            Part::Train => self.train,
            Part::Validation => self.validation,
            Part::Test => self.test,
        }
    }
}

/// Draws an example of a class from a random stream into a slice.
pub(super) type Draw<'a> = dyn Fn(Part, usize, &mut [f32], &mut Stream) + Sync + 'a;

/// Generates the three parts: `train_counts` training examples per class, and balanced classes in the other parts. Each
/// example has its own random stream, so the result does not depend on the number of threads.
pub(super) fn generate(
    sizes: Sizes,
    shape: ImageShape,
    train_counts: &[usize],
    draw: &Draw<'_>,
) -> Dataset {
    let classes = train_counts.len();
    let part = |part: Part| match part {
        Part::Train => generate_part(sizes.seed, part, shape, train_counts, draw),
        _ => {
            let counts = skewed_counts(classes, sizes.of(part), 1.0);
            generate_part(sizes.seed, part, shape, &counts, draw)
        }
    };
    Dataset::new(part(Part::Train), part(Part::Validation), part(Part::Test), classes)
}

fn generate_part(
    seed: u64,
    part: Part,
    shape: ImageShape,
    counts: &[usize],
    draw: &Draw<'_>,
) -> Examples {
    let of_class = |(class, &count): (usize, &usize)| std::iter::repeat_n(class as u32, count);
    let sorted: Vec<u32> = counts.iter().enumerate().flat_map(of_class).collect();
    let order = Stream::new(seed, Purpose::Part(part as u64)).permutation(sorted.len());
    let labels: Vec<u32> = order.into_iter().map(|index| sorted[index]).collect();
    let mut pixels = vec![0.0; labels.len() * shape.pixels()];
    chunks(&mut pixels, shape.pixels(), |index, example| {
        let purpose = Purpose::Example { part: part as u64, index: index as u64 };
        draw(part, labels[index] as usize, example, &mut Stream::new(seed, purpose));
    });
    Examples { shape, pixels, labels }
}

/// Divides `total` examples among classes in a geometric series, where the first class gets `skew` times as many as the
/// last. Rounds by largest remainder. Each class gets at least one example if there are enough.
pub(super) fn skewed_counts(classes: usize, total: usize, skew: f64) -> Vec<usize> {
    let last = (classes - 1) as f64;
    let shares: Vec<f64> =
        (0..classes).map(|class| skew.powf(-(class as f64) / last.max(1.0))).collect();
    let sum: f64 = shares.iter().sum();
    let wanted: Vec<f64> = shares.iter().map(|share| total as f64 * share / sum).collect();
    let floor = usize::from(total >= classes);
    let mut counts: Vec<usize> =
        wanted.iter().map(|wanted| (wanted.floor() as usize).max(floor)).collect();
    let mut by_remainder: Vec<usize> = (0..classes).collect();
    let remainder = |class: usize| wanted[class] - wanted[class].floor();
    by_remainder.sort_by(|&a, &b| remainder(b).total_cmp(&remainder(a)));
    for &class in by_remainder.iter().take(total.saturating_sub(counts.iter().sum())) {
        counts[class] += 1;
    }
    // The minimum of 1 may exceed the total; reduce the largest classes.
    while counts.iter().sum::<usize>() > total {
        let largest = (0..classes).max_by_key(|&class| (counts[class], classes - class));
        counts[largest.unwrap_or(0)] -= 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_and_no_class_is_empty() {
        for (classes, total, skew) in [
            (2, 2, 1000.0),
            (10, 10, 50.0),
            (10, 11, 1000.0),
            (7, 100, 3.0),
            (1000, 1500, 1000.0),
            (10, 3, 1.0),
        ] {
            let counts = skewed_counts(classes, total, skew);
            assert_eq!(counts.iter().sum::<usize>(), total, "{counts:?}");
            if total >= classes {
                assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
            }
            assert!(counts.windows(2).all(|pair| pair[0] + 1 >= pair[1]), "{counts:?}");
        }
    }
}
