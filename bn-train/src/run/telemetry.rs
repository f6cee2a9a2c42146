//! From scores to rows of `metrics.csv`.
//!
//! Training rows hold the mean over the steps since the last look, by batch statistics, because that is what training
//! computes anyway. A net without norm layers has no statistics: the cell is empty.

use super::evaluation::Score;
use crate::model::Mode;
use bn_report::schema::{MetricRow, Split, Statistics};

/// When rows were measured.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Updates done.
    pub step: u64,
    /// Whole epochs done.
    pub epoch: u64,
    /// Training examples seen.
    pub examples: u64,
}

/// The rows of one score: loss and accuracy, each with `prefix` before its name.
pub(super) fn rows(
    at: Moment,
    split: Split,
    statistics: Option<Statistics>,
    prefix: &str,
    score: Score,
) -> [MetricRow; 2] {
    let row = |metric: &str, value: f64| MetricRow {
        step: at.step,
        epoch: at.epoch,
        examples: at.examples,
        split,
        statistics,
        metric: format!("{prefix}{metric}"),
        value: value.is_finite().then_some(value),
    };
    [row("loss", score.loss), row("accuracy", score.accuracy)]
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
        let at = Moment { step: 1, epoch: 0, examples: 60 };
        let score = Score { loss: f64::INFINITY, accuracy: 0.5 };
        let [loss, accuracy] = rows(at, Split::Train, None, "", score);
        assert_eq!((loss.value, accuracy.value), (None, Some(0.5)));
    }
}
