//! The comparison: one row per arm, computed from what the runs logged and nothing else. Pure.
//!
//! Every run is counted by the state it is in. A mean says over how many runs it is; runs that diverged have no number and count
//! as worse than any, so an arm is never ranked by its survivors.

mod against;
mod alike;
mod claim;
mod gap;
#[cfg(test)]
mod laws;
mod outcome;
mod pairs;
mod scope;
mod states;
pub mod table;
mod times;
mod versions;

pub use self::against::{Against, Decision, Outcomes, SEEDS_FACTOR, Terms, compare, compare_pairs};
pub use self::alike::trained_alike;
pub use self::claim::{ClaimVerdict, Scorecard};
use self::claim::{of_arm, scorecard};
use self::gap::gap;
pub use self::gap::{Gap, paired_readings};
pub use self::outcome::{Measured, Outcome, area};
pub use self::pairs::{MOST_ARMS, PairRow};
pub use self::scope::Choice;
use self::scope::{baseline_of, examples, horizon, measured_every, metric_of, range};
pub use self::states::States;
pub use self::times::{Reached, Times};
use self::times::{arm_times, target_key};
pub use self::versions::{VersionRow, Versions};

use crate::curve::Key;
use crate::read::{Arm, Experiment};
use crate::schema::{
    Direction, Measure, MetricDefinition, Quantity, Split, Statistics, Status, Target,
};
use crate::stats::censored::Time;
use crate::stats::{Level, Summary};

/// A gap between two readings counts as closed within this share of the range that the metric's mean curves span.
pub const CLOSED_SHARE: f64 = 0.05;

/// One row per arm, and what the rows are about.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// What an arm has to reach, where the experiment has a target.
    pub target: Option<Target>,
    /// The metric that is compared: the one asked for, else the target's, else `accuracy`, `distance` or `loss`, else the first by name.
    pub metric: String,
    /// What that metric is.
    pub definition: MetricDefinition,
    /// The level of intervals.
    pub level: Level,
    /// Where the end is measured: on `test`, or on `validation` where nothing was logged on test.
    pub final_split: Split,
    /// The statistics that are read wherever the rows name any.
    pub statistics: Statistics,
    /// The arm that the others are compared with, by its place.
    pub baseline: usize,
    /// The last step that any run logged.
    pub last_step: Option<u64>,
    /// Steps to the target beyond this count as this where arms are compared: the last step that every run that finished was watched
    /// to.
    pub horizon: u64,
    /// The fewest steps between two values of the watched curve: how finely steps to the target are known.
    pub measured_every: Option<u64>,
    /// How many examples the final split has, where the runs say so.
    pub examples: Option<u64>,
    /// Within this a gap between two readings counts as closed.
    pub gap_tolerance: f64,
    /// Groups of arms (by their place) that trained alike to the last bit; see [`trained_alike`].
    pub trained_alike: Vec<Vec<usize>>,
    /// The experiment's claim, measured.
    pub claim: Option<Scorecard>,
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
    /// How many of its runs finished without a finite value at the end.
    pub without_value: usize,
    /// Per run, by seed: the metric at the end.
    pub finals: Outcomes,
    /// Summary of the numbers in `finals`.
    pub final_value: Summary,
    /// Per run: the best value of the watched curve.
    pub best: Summary,
    /// Per run: the mean of the watched curve over its steps.
    pub area: Summary,
    /// Per run that has begun: when the target was reached.
    pub reached: Vec<Reached>,
    /// When runs first met the target.
    pub first_touch: Times,
    /// When runs met the target for good.
    pub sustained: Times,
    /// How far the readings by moving and by batch statistics lie apart; none where only one was logged.
    pub gap: Option<Gap>,
    /// The metric on validation at the end, by each kind of statistics that was logged.
    pub readings: Vec<(Statistics, Summary)>,
    /// The final value against the baseline's; none for the baseline itself.
    pub final_against: Option<Against>,
    /// Steps to the target (sustained) against the baseline's; none for the baseline, or without a target.
    pub steps_against: Option<Against>,
}

impl Comparison {
    /// Compares the arms of an experiment.
    pub fn of(experiment: &Experiment) -> Self {
        Self::with(experiment, &Choice::default())
    }

    /// Compares the arms of an experiment, by what was asked for.
    pub fn with(experiment: &Experiment, choice: &Choice) -> Self {
        let metric = choice.metric.clone().unwrap_or_else(|| metric_of(experiment));
        let target = experiment.target.clone().filter(|target| target.metric == metric);
        let has_test = experiment.has(Split::Test, &metric);
        let final_split = if has_test { Split::Test } else { Split::Validation };
        let mut comparison = Self {
            statistics: target.as_ref().map_or(Statistics::Moving, |target| target.statistics),
            definition: experiment.metric(&metric),
            level: choice.level,
            final_split,
            baseline: baseline_of(experiment, choice),
            last_step: experiment.records().filter_map(|record| record.log.last_step()).max(),
            horizon: 0,
            measured_every: None,
            examples: examples(experiment, final_split),
            gap_tolerance: 0.0,
            trained_alike: trained_alike(experiment),
            claim: None,
            rows: Vec::new(),
            target,
            metric,
        };
        let watched = comparison.watched();
        comparison.horizon = horizon(experiment, &watched);
        comparison.measured_every = measured_every(experiment, &watched);
        comparison.gap_tolerance = CLOSED_SHARE * range(experiment, &watched);
        comparison.rows =
            experiment.arms.iter().map(|arm| comparison.row(experiment, arm)).collect();
        comparison.compare_with_baseline(experiment);
        comparison.claim = scorecard(experiment, &comparison);
        comparison
    }

