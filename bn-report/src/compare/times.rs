//! When runs reach the target: for the first time, and for good. Pure.

use crate::curve::Curve;
use crate::read::{Arm, Experiment, Key, Run};
use crate::schema::{Direction, Status, Target};
use crate::stats::censored::{self, Time};

/// When one run reached the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// Seed of the run.
    pub seed: u64,
    /// The first measured step at which the target was met.
    pub first_touch: Time,
    /// The first measured step from which the target was met at every measurement to the end.
    pub sustained: Time,
    /// The measured step before `first_touch`, where the target was not met: it was first reached between the two. None where it
    /// was met at the first measurement, or never.
    pub not_yet: Option<u64>,
}

/// When the runs of an arm reached the target, by one of the two definitions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Times {
    /// By seed. Runs that have begun; a run that diverged never reaches the target.
    pub runs: Vec<(u64, Time)>,
    /// Median by Kaplan-Meier, runs that go on or stopped early being censored; none where half of the runs or fewer got there.
    pub median: Option<u64>,
    /// How many runs reached it.
    pub reached: usize,
}

impl Times {
    pub(super) fn of(runs: Vec<(u64, Time)>) -> Self {
        let times: Vec<Time> = runs.iter().map(|(_, time)| *time).collect();
        Self {
            median: censored::median(&times),
            reached: times.iter().filter(|time| matches!(time, Time::At(_))).count(),
            runs,
        }
    }

    /// The longest that any run was watched; none without a run.
    pub fn watched_to(&self) -> Option<u64> {
        self.runs.iter().map(|(_, time)| time.step()).max()
    }
}

/// The key of the curve that a target is about.
pub(super) fn target_key(target: &Target) -> Key {
    Key::new(target.split, Some(target.statistics), &target.metric)
}

/// When a run reached the experiment's target; none without a target, or where the run logged nothing of it.
pub(super) fn reached(experiment: &Experiment, run: &Run) -> Option<Reached> {
    let target = experiment.target.as_ref()?;
    let curve = run.series(&target_key(target))?;
    let better = experiment.better(&target.metric);
    let mut reached = times(curve, target.value, better)?;
    if matches!(run.status(), Some(Status::Diverged { .. })) {
        // Not lost from sight: it will never get there, however long the others were watched.
        let never = Time::After(u64::MAX);
        reached.sustained = never;
        if matches!(reached.first_touch, Time::After(_)) {
            reached.first_touch = never;
        }
    }
    Some(Reached { seed: run.seed, ..reached })
}

fn times(curve: &Curve, target: f64, better: Direction) -> Option<Reached> {
    let (last, _) = curve.last()?;
    let mut first_touch = Time::After(last);
    let mut sustained = Time::After(last);
    let (mut not_yet, mut before) = (None, None);
    for (step, value) in curve.iter() {
        let is_met = value.is_some_and(|value| better.meets(value, target));
        if is_met && matches!(first_touch, Time::After(_)) {
            first_touch = Time::At(step);
            not_yet = before;
        }
        sustained = match (is_met, sustained) {
            (true, Time::After(_)) => Time::At(step),
            (true, at) => at,
            (false, _) => Time::After(last),
        };
        before = Some(step);
    }
    Some(Reached { seed: 0, first_touch, sustained, not_yet })
}

/// When each run of an arm that has begun reached the target. A run that diverged is watched as long as the longest run.
pub(super) fn arm_times(experiment: &Experiment, arm: &Arm, longest: u64) -> Vec<Reached> {
    let cut = |time: Time| match time {
        Time::After(u64::MAX) => Time::After(longest),
        time => time,
    };
    arm.runs
        .iter()
        .filter_map(|run| reached(experiment, run))
        .map(|run| Reached {
            first_touch: cut(run.first_touch),
            sustained: cut(run.sustained),
            ..run
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(values: &[f64]) -> Curve {
        values.iter().enumerate().map(|(index, &value)| (10 * index as u64, Some(value))).collect()
    }

    #[test]
    fn a_target_that_is_lost_again_is_touched_but_not_sustained() {
        let reached = times(&curve(&[0.1, 0.95, 0.8, 0.91, 0.97]), 0.9, Direction::Higher).unwrap();
        assert_eq!(
            (reached.first_touch, reached.sustained, reached.not_yet),
            (Time::At(10), Time::At(30), Some(0))
        );
        let reached = times(&curve(&[0.1, 0.95, 0.8]), 0.9, Direction::Higher).unwrap();
        assert_eq!((reached.first_touch, reached.sustained), (Time::At(10), Time::After(20)));
        let reached = times(&curve(&[0.95, 0.96]), 0.9, Direction::Higher).unwrap();
        assert_eq!((reached.sustained, reached.not_yet), (Time::At(0), None));
        let reached = times(&curve(&[0.5, 0.2]), 0.3, Direction::Lower).unwrap();
        assert_eq!((reached.first_touch, reached.not_yet), (Time::At(10), Some(0)));
        assert_eq!(times(&Curve::default(), 0.9, Direction::Higher), None);
    }

    #[test]
    fn an_absent_value_does_not_meet_the_target() {
        let rows = [(0, Some(0.95)), (10, None), (20, Some(0.95))];
        let reached = times(&rows.into_iter().collect(), 0.9, Direction::Higher).unwrap();
        assert_eq!((reached.first_touch, reached.sustained), (Time::At(0), Time::At(20)));
    }

    #[test]
    fn the_median_needs_half_of_the_runs() {
        let times = Times::of(vec![(0, Time::At(10)), (1, Time::After(50)), (2, Time::After(50))]);
        assert_eq!((times.median, times.reached, times.watched_to()), (None, 1, Some(50)));
        let times = Times::of(vec![(0, Time::At(10)), (1, Time::After(50))]);
        assert_eq!(times.median, Some(10));
    }
}
