//! Degenerate batches: which policy a batch meets, and which of the averages it may move.

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use super::{Weight, WeightKind};

/// What to do with a batch whose statistics say little or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(rename_all = "snake_case"))]
pub enum Policy {
    /// Go on as with any batch.
    Accept,
    /// Return a typed error; nothing changes.
    Error,
    /// Normalize by the moving statistics and leave them as they are.
    UseMoving,
    /// Normalize as with any batch, but leave the moving variance as it is.
    SkipVarianceUpdate,
}

/// A [`Policy`] for each kind of degenerate batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(default, deny_unknown_fields))]
pub struct Degenerate {
    /// One value per channel. Default [`Policy::SkipVarianceUpdate`]: `y = beta`, the moving mean moves.
    pub one_value: Policy,
    /// No value at all. Default [`Policy::Error`]; only that and [`Policy::UseMoving`] are accepted.
    pub empty: Policy,
    /// Weights that sum to zero. Default [`Policy::Error`]; only that and [`Policy::UseMoving`] are accepted.
    pub zero_weight: Policy,
    /// A channel that is constant over the batch. Default [`Policy::Accept`], as all systems do;
    /// `UseMoving` and `SkipVarianceUpdate` act on the constant channels only.
    pub constant_channel: Policy,
}

impl Default for Degenerate {
    fn default() -> Self {
        Self {
            one_value: Policy::SkipVarianceUpdate,
            empty: Policy::Error,
            zero_weight: Policy::Error,
            constant_channel: Policy::Accept,
        }
    }
}

/// What follows from a batch's weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Normalize by the batch.
    Batch,
    /// Normalize by the moving statistics; no update.
    Moving,
    /// No values, and that is an error.
    Empty,
    /// No weight, and that is an error.
    ZeroWeight,
    /// One value, and that is an error.
    OneValue,
}

impl Degenerate {
    /// Whether a batch that is normalized by its own statistics may come to need the moving ones.
    pub(crate) fn may_use_moving(&self) -> bool {
        [self.one_value, self.empty, self.zero_weight, self.constant_channel]
            .contains(&Policy::UseMoving)
    }

    /// Decides by the weight of a batch; `any_values` tells weights that sum to zero from no values.
    pub(crate) fn verdict(&self, weight: Weight, any_values: bool) -> Verdict {
        let (policy, error) = if weight.sum == 0.0 {
            let found = if any_values { self.zero_weight } else { self.empty };
            (found, if any_values { Verdict::ZeroWeight } else { Verdict::Empty })
        } else if weight.is_one_value() {
            (self.one_value, Verdict::OneValue)
        } else {
            return Verdict::Batch;
        };
        match policy {
            Policy::Error => error,
            Policy::UseMoving => Verdict::Moving,
            Policy::Accept | Policy::SkipVarianceUpdate => Verdict::Batch,
        }
    }

    /// Whether a batch of this weight may move variances at all. An unbiased variance by frequency
    /// weights needs a weight above 1: below, `W / (W − 1)` is negative or infinite.
    pub(crate) fn moves_variance(&self, weight: Weight, unbiased_by: Option<WeightKind>) -> bool {
        let several = self.one_value == Policy::Accept || !weight.is_one_value();
        several && (unbiased_by != Some(WeightKind::Frequency) || weight.sum > 1.0)
    }

    /// Whether a constant channel keeps its moving variance.
    pub(crate) fn skips_constant(&self) -> bool {
        matches!(self.constant_channel, Policy::SkipVarianceUpdate | Policy::UseMoving)
    }
}
