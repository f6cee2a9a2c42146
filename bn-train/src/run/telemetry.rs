//! From scores to rows of `metrics.csv`.
//!
//! Training rows hold the mean over the steps since the last look, by batch statistics, because that is what training
//! computes anyway. A net without norm layers has no statistics: the cell is empty.

use crate::model::Mode;
use bn_report::schema::{MetricRow, Split, Statistics};
use std::time::Duration;

/// When rows were measured.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Updates done.
    pub step: u64,
    /// Whole epochs done.
    pub epoch: u64,
    /// Training examples seen.
    pub examples: u64,
    /// How long this process has waited for training examples.
    pub waited: Duration,
}

/// The rows of scores, each with `prefix` before its name.
pub(super) fn rows(
    at: Moment,
    split: Split,
    statistics: Option<Statistics>,
    prefix: &str,
    names: &[impl AsRef<str>],
    scores: &[f64],
) -> impl Iterator<Item = MetricRow> {
    names.iter().zip(scores).map(move |(name, value)| MetricRow {
        step: at.step,
        epoch: at.epoch,
        examples: at.examples,
        split,
        statistics,
        metric: format!("{prefix}{}", name.as_ref()),
        value: value.is_finite().then_some(*value),
    })
}

/// The passes that judge a net, each with what its rows say of statistics.
pub(super) fn passes(is_normalized: bool) -> &'static [(Mode<'static>, Option<Statistics>)] {
    if is_normalized {
        &[(Mode::Moving, Some(Statistics::Moving)), (Mode::Batch, Some(Statistics::Batch))]
    } else {
        &[(Mode::Moving, None)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_number_is_absent() {
        let at = Moment { step: 1, epoch: 0, examples: 60, waited: Duration::ZERO };
        let names = ["loss", "accuracy"];
        let rows: Vec<_> =
            rows(at, Split::Train, None, "", &names, &[f64::INFINITY, 0.5]).collect();
        assert_eq!((rows[0].value, rows[1].value), (None, Some(0.5)));
        assert_eq!(rows[1].metric, "accuracy");
    }
}
