//! Laws of comparisons over drawn outcomes, with every kind of trouble in them.

use proptest::prelude::*;

use super::{Against, Decision, Outcome, Outcomes, Terms, compare};
use crate::schema::Direction;

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        8 => (0.0..1.0f64).prop_map(Outcome::Value),
        3 => (0..4i32).prop_map(|n| Outcome::Value(f64::from(n) / 4.0)),
        1 => prop::sample::select(vec![f64::MAX, f64::MIN, 1e-322, -1e-322]).prop_map(Outcome::Value),
        2 => Just(Outcome::Lost),
        1 => Just(Outcome::Absent),
    ]
}

fn outcomes() -> impl Strategy<Value = Outcomes> {
    prop::collection::btree_map(0u64..14, outcome(), 0..12)
        .prop_map(|map| map.into_iter().collect())
}

fn direction() -> impl Strategy<Value = Option<Direction>> {
    prop::sample::select(vec![None, Some(Direction::Higher), Some(Direction::Lower)])
}

fn one(arm: &Outcomes, baseline: &Outcomes, better: Option<Direction>) -> Against {
    compare(&[arm], baseline, Terms { better, ..Terms::default() }).remove(0)
}

/// What a decision says when the arms change places.
fn turned(decision: Decision) -> Decision {
    match decision {
        Decision::Higher => Decision::Lower,
        Decision::Lower => Decision::Higher,
        other => other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arms_that_change_places_change_the_verdict(a in outcomes(), b in outcomes(), better in direction()) {
        let (there, back) = (one(&a, &b, better), one(&b, &a, better));
        prop_assert_eq!(there.decision, turned(back.decision));
        prop_assert_eq!((there.n, there.p_value), (back.n, back.p_value));
        prop_assert_eq!(there.lost, (back.lost.1, back.lost.0));
    }

    #[test]
    fn an_arm_does_not_differ_from_itself(a in outcomes(), better in direction()) {
        let against = one(&a, &a, better);
        prop_assert!(!matches!(against.decision, Decision::Higher | Decision::Lower | Decision::NeedsSeeds(_)));
        prop_assert!(against.improvement.is_none_or(|chance| (chance - 0.5).abs() < 1e-12));
    }

    #[test]
    fn nothing_is_decided_below_the_seeds_that_a_test_needs(a in outcomes(), b in outcomes(), others in 0usize..4, better in direction()) {
        let arms = vec![&a; others + 1];
        for against in compare(&arms, &b, Terms { better, ..Terms::default() }) {
            let is_decided = matches!(against.decision, Decision::Higher | Decision::Lower);
            prop_assert!(!is_decided || against.n >= 6);
            prop_assert!(!is_decided || against.p_adjusted.is_some_and(|p| p <= 0.05));
            if let (Some(raw), Some(adjusted)) = (against.p_value, against.p_adjusted) {
                prop_assert!(raw <= adjusted);
            }
        }
    }

    #[test]
    fn a_run_that_diverges_never_helps_its_arm(a in outcomes(), b in outcomes(), at in 0usize..12, higher in any::<bool>()) {
        let better = Some(if higher { Direction::Higher } else { Direction::Lower });
        let before = one(&a, &b, better);
        let mut worse = a;
        if let Some((_, outcome)) = worse.get_mut(at).filter(|(_, outcome)| *outcome != Outcome::Absent) {
            *outcome = Outcome::Lost;
        }
        let after = one(&worse, &b, better);
        let is_better = after.decision.words(better) == "better";
        prop_assert!(!is_better || after.lost.0 <= after.lost.1, "{after:?}");
        if let (Some(before), Some(after)) = (before.improvement, after.improvement) {
            prop_assert!(after <= before + 1e-12);
        }
    }
}

#[test]
fn an_arm_of_survivors_is_not_better() {
    let baseline: Outcomes = (0..10).map(|seed| (seed, Outcome::Value(0.5))).collect();
    let survivors: Outcomes = (0..10)
        .map(|seed| (seed, if seed < 3 { Outcome::Value(0.99) } else { Outcome::Lost }))
        .collect();
    let against = one(&survivors, &baseline, Some(Direction::Higher));
    assert_eq!(against.lost, (7, 0));
    assert_ne!(against.decision.words(Some(Direction::Higher)), "better", "{against:?}");
    assert_eq!(against.improvement, Some(0.3));
}

#[test]
fn less_than_one_example_is_no_difference() {
    let values = |from: f64| -> Outcomes {
        (0..8u32)
            .map(|seed| (seed.into(), Outcome::Value(from + 0.001 * f64::from(seed % 3))))
            .collect()
    };
    let (a, b) = (values(0.9), values(0.9 + 0.4 / 270.0));
    let better = Some(Direction::Higher);
    let decision = |resolution| {
        let terms = Terms { better, resolution, ..Terms::default() };
        compare(&[&b], &a, terms)[0].decision
    };
    assert_eq!(decision(None), Decision::Higher);
    assert_eq!(decision(Some(1.0 / 270.0)), Decision::NoDetectableDifference);
}

#[test]
fn an_unclear_difference_says_how_many_seeds_it_needs() {
    let numbers = [0.02, -0.01, 0.03, 0.01, -0.02, 0.04, 0.0, 0.015];
    let arm: Outcomes = (0..).zip(numbers.map(|d| Outcome::Value(0.9 + d))).collect();
    let baseline: Outcomes = (0..8).map(|seed| (seed, Outcome::Value(0.9))).collect();
    let against = one(&arm, &baseline, Some(Direction::Higher));
    assert!(matches!(against.decision, Decision::NeedsSeeds(1..=24)), "{against:?}");
}
