//! From scores to rows of `metrics.csv`.
//!
//! Training rows hold the mean over the steps since the last look, by batch statistics, because that is what training
//! computes anyway. A net without norm layers has no statistics: the cell is empty.

use super::evaluation::Score;
use crate::model::Mode;
use bn_report::schema::{MetricRow, Split, Statistics};

/// When rows were measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Updates done.
    pub(super) step: u64,
    /// Whole epochs done.
    pub(super) epoch: u64,
    /// Training examples seen.
    pub(super) examples: u64,
}

/// The rows of one score: loss and accuracy.
pub(super) fn rows(
    at: Moment,
    split: Split,
    statistics: Option<Statistics>,
    score: Score,
) -> [MetricRow; 2] {
    let row = |metric: &str, value: f64| MetricRow {
        step: at.step,
        epoch: at.epoch,
        examples: at.examples,
        split,
        statistics,
        metric: metric.to_owned(),
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

/// Mean of the training scores since the last look.
#[derive(Debug, Default)]
pub(super) struct Recent {
    steps: u64,
    loss: f64,
    accuracy: f64,
}

impl Recent {
    pub(super) fn add(&mut self, score: Score) {
        self.steps += 1;
        self.loss += score.loss;
        self.accuracy += score.accuracy;
    }

    /// The mean, if there was a step; starts afresh.
    pub(super) fn take(&mut self) -> Option<Score> {
        let Self { steps, loss, accuracy } = std::mem::take(self);
        (steps > 0).then(|| Score { loss: loss / steps as f64, accuracy: accuracy / steps as f64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_covers_the_steps_since_the_last_one() {
        let mut recent = Recent::default();
        assert_eq!(recent.take(), None);
        recent.add(Score { loss: 1.0, accuracy: 0.0 });
        recent.add(Score { loss: 2.0, accuracy: 1.0 });
        assert_eq!(recent.take(), Some(Score { loss: 1.5, accuracy: 0.5 }));
        assert_eq!(recent.take(), None);
    }

    #[test]
    fn what_is_not_a_number_is_absent() {
        let at = Moment { step: 1, epoch: 0, examples: 60 };
        let [loss, accuracy] =
            rows(at, Split::Train, None, Score { loss: f64::INFINITY, accuracy: 0.5 });
        assert_eq!((loss.value, accuracy.value), (None, Some(0.5)));
    }
}
