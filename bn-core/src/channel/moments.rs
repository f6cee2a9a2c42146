//! Weight, mean and variance: merging, and the correction of the variance.

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

/// The meaning of weights, which decides how an unbiased variance is corrected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(rename_all = "snake_case"))]
pub enum WeightKind {
    /// A weight counts repetitions: a row of weight 2 counts as two rows. Correction `W / (W − 1)`.
    #[default]
    Frequency,
    /// A weight says how reliable a row is; only ratios matter. Correction `W / (W − Σw²/W)`.
    Reliability,
}

/// Mean and biased variance of a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Moment {
    pub(crate) mean: f64,
    pub(crate) variance: f64,
}

/// `Σw` and `Σw²` of the values behind a moment. Values without weights count 1 each.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Weight {
    pub(crate) sum: f64,
    pub(crate) squares: f64,
}

impl Weight {
    pub(crate) fn of_count(values: usize) -> Self {
        Self { sum: values as f64, squares: values as f64 }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self { sum: self.sum + other.sum, squares: self.squares + other.squares }
    }

    /// The number of equally weighted values with the same information: `W² / Σw²`.
    pub(crate) fn values(self) -> f64 {
        if self.squares > 0.0 { self.sum * self.sum / self.squares } else { 0.0 }
    }

    /// Whether all weight lies on one value: `W² = Σw²`. Rounding makes them differ a little.
    pub(crate) fn is_one_value(self) -> bool {
        const ROUNDING: f64 = 1e-12;
        self.sum * self.sum <= self.squares * (1.0 + ROUNDING)
    }

    /// Degrees of freedom left once the mean is known.
    pub(crate) fn freedom(self, kind: WeightKind) -> f64 {
        match kind {
            WeightKind::Frequency => self.sum - 1.0,
            WeightKind::Reliability if self.sum > 0.0 => self.sum - self.squares / self.sum,
            WeightKind::Reliability => 0.0,
        }
    }
}

impl Moment {
    /// The moments of these means and variances, channel by channel.
    pub(crate) fn zip(means: &[f64], variances: &[f64]) -> Vec<Self> {
        let each = means.iter().zip(variances);
        each.map(|(mean, variance)| Self { mean: *mean, variance: *variance }).collect()
    }

    /// The moment of two sets of values together. A constant stays that constant, whatever the weights.
    ///
    /// With `δ = mean₂ − mean₁`: `mean = mean₁ + δ·W₂/W`,
    /// `variance = (W₁·variance₁ + W₂·variance₂)/W + δ²·W₁W₂/W²`. Chan, Golub & LeVeque 1979.
    pub(crate) fn merge(self, weight: f64, other: Self, other_weight: f64) -> Self {
        let total = weight + other_weight;
        if total <= 0.0 {
            return self;
        }
        let (share, other_share) = (weight / total, other_weight / total);
        let delta = other.mean - self.mean;
        let within = share * self.variance + other_share * other.variance;
        Self {
            mean: self.mean + delta * other_share,
            variance: within + delta * delta * (share * other_share),
        }
    }
}

/// A variance corrected for the degree of freedom that the mean took; uncorrected if none is left.
#[inline(always)]
pub(crate) fn unbiased_variance(variance: f64, weight: f64, freedom: f64) -> f64 {
    if freedom > 0.0 { (variance * weight) / freedom } else { variance }
}
