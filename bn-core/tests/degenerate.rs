//! Batches that say little or nothing: one value per channel, none, no weight, a constant channel. Each
//! has a policy; none of them puts NaN into the state.

mod common;

use bn_core::{
    BatchNorm, BatchNormConfig, Call, DataFormat, Degenerate, Error, ErrorKind, MovingAverage,
    Policy, RenormConfig, RenormVariant, Updates, ZeroDebias, moments, weighted_moments,
};
use candle::{DType, Tensor, Var};
use common::{Numbers, Outcome, assert_close, bits, layer, state_bits, tensor, values};

const POLICIES: [Policy; 4] =
    [Policy::Accept, Policy::Error, Policy::UseMoving, Policy::SkipVarianceUpdate];

// Tolerances of 1e-15: a handful of roundings of numbers around 1.

/// A layer of two channels that has seen two batches, with gamma and beta of its own.
fn used(config: &BatchNormConfig) -> Outcome<BatchNorm> {
    let mut numbers = Numbers(40);
    let bn = layer(config, 2, DType::F64)?;
    for _ in 0..2 {
        bn.forward_train(&(numbers.tensor(&[5, 2]) + 1.0)?)?;
    }
    for (_, var) in bn.affine_variables() {
        var.set(&numbers.tensor(&[2]))?;
    }
    Ok(bn)
}

fn with(set: impl Fn(&mut Degenerate)) -> BatchNormConfig {
    let mut degenerate = Degenerate::default();
    set(&mut degenerate);
    BatchNormConfig { degenerate, ..BatchNormConfig::keras() }
}

fn state(bn: &BatchNorm, name: &str) -> Vec<f64> {
    let found = bn.statistics().into_iter().find(|(n, _)| n == name).expect("a statistic");
    values(found.1.as_tensor())
}

#[test]
fn one_value_per_channel() -> Outcome {
    let x = tensor(&[3.0, -4.0], &[1, 2], DType::F64);
    let half = tensor(&[0.5, 0.0, 0.0], &[3], DType::F64); // one value's worth of weights
    let three = Tensor::cat(&[&x, &x, &x], 0)?;
    for policy in POLICIES {
        let bn = used(&with(|d| d.one_value = policy))?;
        let before = (state_bits(&bn), values(&bn.moving_mean()?), values(&bn.moving_variance()?));
        let eval = values(&bn.forward_eval(&x)?);
        let beta = values(bn.beta().ok_or("no beta")?.as_tensor());
        for weighted in [false, true] {
            let bn = used(&with(|d| d.one_value = policy))?;
            let result = match weighted {
                false => bn.forward_train(&x),
                true => bn
                    .forward_with(&three, &Call::train().with_weights(&half))
                    .and_then(|y| Ok(y.narrow(0, 0, 1)?)),
            };
            let mean: Vec<f64> =
                before.1.iter().zip([3.0, -4.0]).map(|(m, x)| m + (x - m) * 0.01).collect();
            match (policy, result) {
                (Policy::Error, Err(error @ Error { kind: ErrorKind::OneValue { .. }, .. })) => {
                    assert!(error.to_string().starts_with("batch norm"), "{error}");
                    assert_eq!(state_bits(&bn), before.0);
                }
                (Policy::UseMoving, Ok(y)) => {
                    assert_close("y", &values(&y), &eval, 1e-15, 1e-15);
                    assert_eq!(state_bits(&bn), before.0);
                }
                (Policy::SkipVarianceUpdate | Policy::Accept, Ok(y)) => {
                    assert_eq!(values(&y), beta, "x is its own mean");
                    assert_close("mean", &values(&bn.moving_mean()?), &mean, 1e-15, 1e-15);
                    let kept = if policy == Policy::Accept { 0.99 } else { 1.0 };
                    let variance: Vec<f64> = before.2.iter().map(|v| v * kept).collect();
                    assert_close(
                        "variance",
                        &values(&bn.moving_variance()?),
                        &variance,
                        1e-15,
                        0.0,
                    );
                    assert_eq!(bn.health()?.committed, 3);
                }
                (policy, result) => panic!("{policy:?} gives {result:?}"),
            }
        }
    }
    Ok(())
}

