//! Turns scores into rows of `metrics.csv`.
//!
//! Training rows hold the mean over the steps since the last evaluation, under batch statistics, because training computes
//! it anyway. For a network without norm layers, the statistics cell is empty.

use crate::model::Mode;
use bn_report::schema::{MetricRow, Split, Statistics};
use std::time::Duration;

/// The point in training at which rows were measured.
#[derive(Clone, Copy, Debug)]
pub struct Position {
    /// Steps done.
    pub step: u64,
    /// Complete epochs.
    pub epoch: u64,
    /// Training examples seen.
    pub examples: u64,
    /// Time this process has spent waiting for training examples.
    pub waited: Duration,
}

/// One row per score, with `prefix` before its metric's name.
pub(super) fn rows(
    at: Position,
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

/// The modes in which networks are evaluated, each with the statistics of its rows.
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
    fn values_that_are_not_finite_are_absent() {
        let at = Position { step: 1, epoch: 0, examples: 60, waited: Duration::ZERO };
        let names = ["loss", "accuracy"];
        let rows: Vec<_> =
            rows(at, Split::Train, None, "", &names, &[f64::INFINITY, 0.5]).collect();
        assert_eq!((rows[0].value, rows[1].value), (None, Some(0.5)));
        assert_eq!(rows[1].metric, "accuracy");
    }
}
