//! Moving averages: a constant stays that constant, the first update decides, cumulative is the mean.

use bn_core::{BatchNormConfig, Decay, MovingAverage, Schedule, Updates, ZeroDebias};
use candle::{DType, Tensor};
use proptest::prelude::*;

use crate::common::functions::decay_at;
use crate::common::{Numbers, Outcome, assert_close, epsilon_of, layer, tensor, values};
use crate::{cases, holds, shapes};

fn decays() -> Vec<Decay> {
    let rising = Schedule::piecewise([(0, 0.0), (3, 0.9), (50, 0.99), (50, 0.3), (200, 0.9999)]);
    vec![
        Decay::Constant(0.0),
        Decay::Constant(0.5),
        Decay::Constant(0.99),
        Decay::Constant(0.999),
        Decay::Cumulative,
        Decay::Schedule(rising.expect("steps go up")),
    ]
}

/// The law that a divisor of `1 − decayᵗ` breaks under changing decay, and a starting value of 1 at
/// every t but 0. Exactly: an average of one number has nothing to round.
#[test]
fn a_constant_stays_that_constant_at_every_step() -> Outcome {
    for dtype in [DType::F32, DType::F64] {
        let constant = tensor(&[4.0, -0.1, 1e-30, 3e7, 0.0], &[5], dtype);
        for decay in decays() {
            let plain = MovingAverage::new(&constant, decay.clone(), false)?;
            let debiased = MovingAverage::new(&constant.ones_like()?, decay.clone(), true)?;
            for t in 0..1000 {
                for average in [&plain, &debiased] {
                    average.update(&constant)?;
                    let got = values(&average.value()?);
                    assert_eq!(got, values(&constant), "{dtype:?}, {decay:?}, update {t}");
                }
            }
        }
    }
    Ok(())
}

