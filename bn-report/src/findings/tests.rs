//! Each kind of headline, from rows made by hand.

use super::*;
use crate::compare::ArmRow;
use crate::compare::{Outcome, Reached, States, Terms, Times, compare};
use crate::schema::{Direction, MetricDefinition, Split, Statistics, Target};
use crate::stats::censored::{Time, median};
use crate::stats::{Level, Summary};

/// An arm whose runs reach the target for good at these steps and end at these values; none diverged.
fn arm(name: &str, reached: &[Option<u64>], finals: &[Option<f64>]) -> ArmRow {
    let time = |step: &Option<u64>| step.map_or(Time::After(1500), Time::At);
    let runs: Vec<(u64, Time)> = (0..).zip(reached.iter().map(time)).collect();
    let times: Vec<Time> = runs.iter().map(|(_, time)| *time).collect();
    let sustained = Times {
        median: median(&times),
        median_after: None,
        reached: reached.iter().flatten().count(),
        runs: runs.clone(),
        after: vec![None; runs.len()],
    };
    let diverged = finals.iter().filter(|value| value.is_none()).count();
    let all = reached.len().max(finals.len());
    ArmRow {
        name: name.to_owned(),
        slug: name.to_owned(),
        states: States { finished: all - diverged, diverged, ..States::default() },
        without_value: 0,
        finals: (0..)
            .zip(finals.iter().map(|value| value.map_or(Outcome::Lost, Outcome::Value)))
            .collect(),
        final_value: Summary::of(finals.iter().copied().flatten()),
        best: Summary::default(),
        area: Summary::default(),
        reached: runs
            .iter()
            .map(|&(seed, time)| Reached {
                seed,
                first_touch: time,
                sustained: time,
                touched_after: None,
                sustained_after: None,
            })
            .collect(),
        first_touch: sustained.clone(),
        sustained,
        gap: None,
        readings: Vec::new(),
        final_against: None,
        steps_against: None,
    }
}

fn terms(better: Direction) -> Terms {
    Terms { better: Some(better), ..Terms::default() }
}

fn comparison(metric: &str, target: Option<f64>, mut rows: Vec<ArmRow>) -> Comparison {
    let definition = MetricDefinition::by_name(metric);
    if let Some((first, others)) = rows.split_first_mut() {
        let finals: Vec<_> = others.iter().map(|row| &row.finals).collect();
        let finals = compare(&finals, &first.finals, terms(definition.better));
        let steps = |row: &ArmRow| {
            let step = |time: &Time| Outcome::Value(time.step() as f64);
            row.sustained.runs.iter().map(|(seed, time)| (*seed, step(time))).collect::<Vec<_>>()
        };
        let all: Vec<_> = others.iter().map(steps).collect();
        let all: Vec<_> = all.iter().collect();
        let steps = compare(&all, &steps(first), terms(Direction::Lower));
        for ((row, finals), steps) in others.iter_mut().zip(finals).zip(steps) {
            row.final_against = Some(finals);
            row.steps_against = Some(steps);
        }
    }
    Comparison {
        target: target.map(|value| Target {
            metric: metric.to_owned(),
            value,
            split: Split::Validation,
            statistics: Statistics::Moving,
        }),
        metric: metric.to_owned(),
        definition,
        level: Level::default(),
        final_split: Split::Test,
        statistics: Statistics::Moving,
        baseline: 0,
        last_step: Some(1500),
        horizon: 1500,
        measured_every: Some(50),
        examples: None,
        gap_tolerance: 0.05,
        trained_alike: Vec::new(),
        claim: None,
        rows,
    }
}

fn sentences(comparison: &Comparison) -> (String, Vec<String>) {
    let findings = Findings::of(comparison);
    (findings.headline.plain(), findings.others.iter().map(Sentence::plain).collect())
}

fn all<T: Copy>(value: T, n: usize) -> Vec<Option<T>> {
    vec![Some(value); n]
}

#[test]
fn arms_are_grouped_by_what_the_test_decides_against_the_baseline() {
    let slow: Vec<Option<u64>> = (0..8).map(|seed| Some(1000 + 10 * seed)).collect();
    let rows = vec![
        arm("a", &slow, &[]),
        arm("b", &all(50, 8), &[]),
        arm("c", &all(25, 8), &[]),
        arm("d", &slow, &[]),
    ];
    let (headline, _) = sentences(&comparison("accuracy", Some(0.9), rows));
    assert_eq!(
        headline,
        "Steps to validation accuracy 0.9 for good (median): against \"a\" (1,030), better: \"c\" (25), \"b\" (50); \
         no detectable difference: \"d\" (1,030)."
    );
}

#[test]
fn with_few_seeds_nothing_is_decided_and_numbers_are_given() {
    let rows = vec![arm("a", &all(500, 5), &[]), arm("b", &all(50, 5), &[])];
    let (headline, _) = sentences(&comparison("accuracy", Some(0.9), rows));
    assert_eq!(
        headline,
        "Steps to validation accuracy 0.9 for good (median): against \"a\" (500), a test cannot decide below 6 seeds: \
         \"b\" (50, ahead in 5 of 5 seeds)."
    );
    let rows = vec![arm("a", &all(500, 1), &[]), arm("b", &all(50, 1), &[])];
    let (headline, _) = sentences(&comparison("accuracy", Some(0.9), rows));
    assert_eq!(
        headline,
        "Steps to validation accuracy 0.9 for good (median): against \"a\" (500), no comparison with one seed: \"b\" (50)."
    );
}

