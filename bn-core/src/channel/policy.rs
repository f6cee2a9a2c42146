//! Degenerate batches: which policy applies, and which averages a batch may update.

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use super::{Weight, WeightKind};

/// How to treat a batch whose statistics carry little or no information.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(rename_all = "snake_case"))]
pub enum Policy {
    /// Treat it like any other batch.
    Accept,
    /// Return a typed error and change nothing.
    Error,
    /// Normalize by the moving statistics, without an update.
    UseMoving,
    /// Normalize like any other batch, but do not update the moving variance.
    SkipVarianceUpdate,
}

/// A [`Policy`] for each kind of degenerate batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(default, deny_unknown_fields))]
pub struct Degenerate {
    /// One value per channel. Default [`Policy::SkipVarianceUpdate`]: `y = beta`, and only the moving mean is
    /// updated.
    pub one_value: Policy,
    /// No values. Default [`Policy::Error`]; the alternative is [`Policy::UseMoving`].
    pub empty: Policy,
    /// Weights that sum to zero. Default [`Policy::Error`]; the alternative is [`Policy::UseMoving`].
    pub zero_weight: Policy,
    /// A channel that is constant over the batch. Default [`Policy::Accept`], like all systems.
    /// `UseMoving` and `SkipVarianceUpdate` affect the constant channels only.
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

/// The consequence of a batch's weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Normalize by the batch.
    Batch,
    /// Normalize by the moving statistics, without an update.
    Moving,
    /// Refuse a batch without values.
    Empty,
    /// Refuse a batch without weight.
    ZeroWeight,
    /// Refuse a batch with one value per channel.
    OneValue,
}

impl Degenerate {
    /// Whether some policy may replace batch statistics by the moving ones.
    pub(crate) fn may_use_moving(&self) -> bool {
        [self.one_value, self.empty, self.zero_weight, self.constant_channel]
            .contains(&Policy::UseMoving)
    }

    /// Decides by the weight of a batch; `any_values` distinguishes zero weights from no values.
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

    /// Whether a batch of this weight may update variances. An unbiased variance by frequency weights needs a
    /// total above 1; up to 1, `W / (W − 1)` is negative or infinite.
    pub(crate) fn moves_variance(&self, weight: Weight, unbiased_by: Option<WeightKind>) -> bool {
        let several = self.one_value == Policy::Accept || !weight.is_one_value();
        several && (unbiased_by != Some(WeightKind::Frequency) || weight.sum > 1.0)
    }

    /// Whether a constant channel keeps its moving variance.
    pub(crate) fn skips_constant(&self) -> bool {
        matches!(self.constant_channel, Policy::SkipVarianceUpdate | Policy::UseMoving)
    }
}
