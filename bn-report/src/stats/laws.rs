//! Laws of the statistics over drawn samples, with every kind of trouble in them.

use proptest::prelude::*;

use super::censored::{self, Time};
use super::power::{pairs_needed, pairs_to_decide};
use super::*;

/// Any finite number: ordinary ones, ties, subnormal and huge ones.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => -1.0..1.0f64,
        2 => (0..5i32).prop_map(|n| f64::from(n) / 10.0),
        1 => any::<f64>().prop_filter("finite", |value| value.is_finite()),
        1 => prop::sample::select(vec![
            0.0, -0.0, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, -5e-324, 1e308, -1e308, 1e-322,
        ]),
    ]
}

fn sample(most: usize) -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(number(), 0..most)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_value_that_exists_is_finite_and_within_the_sample(values in sample(12)) {
        let summary = Summary::of(values.iter().copied());
        prop_assert_eq!(summary.n, values.len());
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        prop_assert_eq!(summary.mean.is_some(), !values.is_empty());
        for middle in [summary.mean, summary.median, summary.iqm].into_iter().flatten() {
            prop_assert!(low <= middle && middle <= high, "{middle} is not within {low} and {high}");
        }
        prop_assert_eq!(summary.interval.is_some(), values.len() > 1);
        if let Some(Interval { low: from, high: to }) = summary.interval {
            // Means of resamples are rounded.
            let slack = 1e-12 * low.abs().max(high.abs());
            prop_assert!(from.is_finite() && to.is_finite() && from <= to);
            prop_assert!(low - slack <= from && to <= high + slack, "{from} {to} of {values:?}");
        }
        if let Some(sd) = summary.sd {
            prop_assert!(sd.is_finite() && sd >= 0.0);
        }
    }

    #[test]
    fn equal_values_have_no_spread(value in number(), n in 2usize..20) {
        let summary = Summary::of(vec![value; n]);
        prop_assert_eq!((summary.mean, summary.sd), (Some(value), Some(0.0)));
        prop_assert_eq!(summary.interval, Some(Interval { low: value, high: value }));
        prop_assert_eq!((summary.median, summary.iqm), (Some(value), Some(value)));
    }

    #[test]
    fn spread_equals_the_pairwise_form(values in prop::collection::vec(-1e3..1e3f64, 2..9), shift in -1e3..1e3f64) {
        let summary = Summary::of(values.iter().copied());
        let mut pairs = 0.0;
        for (i, x) in values.iter().enumerate() {
            pairs += values[..i].iter().map(|y| (x - y).powi(2)).sum::<f64>();
        }
        let n = values.len() as f64;
        let sd = summary.sd.expect("two values or more");
        prop_assert!((sd - (pairs / (n * (n - 1.0))).sqrt()).abs() < 1e-9);
        let shifted = Summary::of(values.iter().map(|value| value + shift));
        prop_assert!((shifted.sd.expect("as many values") - sd).abs() < 1e-9);
        prop_assert!((shifted.mean.expect("a mean") - summary.mean.expect("a mean") - shift).abs() < 1e-9);
    }

    #[test]
    fn scaling_by_a_power_of_two_scales_everything(values in prop::collection::vec(-1.0..1.0f64, 2..9), power in -900i32..900) {
        let factor = 2f64.powi(power);
        let (plain, scaled) = (Summary::of(values.iter().copied()), Summary::of(values.iter().map(|v| v * factor)));
        let by = |value: Option<f64>| value.map(|value| value * factor);
        prop_assert_eq!(by(plain.mean), scaled.mean);
        prop_assert_eq!(by(plain.sd), scaled.sd);
        let interval = plain.interval.expect("two values");
        let want = Interval { low: interval.low * factor, high: interval.high * factor };
        prop_assert_eq!(scaled.interval, Some(want));
    }

    #[test]
    fn what_is_not_finite_is_left_out(values in sample(6), at in 0usize..6) {
        let mut spoiled = values.clone();
        let at = at.min(values.len());
        spoiled.splice(at..at, [f64::NAN, f64::INFINITY, f64::NEG_INFINITY]);
        prop_assert_eq!(Summary::of(spoiled), Summary::of(values));
    }

    #[test]
    fn a_sign_flip_test_knows_no_order_sign_or_scale(differences in prop::collection::vec(number(), 1..10)) {
        let p = sign_flip(&differences).expect("differences");
        let n = differences.len() as i32;
        prop_assert!(p <= 1.0 && p >= 2f64.powi(1 - n).min(1.0), "{p}");
        let negated: Vec<f64> = differences.iter().map(|difference| -difference).collect();
        prop_assert_eq!(sign_flip(&negated), Some(p));
    }

    #[test]
    fn drawn_and_counted_patterns_agree(differences in prop::collection::vec(-1.0..1.5f64, 16..=16)) {
        let exact = sign_flip(&differences).expect("differences");
        // A 17th difference of 0 changes no sum, and makes the patterns too many to count.
        let drawn = sign_flip(&[&differences[..], &[0.0]].concat()).expect("differences");
        // Five standard deviations of a share of 9,999 draws, and the +1.
        let slack = 5.0 * (exact * (1.0 - exact) / PERMUTATIONS as f64).sqrt() + 2e-4;
        prop_assert!((exact - drawn).abs() <= slack, "{exact} and {drawn}");
    }

    #[test]
    fn improvement_is_antisymmetric(a in sample(8), b in sample(8), lost in any::<bool>()) {
        let mut a = a;
        a.extend(lost.then_some(f64::NEG_INFINITY));
        match (probability_of_improvement(&a, &b), probability_of_improvement(&b, &a)) {
            (Some(one), Some(other)) => prop_assert!((one + other - 1.0).abs() < 1e-12),
            (one, other) => prop_assert!(one.is_none() && other.is_none() && (a.is_empty() || b.is_empty())),
        }
    }

    #[test]
    fn holm_never_lowers_a_p_value_and_keeps_their_order(p in prop::collection::vec(0.0..=1.0f64, 0..12)) {
        let adjusted = holm(&p);
        prop_assert_eq!(adjusted.len(), p.len());
        for (i, one) in adjusted.iter().enumerate() {
            prop_assert!(p[i] <= *one && *one <= 1.0);
            for (j, other) in adjusted.iter().enumerate() {
                prop_assert!(p[i] > p[j] || one <= other, "{p:?} {adjusted:?}");
            }
        }
    }

    #[test]
    fn without_censoring_the_median_is_the_lower_one(steps in prop::collection::vec(0u64..50, 1..12)) {
        let times: Vec<Time> = steps.iter().map(|&step| Time::At(step)).collect();
        let mut sorted = steps;
        sorted.sort_unstable();
        prop_assert_eq!(censored::median(&times), Some(sorted[(sorted.len() - 1) / 2]));
    }

    #[test]
    fn survival_falls_from_one_and_never_below_zero(times in prop::collection::vec((0u64..40, any::<bool>()), 0..15)) {
        let times: Vec<Time> = times.into_iter().map(|(step, at)| if at { Time::At(step) } else { Time::After(step) }).collect();
        let mut before = (None, 1.0);
        for (step, left) in censored::survival(&times) {
            prop_assert!(before.0.is_none_or(|earlier| earlier < step));
            prop_assert!(-1e-12 <= left && left < before.1);
            before = (Some(step), left);
        }
    }

    #[test]
    fn a_smaller_effect_needs_more_pairs(mean in 0.01..1.0f64, sd in 0.01..1.0f64, less in 0.1..1.0f64) {
        let needed = |mean| pairs_needed(mean, sd, ALPHA);
        if let (Some(pairs), Some(more)) = (needed(mean), needed(mean * less)) {
            prop_assert!(2 <= pairs && pairs <= more);
        }
    }

    #[test]
    fn pairs_are_matched_by_seed(a in prop::collection::btree_map(0u64..12, number(), 0..8), b in prop::collection::btree_map(0u64..12, number(), 0..8)) {
        let list = |map: &std::collections::BTreeMap<u64, f64>| map.iter().map(|(&k, &v)| (k, v)).collect::<Vec<_>>();
        let paired = Paired::of(&list(&a), &list(&b));
        for (seed, difference) in &paired.differences {
            prop_assert_eq!(*difference, a[seed] - b[seed]);
        }
        prop_assert!(paired.n() <= a.len().min(b.len()));
        prop_assert_eq!(paired.mean.is_some(), paired.n() > 0);
        prop_assert!(paired.mean.is_none_or(f64::is_finite));
    }
}

