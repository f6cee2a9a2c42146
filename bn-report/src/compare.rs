//! The comparison: one row per arm, computed from what the runs logged and nothing else. Pure.
//!
//! Means run over all runs that have the value; how many those are stands beside them, and every other run is counted by
//! the state it is in.

mod alike;
mod gap;
mod states;
pub mod table;

pub use self::alike::trained_alike;
use self::gap::gap;
pub use self::gap::{CLOSED_GAP, Gap, paired_readings};
pub use self::states::States;

use crate::curve::{self, Key};
use crate::read::{Arm, Experiment, Run};
use crate::schema::{self, Split, Statistics, Status, Target};
use crate::stats::Summary;

/// One row per arm, and what the rows are about.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// What an arm has to reach, where the experiment has a target.
    pub target: Option<Target>,
    /// The metric that is compared: the target's, else `accuracy`, else `loss`, else the first by name.
    pub metric: String,
    /// Where the end is measured: on `test`, or on `validation` where nothing was logged on test.
    pub final_split: Split,
    /// The statistics that are read wherever the rows name any.
    pub statistics: Statistics,
    /// The last step that any run logged.
    pub last_step: Option<u64>,
    /// The fewest steps between two values of the watched curve: how finely steps to the target are known.
    pub measured_every: Option<u64>,
    /// Groups of arms (by their place) that trained alike to the last bit; see [`trained_alike`].
    pub trained_alike: Vec<Vec<usize>>,
    /// The arms, in the experiment's order.
    pub rows: Vec<ArmRow>,
}

/// What the runs of one arm came to.
#[derive(Debug, Clone, PartialEq)]
pub struct ArmRow {
    /// Name of the arm.
    pub name: String,
    /// Its directory.
    pub slug: String,
    /// How its runs stand.
    pub states: States,
    /// Per run: seed and the metric at the end. None for a run that did not finish.
    pub finals: Vec<(u64, Option<f64>)>,
    /// Summary of `finals`.
    pub final_value: Summary,
    /// Per run that has begun: seed and the first logged step at which the target was met. None where it was not.
    pub reached: Vec<(u64, Option<u64>)>,
    /// Summary of `reached`, over the runs that did.
    pub steps_to_target: Summary,
    /// The best mean that validation came to.
    pub best: Option<f64>,
    /// How far the two readings of the same weights lie apart; none where only one was logged.
    pub gap: Option<Gap>,
}

impl Comparison {
    /// Compares the arms of an experiment.
    pub fn of(experiment: &Experiment) -> Self {
        let metric = metric_of(experiment);
        let statistics =
            experiment.target.as_ref().map_or(Statistics::Moving, |target| target.statistics);
        let logged = |split: Split| {
            let mut rows = experiment.records().flat_map(|record| &record.rows);
            rows.any(|row| row.split == split && row.metric == metric)
        };
        let final_split = if logged(Split::Test) { Split::Test } else { Split::Validation };
        let mut comparison = Self {
            target: experiment.target.clone(),
            final_split,
            statistics,
            last_step: experiment
                .records()
                .flat_map(|record| &record.rows)
                .map(|row| row.step)
                .max(),
            measured_every: None,
            trained_alike: trained_alike(experiment),
            rows: Vec::new(),
            metric,
        };
        comparison.measured_every = measured_every(experiment, &comparison.watched());
        comparison.rows = experiment.arms.iter().map(|arm| comparison.row(arm)).collect();
        comparison
    }

    /// Whether less of the metric is more.
    pub fn lower_is_better(&self) -> bool {
        schema::lower_is_better(&self.metric)
    }

    /// The curve that the target is about, or validation's of the metric.
    pub fn watched(&self) -> Key {
        let split = self.target.as_ref().map_or(Split::Validation, |target| target.split);
        Key::new(split, Some(self.statistics), &self.metric)
    }

    /// How all runs stand.
    pub fn states(&self) -> States {
        let mut all = States::default();
        for States { finished, diverged, failed, interrupted, running, missing } in
            self.rows.iter().map(|row| row.states)
        {
            all.finished += finished;
            all.diverged += diverged;
            all.failed += failed;
            all.interrupted += interrupted;
            all.running += running;
            all.missing += missing;
        }
        all
    }

    fn row(&self, arm: &Arm) -> ArmRow {
        let end = Key::new(self.final_split, Some(self.statistics), &self.metric);
        let finals: Vec<(u64, Option<f64>)> =
            arm.runs.iter().map(|run| (run.seed, final_value(run, &end))).collect();
        let reached: Vec<(u64, Option<u64>)> = match &self.target {
            None => Vec::new(),
            Some(target) => {
                let begun = arm.runs.iter().filter(|run| run.record.is_some());
                begun.map(|run| (run.seed, self.first_step(run, target))).collect()
            }
        };
        let watched = curve::arm_curves(arm, &self.watched());
        let means = curve::band(watched.iter().map(|(_, curve)| curve));
        let means = means.values().filter_map(|summary| summary.mean);
        ArmRow {
            name: arm.name.clone(),
            slug: arm.slug.clone(),
            states: States::of(&arm.runs),
            final_value: Summary::of(finals.iter().filter_map(|(_, value)| *value)),
            finals,
            steps_to_target: Summary::of(
                reached.iter().filter_map(|(_, step)| step.map(|step| step as f64)),
            ),
            reached,
            best: if self.lower_is_better() {
                means.reduce(f64::min)
            } else {
                means.reduce(f64::max)
            },
            gap: gap(arm, &self.metric),
        }
    }

    fn first_step(&self, run: &Run, target: &Target) -> Option<u64> {
        let met = |value: f64| {
            if self.lower_is_better() { value <= target.value } else { value >= target.value }
        };
        let curve = curve::curve_or_plain(run.rows(), &self.watched());
        curve.into_iter().find(|(_, value)| value.is_some_and(met)).map(|(step, _)| step)
    }
}

fn metric_of(experiment: &Experiment) -> String {
    if let Some(target) = &experiment.target {
        return target.metric.clone();
    }
    let metrics = crate::curve::metrics(experiment);
    ["accuracy", "loss"]
        .into_iter()
        .find(|name| metrics.contains(*name))
        .map(str::to_owned)
        .or_else(|| metrics.into_iter().next())
        .unwrap_or_else(|| "accuracy".to_owned())
}

fn measured_every(experiment: &Experiment, watched: &Key) -> Option<u64> {
    let distances = |arm: &Arm| -> Vec<u64> {
        let curves = curve::arm_curves(arm, watched);
        let steps = curves.iter().map(|(_, curve)| curve.keys().copied().collect::<Vec<_>>());
        steps
            .flat_map(|steps| steps.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>())
            .collect()
    };
    experiment.arms.iter().flat_map(distances).min()
}

fn final_value(run: &Run, end: &Key) -> Option<f64> {
    matches!(run.status(), Some(Status::Finished)).then_some(())?;
    curve::curve_or_plain(run.rows(), end).last_key_value().and_then(|(_, value)| *value)
}
