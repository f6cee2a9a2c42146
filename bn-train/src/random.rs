//! Random numbers: one `ChaCha` stream per purpose, derived from the seed of a run.
//!
//! A stream is identified by its purpose (the initial value of a parameter, the order of an epoch), never by the order of
//! draws. Arms that share a seed therefore start from the same weights and see the same batches, and adding a layer to one
//! arm does not change the draws of another. `ChaCha` is portable: the same seed gives the same numbers on every machine.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// The purpose of a stream, which identifies it together with the seed.
#[derive(Clone, Copy, Debug)]
pub enum Purpose<'a> {
    /// The initial value of the parameter with this name.
    Initialize(&'a str),
    /// The order of the training examples in this epoch, counted from 0.
    Shuffle(u64),
    /// The examples in the batch of this step, counted from 0, for samplers that draw each batch independently.
    Sample(u64),
    /// The augmentation of a training example in an epoch.
    Augment {
        /// The epoch, counted from 0.
        epoch: u64,
        /// Index of the training example.
        example: u64,
    },
    /// The split of the examples of this class.
    Split(u64),
    /// Input noise at this step, for this part of the batch.
    Noise(u64, u64),
    /// The shared features of generated examples of this class.
    Class(u64),
    /// The order of the generated examples of this part, counted from 0.
    Part(u64),
    /// The individual features of a generated example.
    Example {
        /// Its part, counted from 0.
        part: u64,
        /// Its index in the part.
        index: u64,
    },
}

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of `seed` for `purpose`. The same pair always gives the same numbers.
    pub fn new(seed: u64, purpose: Purpose<'_>) -> Self {
        let mut name = blake3::Hasher::new_derive_key("bn-train random stream, version 1");
        name.update(&seed.to_le_bytes());
        match purpose {
            Purpose::Initialize(parameter) => {
                name.update(b"initialize").update(parameter.as_bytes())
            }
            Purpose::Shuffle(epoch) => name.update(b"shuffle").update(&epoch.to_le_bytes()),
            Purpose::Sample(step) => name.update(b"sample").update(&step.to_le_bytes()),
            Purpose::Augment { epoch, example } => {
                name.update(b"augment").update(&epoch.to_le_bytes()).update(&example.to_le_bytes())
            }
            Purpose::Split(class) => name.update(b"split").update(&class.to_le_bytes()),
            Purpose::Noise(step, part) => {
                name.update(b"noise").update(&step.to_le_bytes()).update(&part.to_le_bytes())
            }
            Purpose::Class(class) => name.update(b"class").update(&class.to_le_bytes()),
            Purpose::Part(part) => name.update(b"part").update(&part.to_le_bytes()),
            Purpose::Example { part, index } => {
                name.update(b"example").update(&part.to_le_bytes()).update(&index.to_le_bytes())
            }
        };
        Self(ChaCha8Rng::from_seed(*name.finalize().as_bytes()))
    }

    /// A number in `[0, 1)`, a multiple of 2⁻²⁴ and thus exact in f32.
    pub fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1 << 24) as f32
    }

    /// A number in `[low, high)`, up to rounding.
    pub fn uniform(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// A number from the normal distribution, by the Box-Muller transform.
    pub fn normal(&mut self, mean: f32, standard_deviation: f32) -> f32 {
        let radius = (-2.0 * f64::from(1.0 - self.unit()).ln()).sqrt();
        let angle = std::f64::consts::TAU * f64::from(self.unit());
        (f64::from(mean) + f64::from(standard_deviation) * radius * angle.cos()) as f32
    }

    /// A number from an approximate standard normal distribution: a scaled sum of four uniform numbers (Irwin-Hall). Its
    /// magnitude is below 3.5, it is bitwise equal on every machine, and it is many times cheaper than [`Stream::normal`].
    pub fn nearly_normal(&mut self) -> f32 {
        let draw = self.0.next_u64();
        let sum: u32 = (0..4).map(|part| (draw >> (16 * part)) as u32 & 0xffff).sum();
        // The sum of four numbers in 0..=65535 has the mean 131070 and the variance (65536² - 1) / 3.
        (sum as f32 - 131_070.0) * (3.0_f32.sqrt() / 65_536.0)
    }

    /// A uniform integer in `0..bound`.
    ///
    /// # Panics
    /// `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // Reject draws past the last multiple of `bound`, which would make small results more likely.
        let limit = u64::MAX - u64::MAX % bound;
        loop {
            let draw = self.0.next_u64();
            if draw < limit {
                return draw % bound;
            }
        }
    }

    /// A uniform random permutation of `0..count` (Fisher-Yates).
    pub fn permutation(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            order.swap(last, self.below(last as u64 + 1) as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_depends_only_on_seed_and_purpose() {
        let draw = |seed, purpose| Stream::new(seed, purpose).permutation(50);
        assert_eq!(draw(3, Purpose::Shuffle(7)), draw(3, Purpose::Shuffle(7)));
        assert_ne!(draw(3, Purpose::Shuffle(7)), draw(3, Purpose::Shuffle(8)));
        assert_ne!(draw(3, Purpose::Shuffle(7)), draw(4, Purpose::Shuffle(7)));
        assert_ne!(draw(3, Purpose::Shuffle(7)), draw(3, Purpose::Split(7)));
        assert_ne!(draw(3, Purpose::Initialize("a")), draw(3, Purpose::Initialize("b")));
    }

    #[test]
    fn permutation_holds_every_number_once() {
        for count in [0, 1, 2, 3, 10, 1257] {
            for epoch in 0..5 {
                let mut order = Stream::new(0, Purpose::Shuffle(epoch)).permutation(count);
                order.sort_unstable();
                assert_eq!(order, (0..count).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn draws_fill_their_range_evenly() {
        let mut stream = Stream::new(1, Purpose::Initialize("range"));
        let mut counts = [0_u32; 7];
        for _ in 0..70_000 {
            counts[stream.below(7) as usize] += 1;
        }
        // Six standard deviations of a count are 558.
        assert!(counts.iter().all(|&count| count.abs_diff(10_000) < 560), "{counts:?}");

        let draws: Vec<f32> = (0..20_000).map(|_| stream.uniform(-0.5, 0.5)).collect();
        assert!(draws.iter().all(|draw| (-0.5..0.5).contains(draw)));
        let mean = draws.iter().sum::<f32>() / draws.len() as f32;
        assert!(mean.abs() < 6.0 * 0.289 / (draws.len() as f32).sqrt(), "{mean}");
    }

    #[test]
    fn nearly_normal_has_mean_0_variance_1_and_short_tails() {
        let mut stream = Stream::new(2, Purpose::Class(0));
        let draws: Vec<f64> = (0..100_000).map(|_| f64::from(stream.nearly_normal())).collect();
        let moment = |power| draws.iter().map(|x| x.powi(power)).sum::<f64>() / draws.len() as f64;
        // Within six standard errors: 1 / sqrt(n) of the mean, below sqrt(2 / n) of the variance.
        assert!(moment(1).abs() < 0.019 && (moment(2) - 1.0).abs() < 0.027, "{}", moment(2));
        assert!(draws.iter().all(|draw| draw.abs() <= 3.5));
    }

    /// Changing these numbers changes every experiment, so it is a breaking change.
    #[test]
    fn streams_do_not_change_between_versions() {
        let order = Stream::new(0, Purpose::Shuffle(0)).permutation(1257);
        assert_eq!(order[..8], [334, 829, 1222, 167, 972, 1108, 534, 859]);
    }
}