#[test]
fn a_test_cannot_reach_five_percent_below_six_pairs() {
    assert_eq!([1, 2, 6, 24].map(pairs_to_decide), [6, 7, 8, 10]);
    assert_eq!(sign_flip(&[1.0; 5]), Some(0.0625));
    assert_eq!(sign_flip(&[1.0; 6]), Some(0.03125));
    assert_eq!(sign_flip(&[0.0; 6]), Some(1.0));
    assert_eq!(sign_flip(&[]), None);
}

#[test]
fn what_does_not_exist_is_absent() {
    assert_eq!(Summary::of([]), Summary::default());
    let one = Summary::of([0.5]);
    assert_eq!((one.n, one.mean, one.sd, one.interval), (1, Some(0.5), None, None));
    assert_eq!(
        (binomial_sd(0.5, 0), binomial_sd(1.5, 9), binomial_sd(f64::NAN, 9)),
        (None, None, None)
    );
    assert_eq!((pairs_needed(0.0, 1.0, ALPHA), pairs_needed(f64::NAN, 1.0, ALPHA)), (None, None));
    assert!(student::quantile(f64::NAN, 3.0).is_nan() && student::quantile(0.5, 0.0).is_nan());
    // Two values whose spread no double can hold.
    assert_eq!(Summary::of([f64::MAX, f64::MIN]).sd, None);
    assert_eq!(Summary::of([f64::MAX, f64::MIN]).mean, Some(0.0));
}
