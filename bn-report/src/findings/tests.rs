//! Each kind of headline, from rows made by hand.

use super::*;
use crate::compare::States;
use crate::schema::{Split, Statistics, Target};
use crate::stats::Summary;

/// An arm whose runs reach the target at these steps and end at these values.
fn arm(name: &str, reached: &[Option<u64>], finals: &[f64]) -> ArmRow {
    let reached: Vec<(u64, Option<u64>)> = (0..).zip(reached.iter().copied()).collect();
    ArmRow {
        name: name.to_owned(),
        slug: name.to_owned(),
        states: States { finished: reached.len().max(finals.len()), ..States::default() },
        finals: (0..).zip(finals.iter().copied().map(Some)).collect(),
        final_value: Summary::of(finals.iter().copied()),
        steps_to_target: Summary::of(
            reached.iter().filter_map(|(_, step)| step.map(|step| step as f64)),
        ),
        reached,
        best: finals.iter().copied().reduce(f64::max),
        gap: None,
    }
}

fn comparison(metric: &str, target: Option<f64>, rows: Vec<ArmRow>) -> Comparison {
    Comparison {
        target: target.map(|value| Target {
            metric: metric.to_owned(),
            value,
            split: Split::Validation,
            statistics: Statistics::Moving,
        }),
        metric: metric.to_owned(),
        final_split: Split::Test,
        statistics: Statistics::Moving,
        last_step: Some(1500),
        measured_every: Some(50),
        trained_alike: Vec::new(),
        rows,
    }
}

fn sentences(comparison: &Comparison) -> (String, Vec<String>) {
    let findings = Findings::of(comparison);
    (findings.headline.plain(), findings.others.iter().map(Sentence::plain).collect())
}

#[test]
fn the_first_is_measured_against_the_slowest_and_the_rest_is_named() {
    let rows = vec![
        arm("a", &[Some(400), Some(600)], &[0.5, 0.6]),
        arm("b", &[Some(50), Some(50)], &[0.95, 0.97]),
        arm("c", &[None, Some(100)], &[0.96, 0.955]),
        arm("d", &[None, None], &[]),
    ];
    let (headline, others) = sentences(&comparison("accuracy", Some(0.9), rows));
    assert_eq!(
        headline,
        "\"b\" reaches validation accuracy 0.9 first, after 50 steps (mean of 2 runs), 10 times sooner than \"a\" (500); \
         \"c\" reaches it in 1 of 2 runs; \"d\" never does."
    );
    assert_eq!(
        others[0],
        "\"b\" ends best, at test accuracy 0.960 \u{b1} 0.014 (2 runs); within 0.01 of it: \"c\"; \
         lowest ends \"a\", at 0.550 \u{b1} 0.071."
    );
}

#[test]
fn ties_are_told_as_ties() {
    let rows = vec![arm("a", &[Some(50)], &[]), arm("b", &[Some(50)], &[])];
    let (headline, _) = sentences(&comparison("accuracy", Some(0.9), rows));
    assert_eq!(headline, "\"a\" and \"b\" reach validation accuracy 0.9 after 50 steps.");
    let rows = vec![arm("a", &[Some(100)], &[]), arm("b", &[Some(102)], &[])];
    let (headline, _) = sentences(&comparison("accuracy", Some(0.9), rows));
    assert_eq!(
        headline,
        "\"a\" reaches validation accuracy 0.9 first, after 100 steps, closely before \"b\" (102)."
    );
}

#[test]
fn a_target_that_nobody_reaches() {
    let rows = vec![arm("a", &[None, None], &[0.4, 0.4]), arm("b", &[None, None], &[0.6, 0.6])];
    let (headline, _) = sentences(&comparison("accuracy", Some(0.9), rows));
    assert_eq!(
        headline,
        "No arm reaches validation accuracy 0.9 within 1,500 steps; closest comes \"b\" with 0.600."
    );
    let rows = vec![arm("a", &[None, Some(9)], &[]), arm("b", &[None, None], &[])];
    let (headline, _) = sentences(&comparison("accuracy", Some(0.9), rows));
    assert_eq!(
        headline,
        "No arm reaches validation accuracy 0.9 in every run; \"a\" does most often, in 1 of 2."
    );
}

#[test]
fn without_a_target_the_end_decides_and_less_loss_is_better() {
    let rows = vec![arm("a", &[], &[0.5]), arm("b", &[], &[0.2])];
    let (headline, others) = sentences(&comparison("loss", None, rows));
    assert_eq!(
        headline,
        "\"b\" ends best, at test loss 0.200 (1 run); highest ends \"a\", at 0.500."
    );
    assert_eq!(others, ["All 2 runs finished."]);
    let (headline, _) = sentences(&comparison("loss", None, Vec::new()));
    assert_eq!(headline, "No run has logged a value to compare yet.");
}

#[test]
fn readings_that_agree_are_said_to_agree() {
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
        "The same weights, read twice: at step 50 \"b\" has validation accuracy 0.18 by moving statistics and 0.93 by batch \
         statistics, a gap of 0.75; \"c\" differs by up to 0.53; \"a\" never by more than 0.01."
    );
}
