//! Values of SciPy, lifelines, rliable and statsmodels (`golden/generate.py`), to 1e-10.

use serde::Deserialize;

use super::censored::{self, Time};
use super::{
    Paired, Summary, binomial_sd, holm, power, probability_of_improvement, quantile, student,
};
use crate::compare::area;
use crate::read::Series;

#[derive(Deserialize)]
struct Golden {
    summaries: Vec<OfSummary>,
    survivals: Vec<OfSurvival>,
    pairs: Vec<OfPair>,
    holms: Vec<OfHolm>,
    students: Vec<[f64; 3]>,
    powers: Vec<[f64; 4]>,
    binomials: Vec<(f64, u64, f64)>,
    areas: Vec<OfArea>,
}

#[derive(Deserialize)]
struct OfSummary {
    values: Vec<f64>,
    mean: f64,
    sd: f64,
    median: f64,
    iqm: f64,
    trimmed: f64,
    interval: [f64; 2],
    quantiles: [f64; 6],
}

#[derive(Deserialize)]
struct OfSurvival {
    steps: Vec<u64>,
    happened: Vec<bool>,
    median: Option<f64>,
    survival: Vec<(u64, f64)>,
}

#[derive(Deserialize)]
struct OfPair {
    x: Vec<f64>,
    y: Vec<f64>,
    p: f64,
    improvement: f64,
    mann_whitney: f64,
}

#[derive(Deserialize)]
struct OfHolm {
    p: Vec<f64>,
    adjusted: Vec<f64>,
}

#[derive(Deserialize)]
struct OfArea {
    steps: Vec<u64>,
    values: Vec<f64>,
    area: f64,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/golden.json")).expect("golden values")
}

#[track_caller]
fn assert_close(got: impl Into<Option<f64>>, want: f64) {
    let got: f64 = got.into().expect("a value");
    assert!((got - want).abs() <= 1e-10 * want.abs().max(f64::MIN_POSITIVE), "{got} is not {want}");
}

#[test]
fn summaries_are_those_of_numpy_scipy_and_rliable() {
    for case in golden().summaries {
        let summary = Summary::of(case.values.iter().copied());
        assert_close(summary.mean, case.mean);
        assert_close(summary.sd, case.sd);
        assert_close(summary.median, case.median);
        assert_close(summary.iqm, case.iqm);
        assert_close(summary.iqm, case.trimmed);
        let interval = summary.interval.expect("an interval");
        assert_close(interval.low, case.interval[0]);
        assert_close(interval.high, case.interval[1]);
        let mut sorted = case.values;
        sorted.sort_by(f64::total_cmp);
        for (share, want) in [0.0, 0.025, 0.3, 0.5, 0.975, 1.0].into_iter().zip(case.quantiles) {
            assert_close(quantile(&sorted, share), want);
        }
    }
}

#[test]
fn censored_times_are_those_of_lifelines() {
    for case in golden().survivals {
        let time = |(&step, &happened): (&u64, &bool)| {
            if happened { Time::At(step) } else { Time::After(step) }
        };
        let times: Vec<Time> = case.steps.iter().zip(&case.happened).map(time).collect();
        assert_eq!(censored::median(&times).map(|step| step as f64), case.median, "{times:?}");
        let survival = censored::survival(&times);
        assert_eq!(survival.len(), case.survival.len());
        for ((step, left), (want_step, want)) in survival.into_iter().zip(case.survival) {
            assert_eq!(step, want_step);
            assert!((left - want).abs() < 1e-12, "{left} is not {want}");
        }
    }
}

#[test]
fn paired_tests_are_those_of_scipy_and_rliable() {
    for case in golden().pairs {
        let by_seed = |values: &[f64]| (0..).zip(values.iter().copied()).collect::<Vec<_>>();
        let paired = Paired::of(&by_seed(&case.x), &by_seed(&case.y));
        assert_close(paired.p_value, case.p);
        let improvement = probability_of_improvement(&case.x, &case.y).expect("pairs");
        assert!((improvement - case.improvement).abs() < 1e-12);
        assert!((improvement - case.mann_whitney).abs() < 1e-12);
    }
}

#[test]
fn corrections_quantiles_and_sample_sizes_are_those_of_statsmodels_and_scipy() {
    let golden = golden();
    for case in golden.holms {
        for (got, want) in holm(&case.p).into_iter().zip(case.adjusted) {
            assert_close(got, want);
        }
    }
    for [probability, freedom, want] in golden.students {
        let got = student::quantile(probability, freedom);
        // The median is 0, of which no relative error is known.
        assert!(
            (got - want).abs() <= 1e-10 * want.abs().max(1.0),
            "t({probability}; {freedom}): {got} is not {want}"
        );
    }
    for [mean, sd, alpha, want] in golden.powers {
        assert_eq!(power::pairs_needed(mean, sd, alpha), Some(want as u64), "{mean} {sd} {alpha}");
    }
    for (p, n, want) in golden.binomials {
        assert!((binomial_sd(p, n).expect("a proportion") - want).abs() <= 1e-12);
    }
}

#[test]
fn areas_are_those_of_numpy() {
    for case in golden().areas {
        let series: Series =
            case.steps.iter().copied().zip(case.values.iter().copied().map(Some)).collect();
        assert_close(area(&series), case.area);
    }
}
