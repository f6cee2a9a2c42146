//! From series to curves: one value per step for a run, mean and interval per step for an arm. Pure.

use std::collections::BTreeSet;

pub use crate::read::Key;
use crate::read::{Arm, Experiment, Run, Series};
use crate::stats::{Interval, Level, Summary, student};

/// The curve of one run: its values by step, none where it logged a step without a finite value.
pub type Curve = Series;

/// One run's part in a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct RunCurve {
    /// Seed of the run.
    pub seed: u64,
    /// Its values.
    pub curve: Curve,
}

/// What the runs of an arm come to at one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BandPoint {
    /// The step.
    pub step: u64,
    /// How many runs have a value there. Where it drops, runs ended: the mean before and the mean after are of other runs.
    pub n: usize,
    /// Mean of those; none where no run has a value.
    pub mean: Option<f64>,
    /// Sample standard deviation; none with fewer than two values.
    pub sd: Option<f64>,
    /// Interval of the mean: `mean ± t sd / sqrt(n)` with Student's t of `n - 1` degrees of freedom, step by step.
    pub interval: Option<Interval>,
}

/// Mean and interval at each logged step, ascending, over the runs that have a value there.
pub type Band = Vec<BandPoint>;

/// [`Band`] of some runs, with 95 % intervals.
pub fn band<'a>(curves: impl IntoIterator<Item = &'a Curve>) -> Band {
    band_at(Level::default(), curves)
}

/// [`Band`] of some runs, with intervals of a level.
pub fn band_at<'a>(level: Level, curves: impl IntoIterator<Item = &'a Curve>) -> Band {
    let curves: Vec<&Curve> = curves.into_iter().collect();
    let mut places = vec![0; curves.len()];
    let factors: Vec<Option<f64>> = (0..=curves.len()).map(|n| interval_factor(level, n)).collect();
    let mut band = Vec::with_capacity(curves.iter().map(|curve| curve.len()).max().unwrap_or(0));
    let mut values = Vec::with_capacity(curves.len());
    while let Some(step) =
        curves.iter().zip(&places).filter_map(|(curve, &place)| curve.steps().get(place)).min()
    {
        values.clear();
        for (curve, place) in curves.iter().zip(&mut places) {
            if curve.steps().get(*place) == Some(step) {
                values.extend(curve.value(*place));
                *place += 1;
            }
        }
        let (mean, sd) = Summary::mean_and_sd(&values);
        let half = sd.zip(factors[values.len()]).map(|(sd, factor)| sd * factor);
        let interval = mean
            .zip(half)
            .map(|(mean, half)| Interval { low: mean - half, high: mean + half })
            .filter(|interval| interval.low.is_finite() && interval.high.is_finite());
        band.push(BandPoint { step: *step, n: values.len(), mean, sd, interval });
    }
    band
}

/// What the standard deviation of `n` values is multiplied by for half the interval of their mean.
fn interval_factor(level: Level, n: usize) -> Option<f64> {
    (n > 1).then(|| student::quantile(level.upper(), (n - 1) as f64) / (n as f64).sqrt())
}

/// The curves of an arm: one per run that has any value, with its seed.
pub fn arm_curves(arm: &Arm, key: &Key) -> Vec<RunCurve> {
    let curve = |run: &Run| Some(RunCurve { seed: run.seed, curve: run.series(key)?.clone() });
    arm.runs.iter().filter_map(curve).collect()
}

/// The metrics that any run logged.
pub fn metrics(experiment: &Experiment) -> BTreeSet<String> {
    experiment.keys().into_iter().map(|key| key.metric.clone()).collect()
}
