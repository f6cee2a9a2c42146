//! Standardization to mean 0 and variance 1 over the training examples.

use super::Dataset;
use crate::keys::{Key, Keys, words};

/// Which values share a mean and a variance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standardize {
    /// No standardization.
    #[default]
    None,
    /// All values.
    All,
    /// The values of each channel (each column of a table).
    Channel,
    /// The values of each channel and position.
    Feature,
}

impl Standardize {
    /// Reads `data.standardize`.
    pub fn read(keys: &mut Keys<'_>) -> Option<Self> {
        let kinds = words(&[
            ("none", Self::None, "no standardization"),
            ("all", Self::All, "one mean and standard deviation for all values"),
            ("channel", Self::Channel, "one per channel (per column of a table)"),
            ("feature", Self::Feature, "one per channel and pixel"),
        ]);
        let about = "subtract the training examples' mean and divide by their standard deviation";
        keys.with_default(Key::new("standardize", kinds, about), Self::None)
    }

    /// Standardizes all parts of `data` by the mean and variance (1/n) of the training part. Constant features become 0.
    pub fn apply(self, data: &mut Dataset) {
        let shape = data.train.shape;
        let (groups, run) = match self {
            Self::None => return,
            Self::All => (1, shape.pixels()),
            Self::Channel => (shape.channels, shape.height * shape.width),
            Self::Feature => (shape.pixels(), 1),
        };
        let moments = Moments::of(&data.train.pixels, groups, run);
        for part in [&mut data.train, &mut data.validation, &mut data.test] {
            for (index, run) in part.pixels.chunks_exact_mut(run).enumerate() {
                let (mean, scale) = moments.0[index % groups];
                for number in run {
                    *number = ((f64::from(*number) - mean) * scale) as f32;
                }
            }
        }
    }
}

/// Mean and 1 / standard deviation of each group.
struct Moments(Vec<(f64, f64)>);

impl Moments {
    /// Moments of `groups` groups, which take turns every `run` numbers.
    fn of(numbers: &[f32], groups: usize, run: usize) -> Self {
        let count = (numbers.len() / groups).max(1) as f64;
        let sums = |term: &dyn Fn(usize, f64) -> f64| -> Vec<f64> {
            let mut sums = vec![0.0; groups];
            for (index, run) in numbers.chunks_exact(run).enumerate() {
                let group = index % groups;
                sums[group] +=
                    run.iter().map(|number| term(group, f64::from(*number))).sum::<f64>();
            }
            sums.into_iter().map(|sum| sum / count).collect()
        };
        let means = sums(&|_, number| number);
        // Two passes, because E[x²] − E[x]² loses all digits if mean² ≫ variance.
        let variances = sums(&|group, number| (number - means[group]).powi(2));
        let scale = |variance: f64| if variance > 0.0 { 1.0 / variance.sqrt() } else { 1.0 };
        Self(means.iter().zip(variances).map(|(mean, variance)| (*mean, scale(variance))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Examples, ImageShape};
    use super::*;

    const SHAPE: ImageShape = ImageShape { channels: 2, height: 2, width: 1 };

    fn data() -> Dataset {
        let part = |count: usize, scale: f32| Examples {
            shape: SHAPE,
            pixels: (0..4 * count)
                .map(|i| {
                    if i % 4 == 3 {
                        1e6
                    } else {
                        scale * ((i * i) % 17) as f32 + (i % 4) as f32 * 100.0
                    }
                })
                .collect(),
            labels: vec![0; count],
        };
        Dataset::new(part(30, 1.0), part(5, 1.0), part(6, 2.0), 1)
    }

    fn moments(numbers: impl Iterator<Item = f32>) -> (f64, f64) {
        let numbers: Vec<f64> = numbers.map(f64::from).collect();
        let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
        let variance =
            numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / numbers.len() as f64;
        (mean, variance)
    }

    #[test]
    fn training_groups_have_mean_0_and_variance_1() {
        for (how, step, run) in
            [(Standardize::All, 4, 4), (Standardize::Channel, 4, 2), (Standardize::Feature, 4, 1)]
        {
            let mut data = data();
            how.apply(&mut data);
            for group in 0..step / run {
                let in_group = |(index, _): &(usize, &f32)| index % step / run == group;
                let numbers =
                    data.train.pixels.iter().enumerate().filter(in_group).map(|(_, x)| *x);
                let (mean, variance) = moments(numbers);
                // A constant column becomes 0.
                let want = if how == Standardize::Feature && group == 3 { 0.0 } else { 1.0 };
                assert!(
                    mean.abs() < 1e-5 && (variance - want).abs() < 1e-5,
                    "{how:?}: {mean} {variance}"
                );
            }
        }
    }

    #[test]
    fn all_parts_are_standardized_alike() {
        let (plain, mut data) = (data(), data());
        Standardize::Feature.apply(&mut data);
        let line = |part: &Examples, index: usize| f64::from(part.pixels[index]);
        // The same affine map applies to all parts, so differences have the same ratio.
        let ratio = (line(&data.train, 4) - line(&data.train, 0))
            / (line(&plain.train, 4) - line(&plain.train, 0));
        let of_test = (line(&data.test, 8) - line(&data.test, 0))
            / (line(&plain.test, 8) - line(&plain.test, 0));
        assert!((ratio - of_test).abs() < 1e-5, "{ratio} {of_test}");
        let mut same = plain.clone();
        Standardize::None.apply(&mut same);
        assert_eq!(same.test.pixels, plain.test.pixels);
    }
}
