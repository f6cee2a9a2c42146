//! Batch renormalization: what each variant comes to when bounds or state make it something simpler.

use bn_core::{
    BatchNorm, BatchNormConfig, Clipping, Initializer, RMin, RenormConfig, RenormVariant, Schedule,
};
use candle::{DType, Tensor, Var};
use proptest::prelude::*;

use crate::common::{Numbers, Outcome, assert_close, bits, gradients, layer, tensor, values};
use crate::{F64, Shape, cases, holds, shapes};

const VARIANTS: [RenormVariant; 3] =
    [RenormVariant::Tf1, RenormVariant::Keras, RenormVariant::Paper];

fn config(shape: &Shape, variant: RenormVariant, clipping: Clipping) -> BatchNormConfig {
    let mut numbers = Numbers(shape.seed ^ 7);
    let mut each = |low, high| {
        Initializer::Values((0..shape.channels()).map(|_| numbers.between(low, high)).collect())
    };
    BatchNormConfig {
        data_format: shape.format(),
        gamma_initializer: each(0.5, 2.0),
        beta_initializer: each(-1.0, 1.0),
        moving_mean_initializer: each(-1.0, 1.0),
        moving_variance_initializer: each(0.5, 2.0),
        renorm: Some(RenormConfig { variant, decay: 0.8, clipping }),
        ..BatchNormConfig::keras()
    }
}

fn without_renorm(config: &BatchNormConfig) -> BatchNormConfig {
    BatchNormConfig { renorm: None, ..config.clone() }
}

fn step(bn: &BatchNorm, x: &Tensor, dy: &Tensor) -> Outcome<[Tensor; 3]> {
    let x = Var::from_tensor(x)?;
    let y = bn.forward_train(&x)?;
    let grads = gradients(&y, dy)?;
    let of = |v: Option<&Var>| v.and_then(|v| grads.get(v)).cloned().ok_or("no gradient");
    Ok([y.clone(), of(Some(&x))?, of(bn.gamma())?])
}

fn statistic(bn: &BatchNorm, name: &str) -> Vec<f64> {
    let found = bn.statistics().into_iter().find(|(n, _)| n == name);
    values(found.unwrap_or_else(|| panic!("no {name}")).1.as_tensor())
}

