//! Location and spread of a few values.

use super::bootstrap::{Interval, mean_interval};
use super::level::Level;

/// What a few values come to. Every field is none where it does not exist.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Summary {
    /// Number of values.
    pub n: usize,
    /// `mean = sum(x) / n`; none without a value.
    pub mean: Option<f64>,
    /// Sample standard deviation, `sqrt(sum((x - mean)^2) / (n - 1))`; none with fewer than two values. Exactly 0 for equal ones.
    pub sd: Option<f64>,
    /// The middle value, or the mean of the two in the middle.
    pub median: Option<f64>,
    /// [`interquartile_mean`].
    pub iqm: Option<f64>,
    /// Bootstrap interval of the mean; see [`mean_interval`].
    pub interval: Option<Interval>,
}

impl Summary {
    /// Summarizes finite values; others are left out. The sums run in the order given, so the result has the same bits each time.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        Self::at(Level::default(), values)
    }

    /// The same, with an interval of another level.
    pub fn at(level: Level, values: impl IntoIterator<Item = f64>) -> Self {
        let values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        let (mean, sd) = Self::mean_and_sd(&values);
        Self {
            n: values.len(),
            mean,
            sd,
            median: median(&values),
            iqm: interquartile_mean(&values),
            interval: mean_interval(&values, level),
        }
    }

    /// Mean and standard deviation alone.
    pub fn mean_and_sd(values: &[f64]) -> (Option<f64>, Option<f64>) {
        let Some(mean) = mean(values) else {
            return (None, None);
        };
        if values.len() < 2 {
            return (Some(mean), None);
        }
        // Half of each difference, so that it cannot overflow; scaled, so that no square can underflow or overflow.
        let halves: Vec<f64> = values.iter().map(|value| value / 2.0 - mean / 2.0).collect();
        let largest = halves.iter().fold(0.0, |largest: f64, half| largest.max(half.abs()));
        if largest == 0.0 {
            // Subnormal differences may be lost in halving.
            let largest = values.iter().map(|value| (value - mean).abs()).fold(0.0, f64::max);
            return (Some(mean), Some(largest));
        }
        let scale = power_of_two(largest);
        let squares: f64 = halves.iter().map(|half| (half / scale).powi(2)).sum();
        let sd = (squares / (values.len() - 1) as f64).sqrt() * scale * 2.0;
        (Some(mean), Some(sd).filter(|sd| sd.is_finite()))
    }
}

/// The mean of finite values; none without a value. The mean of equal values is that value, to the bit.
pub(super) fn mean(values: &[f64]) -> Option<f64> {
    let first = *values.first()?;
    let largest = values.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
    let scale = power_of_two(largest);
    // Differences from the first value: equal values leave no rounding behind.
    let sum: f64 = values.iter().map(|value| value / scale - first / scale).sum();
    let mean = (first / scale + sum / values.len() as f64) * scale;
    let (low, high) = (
        values.iter().copied().fold(first, f64::min),
        values.iter().copied().fold(first, f64::max),
    );
    // Rounding must not carry a mean past the values that it is of.
    Some(mean.clamp(low, high))
}

/// The power of two at or below a positive number, at most `2^1022`, so that four times a number over it is finite; 1 for 0.
pub(super) fn power_of_two(number: f64) -> f64 {
    if number < f64::MIN_POSITIVE {
        return if number > 0.0 { f64::MIN_POSITIVE } else { 1.0 };
    }
    // The exponent's bits alone.
    f64::from_bits(number.to_bits() & 0x7ff0_0000_0000_0000)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The middle value, or the mean of the two in the middle; none without a value.
pub fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let high = *sorted.get(sorted.len() / 2)?;
    Some(if sorted.len() % 2 == 1 { high } else { sorted[sorted.len() / 2 - 1].midpoint(high) })
}

/// The interquartile mean: the mean without the lowest and the highest `floor(n / 4)` values; none without a value.
///
/// Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice"; `scipy.stats.trim_mean(x, 0.25)`.
pub fn interquartile_mean(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let cut = sorted.len() / 4;
    mean(&sorted[cut..sorted.len() - cut])
}

/// The value at `share` of the way through sorted values, between two neighbours in proportion; none without a value.
///
/// NumPy's default (Hyndman and Fan 1996, definition 7).
pub fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = share.clamp(0.0, 1.0) * last as f64;
    let (below, part) = (place.floor() as usize, place.fract());
    let (low, high) = (sorted[below], sorted[(below + 1).min(last)]);
    Some(if part == 0.0 { low } else { low * (1.0 - part) + high * part })
}
