//! From rows to curves: one value per step for a run, mean and spread per step for an arm. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::read::{Arm, Experiment, Run};
use crate::schema::{MetricRow, Split, Statistics};
use crate::stats::Summary;

/// What is looked at: one metric on one split, read with one kind of statistics.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The examples measured on.
    pub split: Split,
    /// What batch-norm layers normalized with; none also means rows of nets without such layers.
    pub statistics: Option<Statistics>,
    /// The metric.
    pub metric: String,
}

impl Key {
    /// A key from its parts.
    pub fn new(split: Split, statistics: Option<Statistics>, metric: &str) -> Self {
        Self { split, statistics, metric: metric.to_owned() }
    }

    fn matches(&self, row: &MetricRow) -> bool {
        row.split == self.split && row.statistics == self.statistics && row.metric == self.metric
    }
}

/// The values of one run by step; none where it logged a step without a finite value.
pub type Curve = BTreeMap<u64, Option<f64>>;

/// The values of `rows` for a key, by step.
pub fn curve(rows: &[MetricRow], key: &Key) -> Curve {
    rows.iter().filter(|row| key.matches(row)).map(|row| (row.step, row.value)).collect()
}

/// [`curve`], or where the run has no such row, the curve of the rows without statistics: a net without batch-norm layers
/// reads the same with any.
pub fn curve_or_plain(rows: &[MetricRow], key: &Key) -> Curve {
    let named = curve(rows, key);
    if named.is_empty() { curve(rows, &Key { statistics: None, ..key.clone() }) } else { named }
}

/// Mean and spread at each logged step, over the runs that have a value there.
pub type Band = BTreeMap<u64, Summary>;

/// [`Band`] of some runs.
pub fn band<'a>(curves: impl IntoIterator<Item = &'a Curve>) -> Band {
    let mut values: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for curve in curves {
        for (&step, &value) in curve {
            values.entry(step).or_default().extend(value);
        }
    }
    values.into_iter().map(|(step, values)| (step, Summary::of(values))).collect()
}

/// The curves of an arm: one per run that has any value, with its seed.
pub fn arm_curves(arm: &Arm, key: &Key) -> Vec<(u64, Curve)> {
    let of_run = |run: &Run| (run.seed, curve_or_plain(run.rows(), key));
    arm.runs.iter().map(of_run).filter(|(_, curve)| !curve.is_empty()).collect()
}

/// Cuts a line at its absent values: the stretches of neighbouring steps that have one.
pub fn stretches(line: impl IntoIterator<Item = (u64, Option<f64>)>) -> Vec<Vec<(u64, f64)>> {
    let mut stretches = vec![Vec::new()];
    for (step, value) in line {
        match (value, stretches.last_mut()) {
            (Some(value), Some(stretch)) => stretch.push((step, value)),
            _ => stretches.push(Vec::new()),
        }
    }
    stretches.retain(|stretch| !stretch.is_empty());
    stretches
}

/// The metrics that any run logged.
pub fn metrics(experiment: &Experiment) -> BTreeSet<String> {
    experiment.records().flat_map(|record| &record.rows).map(|row| row.metric.clone()).collect()
}