/// gamma · (x − mean)/stddev + beta by channel, in plain loops.
fn normalized(bn: &BatchNorm, x: &Tensor, axis: usize, mean: &[f64], stddev: &[f64]) -> Vec<f64> {
    let inner: usize = x.dims()[axis + 1..].iter().product();
    let parameter = |v: Option<&Var>| values(v.expect("keras() has both").as_tensor());
    let (gamma, beta) = (parameter(bn.gamma()), parameter(bn.beta()));
    let at = |(i, x): (usize, &f64)| {
        let c = i / inner % mean.len();
        gamma[c] * (x - mean[c]) / stddev[c] + beta[c]
    };
    values(x).iter().enumerate().map(at).collect()
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn tf1_starts_as_plain_batch_norm(shape in shapes()) {
        holds((|| {
            let config = config(&shape, RenormVariant::Tf1, Clipping::none());
            let renorm = layer(&config, shape.channels(), DType::F64)?;
            let plain = layer(&without_renorm(&config), shape.channels(), DType::F64)?;
            let mut numbers = Numbers(shape.seed);
            let (x, dy) = (numbers.tensor(&shape.dims), numbers.tensor(&shape.dims));
            let (a, b) = (step(&renorm, &x, &dy)?, step(&plain, &x, &dy)?);
            let correction = renorm.last_correction().ok_or("no correction")?;
            assert!(values(correction.r()).iter().all(|r| *r == 1.0));
            assert!(values(correction.d()).iter().all(|d| *d == 0.0));
            for (a, b) in a.iter().zip(&b) {
                assert_eq!(values(a), values(b));
            }
            Ok(())
        })())?;
    }

    /// Unclipped, `y = gamma·(x − μ)/σ + beta` with the averages as they were before the step: at t = 0 the
    /// initial ones, which is the identity for mean 0 and variance 1.
    #[test]
    fn unclipped_renorm_normalizes_by_its_reference(shape in shapes(), variant in prop::sample::select(&VARIANTS)) {
        holds((|| {
            let bn = layer(&config(&shape, variant, Clipping::none()), shape.channels(), DType::F64)?;
            let mut numbers = Numbers(shape.seed);
            for t in 0..4 {
                let x = ((numbers.tensor(&shape.dims) * numbers.between(0.5, 2.0))? + numbers.normal())?;
                let (mut mean, mut stddev) = (statistic(&bn, "renorm_mean"), statistic(&bn, "renorm_stddev"));
                if variant == RenormVariant::Tf1 {
                    let left = 1.0 - statistic(&bn, "renorm_mean_weight")[0];
                    let batch = bn_core::Moments::of(&x, shape.format())?;
                    for c in 0..mean.len() {
                        mean[c] += left * values(batch.mean())[c];
                        stddev[c] += left * (values(batch.variance())[c] + 1e-3).sqrt();
                    }
                }
                let want = normalized(&bn, &x, shape.axis, &mean, &stddev);
                // stddev/σ of down to √1e-3/√2, undone by its reciprocal
                assert_close(&format!("y at {t}"), &values(&bn.forward_train(&x)?), &want, F64, 50.0 * F64);
            }
            Ok(())
        })())?;
    }

    #[test]
    fn keras_and_paper_start_as_the_identity(shape in shapes()) {
        holds((|| {
            for variant in [RenormVariant::Keras, RenormVariant::Paper] {
                let config = BatchNormConfig {
                    data_format: shape.format(),
                    renorm: Some(RenormConfig::new(variant)),
                    ..BatchNormConfig::keras()
                };
                let bn = layer(&config, shape.channels(), DType::F64)?;
                let x = Numbers(shape.seed).tensor(&shape.dims);
                assert_close("y", &values(&bn.forward_train(&x)?), &values(&x), F64, F64);
            }
            Ok(())
        })())?;
    }

    /// Bounds that leave no room: r = 1, d = 0, forward and gradients of plain batch norm at every step.
    #[test]
    fn closed_bounds_are_plain_batch_norm(shape in shapes(), variant in prop::sample::select(&VARIANTS)) {
        holds((|| {
            let closed = Clipping::constant(Some(1.0), Some(1.0), Some(0.0));
            let config = config(&shape, variant, closed);
            let renorm = layer(&config, shape.channels(), DType::F64)?;
            let plain = layer(&without_renorm(&config), shape.channels(), DType::F64)?;
            let mut numbers = Numbers(shape.seed);
            for _ in 0..4 {
                let (x, dy) = (numbers.tensor(&shape.dims), numbers.tensor(&shape.dims));
                let (a, b) = (step(&renorm, &x, &dy)?, step(&plain, &x, &dy)?);
                for (a, b) in a.iter().zip(&b) {
                    assert_eq!(values(a), values(b));
                }
            }
            Ok(())
        })())?;
    }

    /// A missing bound is no bound: a bound so wide that it never acts gives the same.
    #[test]
    fn a_missing_bound_is_no_bound(shape in shapes(), variant in prop::sample::select(&VARIANTS), which in 0u8..8) {
        holds((|| {
            let pick = |bit: u8, bound: f64, wide: f64| if which >> bit & 1 == 1 { (Some(bound), Some(bound)) } else { (None, Some(wide)) };
            let (r_min, r_max, d_max) = (pick(0, 0.9, 0.0), pick(1, 1.1, 1e300), pick(2, 0.1, 1e300));
            let some = config(&shape, variant, Clipping::constant(r_min.0, r_max.0, d_max.0));
            let all = config(&shape, variant, Clipping::constant(r_min.1, r_max.1, d_max.1));
            let (some, all) = (layer(&some, shape.channels(), DType::F64)?, layer(&all, shape.channels(), DType::F64)?);
            let mut numbers = Numbers(shape.seed);
            for _ in 0..3 {
                let x = ((numbers.tensor(&shape.dims) * 3.0)? + 1.0)?;
                assert_eq!(bits(&some.forward_train(&x)?), bits(&all.forward_train(&x)?));
            }
            Ok(())
        })())?;
    }

    /// 5/130 of the run plain, r_max 3 from 40/130 on, d_max 5 from 25/130 on, straight lines between.
    #[test]
    fn the_papers_schedule_scales_to_the_run(total in 26u64..2_000_000) {
        let clipping = Clipping::paper(total);
        let at = |share: f64| total as f64 * share / 130.0;
        let (five, d_end, r_end) = (at(5.0), at(25.0), at(40.0));
        let line = |t: f64, end: f64, low: f64, high: f64| low + (high - low) * ((t - five) / (end - five)).clamp(0.0, 1.0);
        let mut numbers = Numbers(total);
        let knots = [five, d_end, r_end].map(|t| t.round() as u64);
        let drawn: Vec<u64> = (0..50).map(|_| numbers.bits() % total).collect();
        for t in knots.into_iter().chain(drawn).chain([0, total]) {
            let bounds = clipping.at(t);
            let (r_max, d_max) = (bounds.r_max.expect("bounded"), bounds.d_max.expect("bounded"));
            prop_assert_eq!(bounds.r_min, Some(1.0 / r_max));
            // Knots are whole steps: each may be off by half a step, where the lines rise 2 and 5.
            let half = |end: f64, rise: f64| 1e-12 + rise / (end - five - 1.0).max(1.0);
            prop_assert!((r_max - line(t as f64, r_end, 1.0, 3.0)).abs() <= half(r_end, 2.0), "r_max {r_max} at {t}");
            prop_assert!((d_max - line(t as f64, d_end, 0.0, 5.0)).abs() <= half(d_end, 5.0), "d_max {d_max} at {t}");
            if t as f64 <= five.floor() {
                prop_assert_eq!((r_max, d_max), (1.0, 0.0));
            }
            prop_assert!((t as f64) < r_end.ceil() || r_max == 3.0);
            prop_assert!((t as f64) < d_end.ceil() || d_max == 5.0);
        }
    }
}

