//! The percentile bootstrap of a mean.

use super::level::Level;
use super::random::Draws;
use super::summary::{mean, power_of_two};

/// How often the values are drawn again.
pub const RESAMPLES: usize = 10_000;

/// The seed of the draws: the same values always have the same interval.
const SEED: u64 = 0x626e_2d72_6570_6f72;

/// From `low` to `high`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end, not below the lower one.
    pub high: f64,
}

impl Interval {
    /// Whether a number lies in it, the ends included.
    pub fn contains(&self, number: f64) -> bool {
        self.low <= number && number <= self.high
    }
}

/// An interval of the mean, at 95 % the 2.5 % and the 97.5 % quantile of the means of [`RESAMPLES`] samples of `n` values drawn with
/// replacement. None with fewer than two values. The interval of equal values is that value.
///
/// Efron and Tibshirani 1993, chapter 13. With few values it is too narrow (by about `sqrt((n - 1) / n)`).
pub fn mean_interval(values: &[f64], level: Level) -> Option<Interval> {
    if values.len() < 2 {
        return None;
    }
    let center = mean(values)?;
    if values.iter().all(|value| *value == values[0]) {
        return Some(Interval { low: center, high: center });
    }
    // Means of scaled halves: no sum overflows.
    let largest = values.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
    let scale = power_of_two(largest);
    let scaled: Vec<f64> = values.iter().map(|value| value / scale).collect();
    let mut draws = Draws::new(SEED);
    let n = values.len();
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|_| (0..n).map(|_| scaled[draws.below(n)]).sum::<f64>() / n as f64)
        .collect();
    means.sort_by(f64::total_cmp);
    let (low, high) = level.ends(&means)?;
    Some(Interval { low: low * scale, high: high * scale })
}