/// candle-nn puts NaN into the moving variance here: n/(n − 1) of nothing.
#[test]
fn one_value_never_reaches_the_variance_as_nan() -> Outcome {
    let renorm = |variant| BatchNormConfig {
        renorm: Some(RenormConfig::new(variant)),
        ..BatchNormConfig::keras()
    };
    let accept = Degenerate { one_value: Policy::Accept, ..Degenerate::default() };
    for config in [
        BatchNormConfig::candle(),
        BatchNormConfig { degenerate: accept, ..BatchNormConfig::candle() },
        BatchNormConfig { zero_debias: ZeroDebias::Both, ..BatchNormConfig::candle() },
        BatchNormConfig::haiku(),
        renorm(RenormVariant::Tf1),
        renorm(RenormVariant::Keras),
        renorm(RenormVariant::Paper),
    ] {
        for dtype in [DType::F64, DType::F32] {
            let bn = layer(&config, 2, dtype)?;
            for _ in 0..3 {
                let y = bn.forward_train(&tensor(&[3.0, -4.0], &[1, 2], dtype))?;
                assert!(values(&y).iter().all(|v| v.is_finite()), "{:?}", values(&y));
                let y = bn.forward_eval(&tensor(&[3.0, -4.0], &[1, 2], dtype))?;
                assert!(values(&y).iter().all(|v| v.is_finite()), "{:?}", values(&y));
                for (name, _) in bn.statistics() {
                    assert!(state(&bn, &name).iter().all(|v| v.is_finite()), "{name}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn no_value_at_all() -> Outcome {
    for dims in [vec![0, 2], vec![0, 2, 3], vec![4, 2, 0], vec![0, 2, 0]] {
        let x = tensor(&[], &dims, DType::F64);
        for policy in [Policy::Error, Policy::UseMoving] {
            let config =
                BatchNormConfig { data_format: DataFormat::Nchw, ..with(|d| d.empty = policy) };
            for ghost in [None, Some(3)] {
                let bn = used(&BatchNormConfig { normalization_batch: ghost, ..config.clone() })?;
                let before = state_bits(&bn);
                match (policy, bn.forward_train(&x)) {
                    (Policy::Error, Err(error @ Error { kind: ErrorKind::Empty { .. }, .. })) => {
                        let shape = format!("{dims:?}"); // of the group, where there are groups
                        assert!(ghost.is_some() || error.to_string().contains(&shape), "{error}");
                    }
                    (Policy::UseMoving, Ok(y)) => assert_eq!(y.dims(), &dims[..]),
                    (policy, result) => panic!("{policy:?} gives {result:?}"),
                }
                assert_eq!(state_bits(&bn), before);
                assert_eq!(bn.forward_eval(&x)?.dims(), &dims[..], "evaluation needs no values");
                assert_eq!(bn.health()?.committed, 2);
            }
        }
    }
    let x = tensor(&[], &[0, 2], DType::F64);
    assert!(matches!(moments(&x, &[0], false), Err(Error { kind: ErrorKind::Empty { .. }, .. })));
    assert!(matches!(
        weighted_moments(&x, &[0], &x, false),
        Err(Error { kind: ErrorKind::Empty { .. }, .. })
    ));
    Ok(())
}

#[test]
fn no_weight_at_all() -> Outcome {
    let (x, w) = (Numbers(6).tensor(&[3, 2]), tensor(&[0.0; 3], &[3], DType::F64));
    for policy in [Policy::Error, Policy::UseMoving] {
        let bn = used(&with(|d| d.zero_weight = policy))?;
        let (before, eval) = (state_bits(&bn), bits(&bn.forward_eval(&x)?));
        match (policy, bn.forward_with(&x, &Call::train().with_weights(&w))) {
            (Policy::Error, Err(Error { kind: ErrorKind::ZeroWeight, op, .. })) => {
                assert_eq!(op, "batch norm")
            }
            (Policy::UseMoving, Ok(y)) => assert_eq!(bits(&y), eval),
            (policy, result) => panic!("{policy:?} gives {result:?}"),
        }
        assert_eq!(state_bits(&bn), before);
    }
    let w = tensor(&[0.0, 0.0, 1.0, 1.0, 0.0, 0.0], &[3, 2], DType::F64);
    // The stateless function returns TensorFlow's zeros, with gradients of zero.
    let (x_var, w_var) = (Var::from_tensor(&x)?, Var::from_tensor(&w)?);
    let (mean, variance) = weighted_moments(&x_var, &[1], &w_var, false)?;
    for moment in [&mean, &variance] {
        let moment = values(moment);
        assert_eq!([moment[0], moment[2]], [0.0; 2]);
    }
    let store = (mean + variance)?.sum_all()?.backward()?;
    for var in [&x_var, &w_var] {
        let gradient = values(store.get(var).ok_or("no gradient")?);
        assert!(gradient.iter().all(|v| v.is_finite()), "{gradient:?}");
        assert_eq!([&gradient[..2], &gradient[4..]].concat(), [0.0; 4]);
    }
    // A ghost batch whose rows are all masked: the others go on, and the update is of them alone.
    let w = tensor(&[1.0, 1.0, 0.0, 0.0, 1.0], &[5], DType::F64);
    let x = Numbers(7).tensor(&[5, 2]);
    let ghosts = BatchNormConfig {
        normalization_batch: Some(2),
        ..with(|d| d.zero_weight = Policy::UseMoving)
    };
    let (ghost, plain) = (used(&ghosts)?, used(&with(|_| ()))?);
    let eval = values(&plain.forward_eval(&x)?);
    let y = values(&ghost.forward_with(&x, &Call::train().with_weights(&w))?);
    assert_close("masked group", &y[4..8], &eval[4..8], 1e-15, 1e-15);
    plain.forward_with(&x, &Call::train().with_weights(&w))?;
    for name in ["moving_mean", "moving_variance"] {
        assert_close(name, &state(&ghost, name), &state(&plain, name), 1e-13, 1e-15);
    }
    Ok(())
}

/// Channel 0 is constant, channel 1 is not: a policy acts on channel 0 alone.
#[test]
fn a_constant_channel() -> Outcome {
    let x = tensor(&[7.0, 1.0, 7.0, -1.0, 7.0, 3.0], &[3, 2], DType::F64);
    let plain = used(&BatchNormConfig::keras())?;
    let eval = values(&plain.forward_eval(&x)?);
    let by_batch = values(&plain.forward_train(&x)?);
    for policy in POLICIES {
        let bn = used(&with(|d| d.constant_channel = policy))?;
        let before = (state_bits(&bn), values(&bn.moving_variance()?));
        match (policy, bn.forward_train(&x)) {
            (Policy::Error, Err(error @ Error { kind: ErrorKind::ConstantChannel(0), .. })) => {
                assert!(error.to_string().contains("channel 0"), "{error}");
                assert_eq!(state_bits(&bn), before.0);
                continue;
            }
            (Policy::UseMoving, Ok(y)) => {
                let want: Vec<f64> =
                    (0..6).map(|i| if i % 2 == 0 { eval[i] } else { by_batch[i] }).collect();
                assert_close("y", &values(&y), &want, 1e-15, 1e-15);
            }
            (Policy::SkipVarianceUpdate | Policy::Accept, Ok(y)) => {
                assert_eq!(values(&y), by_batch);
                let beta = values(bn.beta().ok_or("no beta")?.as_tensor())[0];
                assert!(by_batch.iter().step_by(2).all(|y| *y == beta));
            }
            (policy, result) => panic!("{policy:?} gives {result:?}"),
        }
        let moved = if policy == Policy::Accept { before.1[0] * 0.99 } else { before.1[0] };
        assert_close("variance", &values(&bn.moving_variance()?)[..1], &[moved], 1e-15, 0.0);
        assert_eq!(values(&bn.moving_variance()?)[1], values(&plain.moving_variance()?)[1]);
        assert_eq!(bn.health()?.dead_channels, [0]);
        assert!(bn.health()?.warnings().iter().any(|w| w.contains("constant")));
    }
    Ok(())
}

/// An error in one of several forwards leaves what was pending before it.
#[test]
fn an_error_is_no_update() -> Outcome {
    let updates = Updates::new();
    let bn = layer(&BatchNormConfig::torch(), 2, DType::F64)?.with_updates(&updates);
    let x = Numbers(3).tensor(&[4, 2]);
    bn.forward_train(&x)?;
    assert!(bn.forward_train(&x.narrow(0, 0, 1)?).is_err());
    assert!(bn.forward_train(&x.narrow(0, 0, 0)?).is_err());
    assert_eq!(bn.health()?.pending_forwards, 1);
    updates.commit()?;
    let plain = layer(&BatchNormConfig::torch(), 2, DType::F64)?;
    plain.forward_train(&x)?;
    assert_eq!(state_bits(&bn), state_bits(&plain));
    Ok(())
}

/// Averages of any fixed shape, the smallest included.
#[test]
fn averages_have_any_shape() -> Outcome {
    for (dims, n) in [(vec![], 1), (vec![1, 1], 1), (vec![2, 3], 6)] {
        for zero_debias in [false, true] {
            let average =
                MovingAverage::new(&tensor(&vec![1.0; n], &dims, DType::F64), 0.5, zero_debias)?;
            average.update(&tensor(&vec![3.0; n], &dims, DType::F64))?;
            assert_eq!(average.value()?.dims(), &dims[..]);
            assert_eq!(values(&average.value()?), vec![if zero_debias { 3.0 } else { 2.0 }; n]);
        }
    }
    Ok(())
}