#[test]
fn a_target_that_is_rarely_reached_has_no_median() {
    let rows = vec![arm("a", &[Some(9), None, None], &[]), arm("b", &[None, None, None], &[])];
    let (headline, _) = sentences(&comparison("accuracy", Some(0.9), rows));
    assert!(
        headline.contains("against \"a\" (> 1,500)") && headline.contains("\"b\" (> 1,500"),
        "{headline}"
    );
}

#[test]
fn survivors_of_an_arm_that_diverges_win_nothing() {
    let baseline: Vec<Option<f64>> =
        (0..8).map(|seed| Some(0.9 + 0.001 * f64::from(seed))).collect();
    let mut survivors = all(0.99, 8);
    for value in &mut survivors[..7] {
        *value = None;
    }
    let rows = vec![arm("a", &[], &baseline), arm("b", &[], &survivors)];
    let (headline, others) = sentences(&comparison("accuracy", None, rows));
    assert_eq!(
        headline,
        "Final test accuracy: against \"a\" (0.903 \u{b1} 0.002), worse: \"b\" (0.990, diverged on 7 of 8 seeds)."
    );
    assert_eq!(others, ["Of 16 runs: 9 finished, 7 diverged. Diverged: \"b\" 7 of 8."]);
}

#[test]
fn a_baseline_that_always_diverged_is_told_as_that() {
    let values: Vec<Option<f64>> = (0..8).map(|seed| Some(0.9 + 0.001 * f64::from(seed))).collect();
    let rows =
        || vec![arm("a", &[], &[None; 8]), arm("b", &[], &values), arm("c", &[], &[None; 8])];
    let (headline, _) = sentences(&comparison("accuracy", None, rows()));
    assert_eq!(
        headline,
        "Final test accuracy: against \"a\" (diverged on 8 of 8 seeds), better: \"b\" (0.903 \u{b1} 0.002); no detectable \
         difference: \"c\" (diverged on 8 of 8 seeds)."
    );
    let few = vec![arm("a", &[], &[None; 3]), arm("b", &[], &values[..3])];
    let (headline, _) = sentences(&comparison("accuracy", None, few));
    assert!(headline.ends_with("\"b\" (0.901 \u{b1} 0.001, ahead in 3 of 3 seeds)."), "{headline}");
    let lost = vec![arm("a", &[], &[None; 3]), arm("b", &[], &[None; 3])];
    let (headline, _) = sentences(&comparison("accuracy", None, lost));
    assert!(headline.contains("against \"a\" (diverged on 3 of 3 seeds)"), "{headline}");
}

#[test]
fn less_loss_is_better() {
    let values =
        |from: f64| (0..6).map(|seed| Some(from + 0.002 * f64::from(seed))).collect::<Vec<_>>();
    let rows = vec![arm("a", &[], &values(0.5)), arm("b", &[], &values(0.2))];
    let (headline, _) = sentences(&comparison("loss", None, rows));
    assert!(headline.contains("better: \"b\" (0.205 \u{b1} 0.004)"), "{headline}");
    let (headline, _) = sentences(&comparison("loss", None, Vec::new()));
    assert_eq!(headline, "No run has logged a value to compare yet.");
}

#[test]
fn one_arm_is_told_without_a_comparison() {
    let rows = vec![arm("a", &[], &all(0.5, 3))];
    let (headline, _) = sentences(&comparison("accuracy", None, rows));
    assert_eq!(headline, "Final test accuracy, \"a\": 0.500 \u{b1} 0 (3 runs).");
}

#[test]
fn a_gap_has_a_sign_and_closes_within_the_tolerance() {
    let gap = |moving, batch| Some(Gap { step: 50, moving, batch, closed_from: None });
    let rows = vec![ArmRow { gap: gap(0.90, 0.91), ..arm("a", &[], &[]) }];
    let (headline, _) = sentences(&comparison("accuracy", None, rows));
    assert_eq!(
        headline,
        "Moving and batch statistics read the same weights alike: validation accuracy differs by at most 0.010."
    );
    let rows = vec![
        ArmRow { gap: gap(0.90, 0.91), ..arm("a", &[], &[]) },
        ArmRow { gap: gap(0.18, 0.93), ..arm("b", &[], &[]) },
        ArmRow { gap: gap(0.40, 0.93), ..arm("c", &[], &[]) },
    ];
    let (headline, _) = sentences(&comparison("accuracy", None, rows));
    assert_eq!(
        headline,
        "The same weights under two sets of statistics: at step 50 \"b\" has validation accuracy 0.18 by moving statistics \
         and 0.93 by batch statistics, a gap of -0.75; \"c\" differs by up to 0.53; \"a\" never by more than 0.01."
    );
}
