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
    pub touched_after: Option<u64>,
    /// The same of `sustained`.
    pub sustained_after: Option<u64>,
}

/// When the runs of an arm reached the target, by one of the two definitions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Times {
    /// By seed. Runs that have begun; a run that diverged never reaches the target.
    pub runs: Vec<(u64, Time)>,
    /// Of each of the runs: the measured step before it reached the target, where there is one.
    pub after: Vec<Option<u64>>,
    /// Median by Kaplan-Meier, runs that go on or stopped early being censored; none where half of the runs or fewer got there.
    pub median: Option<u64>,
    /// What the true median is above, since every run got there after the measurement before; none where that is not known.
    pub median_after: Option<u64>,
    /// How many runs reached it.
    pub reached: usize,
}

impl Times {
    /// From seed, time, and the measured step before.
    pub(crate) fn of(all: &[(u64, Time, Option<u64>)]) -> Self {
        let times: Vec<Time> = all.iter().map(|(_, time, _)| *time).collect();
        let earliest = |&(_, time, after): &(u64, Time, Option<u64>)| match (time, after) {
            (Time::At(_), Some(after)) => Time::At(after),
            _ => time,
        };
        let earliest: Vec<Time> = all.iter().map(earliest).collect();
        let median = censored::median(&times);
        Self {
            median,
            median_after: censored::median(&earliest).filter(|after| Some(*after) < median),
            reached: times.iter().filter(|time| matches!(time, Time::At(_))).count(),
            runs: all.iter().map(|(seed, time, _)| (*seed, *time)).collect(),
            after: all.iter().map(|(_, _, after)| *after).collect(),
        }
    }

    /// When the run of a seed reached the target, and the measured step before; none where the run has not begun.
    pub fn of_seed(&self, seed: u64) -> Option<(Time, Option<u64>)> {
        let place = self.runs.iter().position(|(other, _)| *other == seed)?;
        Some((self.runs[place].1, self.after[place]))
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
        reached.sustained_after = None;
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
    let (mut touched_after, mut sustained_after, mut before) = (None, None, None);
    for (step, value) in curve.iter() {
        let is_met = value.is_some_and(|value| better.meets(value, target));
        if is_met && matches!(first_touch, Time::After(_)) {
            first_touch = Time::At(step);
            touched_after = before;
        }
        (sustained, sustained_after) = match (is_met, sustained) {
            (true, Time::After(_)) => (Time::At(step), before),
            (true, at) => (at, sustained_after),
            (false, _) => (Time::After(last), None),
        };
        before = Some(step);
    }
    Some(Reached { seed: 0, first_touch, sustained, touched_after, sustained_after })
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
            (
                reached.first_touch,
                reached.sustained,
                reached.touched_after,
                reached.sustained_after
            ),
            (Time::At(10), Time::At(30), Some(0), Some(20))
        );
        let reached = times(&curve(&[0.1, 0.95, 0.8]), 0.9, Direction::Higher).unwrap();
        assert_eq!((reached.first_touch, reached.sustained), (Time::At(10), Time::After(20)));
        assert_eq!((reached.touched_after, reached.sustained_after), (Some(0), None));
        let reached = times(&curve(&[0.95, 0.96]), 0.9, Direction::Higher).unwrap();
        assert_eq!((reached.sustained, reached.sustained_after), (Time::At(0), None));
        let reached = times(&curve(&[0.5, 0.2]), 0.3, Direction::Lower).unwrap();
        assert_eq!((reached.first_touch, reached.touched_after), (Time::At(10), Some(0)));
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
        let late = |seed| (seed, Time::After(50), None);
        let times = Times::of(&[(0, Time::At(10), Some(5)), late(1), late(2)]);
        assert_eq!((times.median, times.reached, times.watched_to()), (None, 1, Some(50)));
        assert_eq!(times.median_after, None);
        let times = Times::of(&[(0, Time::At(10), Some(5)), late(1)]);
        assert_eq!((times.median, times.median_after), (Some(10), Some(5)));
        assert_eq!(times.of_seed(1), Some((Time::After(50), None)));
    }

    #[test]
    fn the_median_lies_above_the_median_of_the_measurements_before() {
        let at = |seed, step, after| (seed, Time::At(step), after);
        let times = Times::of(&[at(0, 20, Some(10)), at(1, 40, Some(30)), at(2, 50, Some(45))]);
        assert_eq!((times.median, times.median_after), (Some(40), Some(30)));
        // Met at the first measurement: nothing is known of before.
        let times = Times::of(&[at(0, 20, None), at(1, 20, None), at(2, 50, Some(45))]);
        assert_eq!((times.median, times.median_after), (Some(20), None));
    }
}