/// The same in the layer, where updates are also discarded and refused in between.
#[test]
fn a_constant_batch_stays_that_batch() -> Outcome {
    let mut numbers = Numbers(5);
    let x = (numbers.tensor(&[6, 3]) * 2.0)?.to_dtype(DType::F32)?;
    let poison = (&x * f64::NAN)?;
    let moments = bn_core::Moments::of(&x, Default::default())?;
    let mean = values(&moments.mean().to_dtype(DType::F32)?);
    let variance = values(&moments.variance().to_dtype(DType::F32)?);
    for decay in decays() {
        let updates = Updates::new();
        let config = BatchNormConfig {
            decay: decay.clone(),
            zero_debias: ZeroDebias::Both,
            ..BatchNormConfig::keras()
        };
        let bn = layer(&config, 3, DType::F32)?.with_updates(&updates);
        for t in 0..300 {
            match numbers.below(4) {
                0 => {
                    bn.forward_train(&(&x + 1.0)?)?;
                    updates.discard();
                    continue;
                }
                1 => bn.forward_train(&poison)?,
                _ => bn.forward_train(&x)?,
            };
            updates.commit()?;
            let health = bn.health()?;
            if health.committed == 0 {
                assert_eq!(values(&bn.moving_mean()?), [0.0; 3], "before the first update");
                continue;
            }
            // The batch is f64 to the layer, the average f32: it may sit on either neighbour.
            let ulp = f64::from(f32::EPSILON);
            assert_close(
                &format!("{decay:?} mean {t}"),
                &values(&bn.moving_mean()?),
                &mean,
                ulp,
                0.0,
            );
            assert_close(
                &format!("{decay:?} variance {t}"),
                &values(&bn.moving_variance()?),
                &variance,
                ulp,
                0.0,
            );
        }
        let health = bn.health()?;
        assert!(health.committed > 50 && health.refused > 20, "{health:?}");
        assert_eq!(bn.step(), health.committed + health.refused);
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(60))]

    /// Whatever the decay and the initial value, the first value decides alone.
    #[test]
    fn debias_after_one_step_is_the_batch(shape in shapes(), decay in 0.0..1.0f64, wide in any::<bool>()) {
        holds((|| {
            let dtype = if wide { DType::F64 } else { DType::F32 };
            let mut numbers = Numbers(shape.seed);
            let x = (numbers.tensor(&shape.dims) + 3.0)?.to_dtype(dtype)?;
            let moments = bn_core::Moments::of(&x, shape.format())?;
            for zero_debias in [ZeroDebias::None, ZeroDebias::Mean, ZeroDebias::Variance, ZeroDebias::Both] {
                let config = BatchNormConfig {
                    data_format: shape.format(),
                    decay: Decay::Constant(decay),
                    zero_debias,
                    moving_mean_initializer: bn_core::Initializer::Constant(-7.0),
                    moving_variance_initializer: bn_core::Initializer::Constant(5.0),
                    ..BatchNormConfig::keras()
                };
                let bn = layer(&config, shape.channels(), dtype)?;
                bn.forward_train(&x)?;
                let (mean, variance) = match zero_debias {
                    ZeroDebias::None => (false, false),
                    ZeroDebias::Mean => (true, false),
                    ZeroDebias::Variance => (false, true),
                    ZeroDebias::Both => (true, true),
                };
                let want = |debiased: bool, batch: &Tensor, initial: f64| -> Vec<f64> {
                    let plain = |b: f64| decay * initial + (1.0 - decay) * b;
                    values(batch).into_iter().map(|b| if debiased { b } else { plain(b) }).collect()
                };
                // One rounding to the stored type, and of the numbers that cancel in a plain average.
                let (ulp, cancelled) = (epsilon_of(dtype), 8.0 * epsilon_of(dtype));
                // The layer's kernels sum in their own order, and f32 in f32 for 64 values of about 4 at a time.
                let summed = 32.0 * epsilon_of(dtype);
                assert_close("mean", &values(&bn.moving_mean()?), &want(mean, &moments.mean(), -7.0), ulp, if mean { summed } else { cancelled + summed });
                assert_close("variance", &values(&bn.moving_variance()?), &want(variance, &moments.variance(), 5.0), ulp, if variance { summed } else { cancelled + summed });
            }
            Ok(())
        })())?;
    }

    /// Debiased: each value counts by its own rate times the decays after it, the initial value not at all.
    #[test]
    fn averages_are_weighted_sums(seed in any::<u64>(), steps in 1u64..60, initial in -5.0..5.0f64) {
        holds((|| {
            for decay in decays() {
                let mut numbers = Numbers(seed);
                let start = tensor(&[initial], &[1], DType::F64);
                let plain = MovingAverage::new(&start, decay.clone(), false)?;
                let debiased = MovingAverage::new(&start, decay.clone(), true)?;
                let (mut sum, mut weight, mut left) = (0.0, 0.0, 1.0);
                for t in 0..steps {
                    let (x, beta) = (numbers.normal(), decay_at(&decay, t));
                    (sum, weight, left) = (beta * sum + (1.0 - beta) * x, beta * weight + (1.0 - beta), beta * left);
                    for average in [&plain, &debiased] {
                        average.update(&tensor(&[x], &[1], DType::F64))?;
                    }
                    let bound = 4.0 * (t + 1) as f64 * f64::EPSILON * 10.0; // four roundings a step, of numbers below 10
                    assert_close("plain", &values(&plain.value()?), &[sum + left * initial], 0.0, bound);
                    assert_close("debiased", &values(&debiased.value()?), &[sum / weight], 0.0, bound);
                }
                assert_eq!(plain.updates(), steps);
            }
            Ok(())
        })())?;
    }

    #[test]
    fn cumulative_is_the_plain_mean(seed in any::<u64>(), steps in 1usize..80) {
        holds((|| {
            let mut numbers = Numbers(seed);
            let config = BatchNormConfig { decay: Decay::Cumulative, ..BatchNormConfig::torch() };
            let bn = layer(&config, 2, DType::F64)?;
            let (mut means, mut variances) = (vec![0.0; 2], vec![0.0; 2]);
            for _ in 0..steps {
                let n = 2 + numbers.below(5); // ragged batches, which count alike
                let x = numbers.tensor(&[n, 2]);
                bn.forward_train(&x)?;
                let moments = bn_core::Moments::of(&x, Default::default())?;
                for c in 0..2 {
                    means[c] += values(moments.mean())[c] / steps as f64;
                    variances[c] += values(moments.variance())[c] * n as f64 / (n - 1) as f64 / steps as f64;
                }
            }
            let bound = 4.0 * steps as f64 * f64::EPSILON * 10.0;
            assert_close("mean", &values(&bn.moving_mean()?), &means, 0.0, bound);
            assert_close("variance", &values(&bn.moving_variance()?), &variances, 0.0, bound);
            Ok(())
        })())?;
    }
}

#[test]
fn the_initial_value_reads_until_the_first_update() -> Outcome {
    let initial = Tensor::new(&[2f32, -1.], &crate::common::device())?;
    for zero_debias in [false, true] {
        let average = MovingAverage::new(&initial, 0.9, zero_debias)?;
        assert_eq!(values(&average.value()?), [2.0, -1.0]);
        assert_eq!(average.updates(), 0);
        average.update(&initial.ones_like()?)?;
        assert_eq!(values(&initial), [2.0, -1.0], "the caller's tensor is the caller's");
    }
    Ok(())
}