/// The paper's own numbers: 5,000, 25,000 and 40,000 steps.
#[test]
fn the_papers_schedule() {
    let clipping = Clipping::paper(130_000);
    let at = |step| {
        let bounds = clipping.at(step);
        (bounds.r_max.expect("bounded"), bounds.d_max.expect("bounded"))
    };
    assert_eq!(at(0), (1.0, 0.0));
    assert_eq!(at(5_000), (1.0, 0.0));
    assert!(at(5_001).0 > 1.0 && at(5_001).1 > 0.0);
    assert_eq!(at(15_000).1, 2.5);
    assert_eq!(at(22_500).0, 2.0);
    assert_eq!(at(24_999).1, 5.0 * 19_999.0 / 20_000.0);
    assert_eq!(at(25_000).1, 5.0);
    assert!(at(39_999).0 < 3.0);
    assert_eq!(at(40_000), (3.0, 5.0));
    assert_eq!(at(130_000), (3.0, 5.0));
}

/// The layer's bounds move with its updates, also with those that were refused.
#[test]
fn bounds_follow_the_steps() -> Outcome {
    let ramp = Schedule::piecewise([(0, 1.0), (4, 3.0)])?;
    let clipping = Clipping { r_min: Some(RMin::InverseOfRMax), r_max: Some(ramp), d_max: None };
    let config = BatchNormConfig {
        renorm: Some(RenormConfig { clipping, ..RenormConfig::new(RenormVariant::Keras) }),
        ..BatchNormConfig::keras()
    };
    let bn = layer(&config, 1, DType::F64)?;
    let (wide, narrow) =
        (tensor(&[-90.0, 90.0], &[2, 1], DType::F64), tensor(&[-0.1, 0.1], &[2, 1], DType::F64));
    for (t, bound) in [1.0, 1.5, 2.0, 2.5, 3.0, 3.0].into_iter().enumerate() {
        // Without an update nothing moves, and the step is the same.
        let look = |x: &Tensor| -> Outcome<f64> {
            bn.forward_with(x, &bn_core::Call { update: false, ..bn_core::Call::train() })?;
            let correction = bn.last_correction().ok_or("no correction")?;
            assert_eq!(correction.clipped_d(), 0.0);
            assert_eq!(correction.clipped_r(), 1.0);
            Ok(values(correction.r())[0])
        };
        assert_eq!(look(&wide)?, bound, "step {t}");
        assert_eq!(look(&narrow)?, 1.0 / bound, "step {t}");
        assert_eq!(bn.step(), t as u64);
        let x =
            if t == 2 { (&narrow * f64::NAN)? } else { tensor(&[-1.0, 1.0], &[2, 1], DType::F64) };
        bn.forward_train(&x)?;
    }
    Ok(())
}
