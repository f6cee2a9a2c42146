//! What a run logged, grouped: one series of values over steps for each quantity.

use std::fmt;

use crate::schema::{Split, Statistics};

/// A quantity of `metrics.csv`: one metric on one split, by one kind of statistics.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The examples measured on.
    pub split: Split,
    /// What the batch-norm layers normalized with; none for a net without such layers.
    pub statistics: Option<Statistics>,
    /// The metric.
    pub metric: String,
}

impl Key {
    /// A key from its parts.
    pub fn new(split: Split, statistics: Option<Statistics>, metric: &str) -> Self {
        Self { split, statistics, metric: metric.to_owned() }
    }

    /// This quantity of a net without batch-norm layers.
    pub fn plain(&self) -> Self {
        Self { statistics: None, ..self.clone() }
    }
}

/// A quantity of `layers.csv`: one metric of one layer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LayerKey {
    /// Path of the layer, or of one of its parameters.
    pub layer: String,
    /// The metric.
    pub metric: String,
}

/// Values over steps, in the order of the steps; no step twice. A step may have been logged without a finite value.
#[derive(Clone, Default)]
pub struct Series {
    steps: Vec<u64>,
    /// NaN where the value is absent: no file can hold a NaN as a value, and half the memory of an `Option`.
    values: Vec<f64>,
}

impl Series {
    /// How many steps were logged.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether no step was logged.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The logged steps, ascending.
    pub fn steps(&self) -> &[u64] {
        &self.steps
    }

    /// Step and value of every logged step.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, Option<f64>)> + ExactSizeIterator {
        self.steps.iter().zip(&self.values).map(|(&step, &value)| (step, present(value)))
    }

    /// Step and value of every step that has a value.
    pub fn finite(&self) -> impl DoubleEndedIterator<Item = (u64, f64)> {
        self.iter().filter_map(|(step, value)| Some((step, value?)))
    }

    /// The value at a step; none where it was not logged there, or is absent.
    pub fn at(&self, step: u64) -> Option<f64> {
        let index = self.steps.binary_search(&step).ok()?;
        present(self.values[index])
    }

    /// The value that holds at a step: that of the last row up to it; none before the first, or where it is absent.
    pub fn held(&self, step: u64) -> Option<f64> {
        let rows = self.steps.partition_point(|&other| other <= step);
        self.value(rows.checked_sub(1)?)
    }

    /// The value of the logged step at `index`, counted from 0; none where it is absent or there is no such step.
    pub fn value(&self, index: usize) -> Option<f64> {
        self.values.get(index).copied().and_then(present)
    }

    /// The last logged step and its value.
    pub fn last(&self) -> Option<(u64, Option<f64>)> {
        self.iter().next_back()
    }

    /// The part of the series that `keep` accepts by step and value.
    pub fn filtered(&self, mut keep: impl FnMut(u64, Option<f64>) -> bool) -> Self {
        self.iter().filter(|&(step, value)| keep(step, value)).collect()
    }

    pub(super) fn push(&mut self, step: u64, value: Option<f64>) {
        self.steps.push(step);
        self.values.push(value.filter(|value| value.is_finite()).unwrap_or(f64::NAN));
    }

    /// Whether `step` would keep the steps ascending.
    pub(super) fn ends_before(&self, step: u64) -> bool {
        self.steps.last().is_none_or(|&last| last < step)
    }

    /// Puts the steps in order; false if one stands there twice.
    pub(super) fn sort(&mut self) -> bool {
        let mut rows: Vec<(u64, f64)> =
            self.steps.iter().copied().zip(self.values.iter().copied()).collect();
        rows.sort_by_key(|&(step, _)| step);
        (self.steps, self.values) = rows.into_iter().unzip();
        self.steps.windows(2).all(|pair| pair[0] < pair[1])
    }

    pub(super) fn shrink(&mut self) {
        self.steps.shrink_to_fit();
        self.values.shrink_to_fit();
    }
}

fn present(value: f64) -> Option<f64> {
    (!value.is_nan()).then_some(value)
}

/// Later values of a step replace earlier ones.
impl FromIterator<(u64, Option<f64>)> for Series {
    fn from_iter<I: IntoIterator<Item = (u64, Option<f64>)>>(rows: I) -> Self {
        let rows: std::collections::BTreeMap<u64, Option<f64>> = rows.into_iter().collect();
        let mut series = Self::default();
        for (step, value) in rows {
            series.push(step, value);
        }
        series
    }
}

/// Equal steps and equal bits.
impl PartialEq for Series {
    fn eq(&self, other: &Self) -> bool {
        self.steps == other.steps
            && self.values.iter().zip(&other.values).all(|(a, b)| a.to_bits() == b.to_bits())
    }
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// The series of one file, by quantity.
#[derive(Debug, Clone, PartialEq)]
pub struct Log<K> {
    /// Sorted by key; no key twice.
    series: Vec<(K, Series)>,
}

impl<K> Default for Log<K> {
    fn default() -> Self {
        Self { series: Vec::new() }
    }
}

impl<K: Ord> Log<K> {
    pub(super) fn new(mut series: Vec<(K, Series)>) -> Self {
        series.sort_by(|a, b| a.0.cmp(&b.0));
        Self { series }
    }

    /// The series of a quantity; none where it was not logged.
    pub fn get(&self, key: &K) -> Option<&Series> {
        let index = self.series.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
        Some(&self.series[index].1)
    }

    /// All quantities with their series, sorted by quantity.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &Series)> + ExactSizeIterator {
        self.series.iter().map(|(key, series)| (key, series))
    }

    /// The last step of any series.
    pub fn last_step(&self) -> Option<u64> {
        self.series.iter().filter_map(|(_, series)| series.steps.last().copied()).max()
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.series.iter().map(|(_, series)| series.len()).sum()
    }
}

impl Log<Key> {
    /// The series of a quantity, or, where the run has none, that of a net without batch-norm layers: it reads the same by
    /// any statistics.
    pub fn get_or_plain(&self, key: &Key) -> Option<&Series> {
        self.get(key).or_else(|| self.get(&key.plain()))
    }
}
