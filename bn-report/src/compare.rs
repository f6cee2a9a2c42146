//! The comparison: one row per arm, computed from what the runs logged and nothing else. Pure.
//!
//! Means run over all runs that have the value; how many those are stands beside them, and every other run is counted by
//! the state it is in.

pub mod table;

use crate::curve::{self, Band, Curve, Key};
use crate::read::{Arm, Experiment, Run};
use crate::schema::{self, Split, Statistics, Status, Target};
use crate::stats::Summary;

/// A gap between two readings of the same weights counts as closed when it is no larger than this.
pub const CLOSED_GAP: f64 = 0.02;

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

/// How many runs are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct States {
    /// Did every step.
    pub finished: usize,
    /// Ended at a number that is not finite.
    pub diverged: usize,
    /// Ended with an error.
    pub failed: usize,
    /// Were stopped.
    pub interrupted: usize,
    /// Still going on, or killed without a word.
    pub running: usize,
    /// Planned, and no directory is there.
    pub missing: usize,
}

impl States {
    fn of<'a>(runs: impl IntoIterator<Item = &'a Run>) -> Self {
        let mut states = Self::default();
        for run in runs {
            *match run.status() {
                Some(Status::Finished) => &mut states.finished,
                Some(Status::Diverged { .. }) => &mut states.diverged,
                Some(Status::Failed { .. }) => &mut states.failed,
                Some(Status::Interrupted) => &mut states.interrupted,
                Some(Status::Running) => &mut states.running,
                None => &mut states.missing,
            } += 1;
        }
        states
    }

    /// All of them.
    pub fn total(&self) -> usize {
        self.named().iter().map(|(_, number)| number).sum()
    }

    /// Each state's word and number, in a fixed order.
    pub fn named(&self) -> [(&'static str, usize); 6] {
        [
            ("finished", self.finished),
            ("diverged", self.diverged),
            ("failed", self.failed),
            ("interrupted", self.interrupted),
            ("running", self.running),
            ("missing", self.missing),
        ]
    }
}

/// The widest gap between batch and moving statistics on validation: the same weights, the same examples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gap {
    /// The first step at which it is widest.
    pub step: u64,
    /// Mean by moving statistics there.
    pub moving: f64,
    /// Mean by batch statistics there.
    pub batch: f64,
    /// The first step from which it stays within [`CLOSED_GAP`] to the end.
    pub closed_from: Option<u64>,
}

impl Gap {
    /// How far apart, never negative.
    pub fn size(&self) -> f64 {
        (self.batch - self.moving).abs()
    }
}

impl Comparison {
    /// Compares the arms of an experiment.
    pub fn of(experiment: &Experiment) -> Self {
        let metric = metric_of(experiment);
        let statistics = experiment
            .target
            .as_ref()
            .map_or(Statistics::Moving, |target| target.statistics);
        let logged = |split: Split| {
            let mut rows = experiment.records().flat_map(|record| &record.rows);
            rows.any(|row| row.split == split && row.metric == metric)
        };
        let final_split = if logged(Split::Test) {
            Split::Test
        } else {
            Split::Validation
        };
        let mut comparison = Self {
            target: experiment.target.clone(),
            final_split,
            statistics,
            last_step: experiment
                .records()
                .flat_map(|record| &record.rows)
                .map(|row| row.step)
                .max(),
            rows: Vec::new(),
            metric,
        };
        comparison.rows = experiment
            .arms
            .iter()
            .map(|arm| comparison.row(arm))
            .collect();
        comparison
    }

    /// Whether less of the metric is more.
    pub fn lower_is_better(&self) -> bool {
        schema::lower_is_better(&self.metric)
    }

    /// The curve that the target is about, or validation's of the metric.
    pub fn watched(&self) -> Key {
        let split = self
            .target
            .as_ref()
            .map_or(Split::Validation, |target| target.split);
        Key::new(split, Some(self.statistics), &self.metric)
    }

    /// How all runs stand.
    pub fn states(&self) -> States {
        let mut all = States::default();
        for States {
            finished,
            diverged,
            failed,
            interrupted,
            running,
            missing,
        } in self.rows.iter().map(|row| row.states)
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
        let finals: Vec<(u64, Option<f64>)> = arm
            .runs
            .iter()
            .map(|run| (run.seed, final_value(run, &end)))
            .collect();
        let reached: Vec<(u64, Option<u64>)> = match &self.target {
            None => Vec::new(),
            Some(target) => {
                let begun = arm.runs.iter().filter(|run| run.record.is_some());
                begun
                    .map(|run| (run.seed, self.first_step(run, target)))
                    .collect()
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
                reached
                    .iter()
                    .filter_map(|(_, step)| step.map(|step| step as f64)),
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
            if self.lower_is_better() {
                value <= target.value
            } else {
                value >= target.value
            }
        };
        let curve = curve::curve_or_plain(run.rows(), &self.watched());
        curve
            .into_iter()
            .find(|(_, value)| value.is_some_and(met))
            .map(|(step, _)| step)
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

fn final_value(run: &Run, end: &Key) -> Option<f64> {
    matches!(run.status(), Some(Status::Finished)).then_some(())?;
    curve::curve_or_plain(run.rows(), end)
        .last_key_value()
        .and_then(|(_, value)| *value)
}

/// Both readings of the validation metric, each run's steps cut to those where it has both, so that means compare like with like.
pub fn paired_readings(arm: &Arm, metric: &str) -> Option<(Band, Band)> {
    let mut moving: Vec<Curve> = Vec::new();
    let mut batch: Vec<Curve> = Vec::new();
    for run in &arm.runs {
        let of = |statistics| {
            curve::curve(
                run.rows(),
                &Key::new(Split::Validation, Some(statistics), metric),
            )
        };
        let (mut by_moving, mut by_batch) = (of(Statistics::Moving), of(Statistics::Batch));
        let valued = |curve: &Curve, step: &u64| curve.get(step).copied().flatten().is_some();
        by_moving.retain(|step, value| value.is_some() && valued(&by_batch, step));
        by_batch.retain(|step, value| value.is_some() && valued(&by_moving, step));
        moving.push(by_moving);
        batch.push(by_batch);
    }
    let (moving, batch) = (curve::band(&moving), curve::band(&batch));
    (!moving.is_empty()).then_some((moving, batch))
}

fn gap(arm: &Arm, metric: &str) -> Option<Gap> {
    let (moving, batch) = paired_readings(arm, metric)?;
    let mut widest: Option<Gap> = None;
    let mut closed_from = None;
    for ((&step, moving), batch) in moving.iter().zip(batch.values()) {
        let here = Gap {
            step,
            moving: moving.mean?,
            batch: batch.mean?,
            closed_from: None,
        };
        if widest.is_none_or(|widest| here.size() > widest.size()) {
            widest = Some(here);
        }
        closed_from = if here.size() > CLOSED_GAP {
            None
        } else {
            closed_from.or(Some(step))
        };
    }
    widest.map(|widest| Gap {
        closed_from,
        ..widest
    })
}
