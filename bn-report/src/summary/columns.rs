//! The columns of `summary.csv`: numbers in full, absent is empty.

use crate::compare::{Against, ArmRow, Comparison};
use crate::schema::Direction;

/// A column of `summary.csv`: its name and its cell for an arm.
pub(super) type Column = (&'static str, fn(&Comparison, &ArmRow) -> String);

/// Every column of `summary.csv`, in order.
pub(super) const COLUMNS: &[Column] = &[
    ("arm", |_, row| row.name.clone()),
    ("runs", |_, row| row.states.total().to_string()),
    ("finished", |_, row| row.states.finished.to_string()),
    ("diverged", |_, row| row.states.diverged.to_string()),
    ("failed", |_, row| row.states.failed.to_string()),
    ("interrupted", |_, row| row.states.interrupted.to_string()),
    ("running", |_, row| row.states.running.to_string()),
    ("missing", |_, row| row.states.missing.to_string()),
    ("damaged", |_, row| row.states.damaged.to_string()),
    ("final_split", |comparison, _| comparison.final_split.name().to_owned()),
    ("final_metric", |comparison, _| comparison.metric.clone()),
    ("final_statistics", |comparison, _| comparison.statistics.to_string()),
    ("final_n", |_, row| row.final_value.n.to_string()),
    ("final_mean", |_, row| number(row.final_value.mean)),
    ("final_sd", |_, row| number(row.final_value.sd)),
    ("final_median", |_, row| number(row.final_value.median)),
    ("final_iqm", |_, row| number(row.final_value.iqm)),
    ("final_low", |_, row| number(row.final_value.interval.map(|interval| interval.low))),
    ("final_high", |_, row| number(row.final_value.interval.map(|interval| interval.high))),
    ("best_mean", |_, row| number(row.best.mean)),
    ("area_mean", |_, row| number(row.area.mean)),
    ("against", |comparison, _| comparison.baseline_name().unwrap_or("").to_owned()),
    ("difference_n", |_, row| of(&row.final_against, |against| against.n.to_string())),
    ("difference_mean", |_, row| of(&row.final_against, |against| number(against.pairs.mean))),
    ("difference_low", |_, row| {
        of(&row.final_against, |against| number(against.pairs.interval.map(|i| i.low)))
    }),
    ("difference_high", |_, row| {
        of(&row.final_against, |against| number(against.pairs.interval.map(|i| i.high)))
    }),
    ("improvement", |_, row| of(&row.final_against, |against| number(against.improvement))),
    ("p", |_, row| of(&row.final_against, |against| number(against.p_value))),
    ("p_holm", |_, row| of(&row.final_against, |against| number(against.p_adjusted))),
    ("verdict", |comparison, row| {
        let better = Some(comparison.definition.better);
        of(&row.final_against, |against| against.decision.words(better))
    }),
    ("target_metric", |comparison, _| {
        comparison.target.as_ref().map_or(String::new(), |target| target.metric.clone())
    }),
    ("target_value", |comparison, _| {
        comparison.target.as_ref().map_or(String::new(), |target| target.value.to_string())
    }),
    ("begun_n", |_, row| row.sustained.runs.len().to_string()),
    ("first_touch_n", |_, row| row.first_touch.reached.to_string()),
    ("first_touch_median", |_, row| count(row.first_touch.median)),
    ("first_touch_after", |_, row| count(row.first_touch.median_after)),
    ("sustained_n", |_, row| row.sustained.reached.to_string()),
    ("sustained_median", |_, row| count(row.sustained.median)),
    ("sustained_after", |_, row| count(row.sustained.median_after)),
    ("steps_difference_mean", |_, row| {
        of(&row.steps_against, |against| number(against.pairs.mean))
    }),
    ("steps_verdict", |_, row| {
        of(&row.steps_against, |against| against.decision.words(Some(Direction::Lower)))
    }),
    ("gap_step", |_, row| count(row.gap.map(|gap| gap.step))),
    ("gap_moving", |_, row| number(row.gap.map(|gap| gap.moving))),
    ("gap_batch", |_, row| number(row.gap.map(|gap| gap.batch))),
    ("gap_closed_from", |_, row| count(row.gap.and_then(|gap| gap.closed_from))),
];

fn number(number: Option<f64>) -> String {
    number.map_or(String::new(), |number| number.to_string())
}

fn count(count: Option<u64>) -> String {
    count.map_or(String::new(), |count| count.to_string())
}

fn of(against: &Option<Against>, cell: impl Fn(&Against) -> String) -> String {
    against.as_ref().map_or(String::new(), cell)
}
