//! The commit of one batch: which averages it updates, and when it is refused.

use pulp::{Arch, Simd, WithSimd};

use super::renorm::Followed;
use super::unbiased_variance;
use super::{Average, Column, Decay, Degenerate, Moving, RenormAverages, Weight, WeightKind};

/// The options that a commit depends on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CommitRules {
    pub(crate) decay: Decay,
    /// The stored variance is unbiased, by this kind of weights.
    pub(crate) unbiased_by: Option<WeightKind>,
    pub(crate) degenerate: Degenerate,
    pub(crate) epsilon: f64,
}

/// The averages of a layer, which a commit updates.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Averages<T = Column> {
    pub(crate) mean: Average<T>,
    pub(crate) variance: Average<T>,
    pub(crate) renorm: Option<RenormAverages<T>>,
}

/// The result of a commit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Committed {
    /// False if a statistic was not finite, or the weight was 0; nothing has changed then.
    pub(crate) accepted: bool,
    /// The variance of some channel was not updated.
    pub(crate) skipped_variance: bool,
}

/// Updates the averages by one batch.
pub(crate) fn commit(commit: Commit<'_>) -> Committed {
    Arch::new().dispatch(commit)
}

/// What a commit depends on, and the averages that it updates.
pub(crate) struct Commit<'a> {
    pub(crate) rules: &'a CommitRules,
    /// The weight of the batch in the averages, `1 − decay`.
    pub(crate) rate: f64,
    pub(crate) weight: Weight,
    /// The batch's means and biased variances, by channel.
    pub(crate) moments: [&'a [f64]; 2],
    pub(crate) averages: &'a mut Averages,
}

impl WithSimd for Commit<'_> {
    type Output = Committed;

    /// Compiled for the machine's widest vectors: all of it is inlined, and calls no closure from outside of a loop.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Committed {
        let Self { rules, rate, weight, moments: [mean, variance], averages } = self;
        let unbiased: Option<Vec<f64>> = rules.unbiased_by.map(|kind| {
            let freedom = weight.freedom(kind);
            variance.iter().map(|v| unbiased_variance(*v, weight.sum, freedom)).collect()
        });
        let stored = unbiased.as_deref().unwrap_or(variance);
        let held = |column: &Column, values: &[f64]| {
            values.iter().fold(true, |all, v| all & column.holds(*v))
        };
        let column = &averages.mean.value;
        if !(weight.sum > 0.0 && held(column, mean) && held(column, stored)) {
            return Committed { accepted: false, skipped_variance: false };
        }
        let moves_variance = rules.degenerate.moves_variance(weight, rules.unbiased_by);
        let skips_constant = rules.degenerate.skips_constant();
        let moves: Vec<bool> =
            variance.iter().map(|v| moves_variance && (!skips_constant || *v > 0.0)).collect();
        let skipped_variance = moves.contains(&false);
        let variances = if skipped_variance { Moving::Only(&moves) } else { Moving::All };
        let moving = [Moving::All, variances];
        let Averages { mean: moving_mean, variance: moving_variance, renorm, .. } = averages;
        // No closures here: they would be compiled without the vectors' instructions.
        let Some(renorm) = renorm else {
            moving_mean.update(mean, rate, moving[0]);
            moving_variance.update(stored, rate, moving[1]);
            return Committed { accepted: true, skipped_variance };
        };
        match renorm.update(mean, variance, rate, rules.epsilon, moving) {
            Followed::Average { mean, variance } => {
                moving_mean.update(&mean, rate, moving[0]);
                moving_variance.update(&variance, rate, moving[1]);
            }
            Followed::Stddev { variance } => {
                moving_mean.update(mean, rate, moving[0]);
                moving_variance.value.set(&variance, moving[1]);
            }
            Followed::Equal { mean, variance } => {
                moving_mean.value.set(&mean, moving[0]);
                moving_variance.value.set(&variance, moving[1]);
            }
        }
        Committed { accepted: true, skipped_variance }
    }
}

impl Averages {
    /// Sets the averages to these values, with all weight gathered.
    pub(crate) fn overwrite(&mut self, mean: &[f64], variance: &[f64], epsilon: f64) {
        self.mean.overwrite(mean);
        self.variance.overwrite(variance);
        if let Some(renorm) = &mut self.renorm {
            renorm.overwrite(mean, variance, epsilon);
        }
    }
}

impl<T> Averages<T> {
    /// Applies `f` to each part.
    pub(crate) fn try_map<U, E>(&self, f: &impl Fn(&T) -> Result<U, E>) -> Result<Averages<U>, E> {
        Ok(Averages {
            mean: self.mean.try_map(f)?,
            variance: self.variance.try_map(f)?,
            renorm: self.renorm.as_ref().map(|renorm| renorm.try_map(f)).transpose()?,
        })
    }

    /// The parts in a fixed order.
    pub(crate) fn parts(&self) -> Vec<&T> {
        let moving = self.mean.parts().chain(self.variance.parts());
        moving.chain(self.renorm.iter().flat_map(RenormAverages::parts)).collect()
    }
}