    /// Whether less of the metric is better.
    pub fn lower_is_better(&self) -> bool {
        self.definition.better == Direction::Lower
    }

    /// The curve that the target is about, or validation's of the metric.
    pub fn watched(&self) -> Key {
        match &self.target {
            Some(target) => target_key(target),
            None => Key::new(Split::Validation, Some(self.statistics), &self.metric),
        }
    }

    /// How all runs stand.
    pub fn states(&self) -> States {
        self.rows.iter().map(|row| row.states).fold(States::default(), States::plus)
    }

    /// The least difference of final values that stands for anything: one example, where the metric is a share of known examples.
    pub fn resolution(&self) -> Option<f64> {
        let examples = self.examples.filter(|_| self.definition.is_share())?;
        // A hair less than one example, so that a difference of one example is not lost to rounding.
        Some((1.0 - 1e-9) / examples as f64)
    }

    /// How far a mean like this would scatter over other final splits of the same size, where the metric is a share of known
    /// examples.
    pub fn binomial_sd(&self, mean: f64) -> Option<f64> {
        let examples = self.examples.filter(|_| self.definition.is_share())?;
        crate::stats::binomial_sd(mean, examples)
    }

    fn row(&self, experiment: &Experiment, arm: &Arm) -> ArmRow {
        let measured = |measure: &Measure| {
            of_arm(&Measured { experiment, measure, horizon: self.horizon }, arm)
        };
        let watched = self.watched();
        let watched =
            Quantity { metric: watched.metric, split: watched.split, statistics: self.statistics };
        let summary = |outcomes: &Outcomes| {
            Summary::at(self.level, outcomes.iter().filter_map(|(_, outcome)| outcome.value()))
        };
        let finals = measured(&self.final_measure());
        let reached = match &self.target {
            Some(_) => arm_times(experiment, arm, self.last_step.unwrap_or(0)),
            None => Vec::new(),
        };
        let times = |time: fn(&Reached) -> (u64, Time, Option<u64>)| {
            Times::of(&reached.iter().map(time).collect::<Vec<_>>())
        };
        let is_finished = |seed: u64| {
            arm.runs.iter().any(|run| run.seed == seed && run.status() == Some(&Status::Finished))
        };
        ArmRow {
            name: arm.name.clone(),
            slug: arm.slug.clone(),
            states: States::of(&arm.runs),
            without_value: finals
                .iter()
                .filter(|(seed, outcome)| *outcome == Outcome::Lost && is_finished(*seed))
                .count(),
            final_value: summary(&finals),
            finals,
            best: summary(&measured(&Measure::Best(watched.clone()))),
            area: summary(&measured(&Measure::Area(watched))),
            first_touch: times(|run| (run.seed, run.first_touch, run.touched_after)),
            sustained: times(|run| (run.seed, run.sustained, run.sustained_after)),
            reached,
            gap: gap(arm, &self.metric, self.gap_tolerance),
            readings: self.readings(experiment, arm),
            final_against: None,
            steps_against: None,
        }
    }

    /// The metric on validation at the end, by each kind of statistics.
    fn readings(&self, experiment: &Experiment, arm: &Arm) -> Vec<(Statistics, Summary)> {
        let keys = experiment.keys().into_iter();
        let keys = keys.filter(|key| key.split == Split::Validation && key.metric == self.metric);
        let mut readings = Vec::new();
        for statistics in keys.filter_map(|key| key.statistics) {
            let finished = arm.runs.iter().filter(|run| run.status() == Some(&Status::Finished));
            let key = Key::new(Split::Validation, Some(statistics), &self.metric);
            let last = |log: &crate::read::Log<Key>| log.get(&key)?.last()?.1;
            let values = finished.filter_map(|run| last(&run.record()?.log));
            let summary = Summary::at(self.level, values);
            if summary.n > 0 {
                readings.push((statistics, summary));
            }
        }
        readings
    }

    fn final_measure(&self) -> Measure {
        Measure::Final(Quantity {
            metric: self.metric.clone(),
            split: self.final_split,
            statistics: self.statistics,
        })
    }

    fn compare_with_baseline(&mut self, experiment: &Experiment) {
        let others: Vec<usize> = (0..self.rows.len()).filter(|&i| i != self.baseline).collect();
        let Some(baseline) = self.rows.get(self.baseline) else { return };
        let finals: Vec<&Outcomes> = others.iter().map(|&index| &self.rows[index].finals).collect();
        let better = Some(self.definition.better);
        let (resolution, level) = (self.resolution(), self.level);
        let finals = compare(&finals, &baseline.finals, Terms { better, resolution, level });
        let steps = self.target.is_some().then(|| {
            let measure = Measure::StepsToTarget;
            let measured = Measured { experiment, measure: &measure, horizon: self.horizon };
            let of = |index: usize| of_arm(&measured, &experiment.arms[index]);
            let arms: Vec<Outcomes> = others.iter().map(|&index| of(index)).collect();
            let arms: Vec<&Outcomes> = arms.iter().collect();
            let better = Some(Direction::Lower);
            compare(&arms, &of(self.baseline), Terms { better, resolution: None, level })
        });
        for (&index, against) in others.iter().zip(finals) {
            self.rows[index].final_against = Some(against);
        }
        for (&index, against) in others.iter().zip(steps.into_iter().flatten()) {
            self.rows[index].steps_against = Some(against);
        }
    }
}
