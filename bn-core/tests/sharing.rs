//! One layer's state in several hands: threads, clones, layers on one prefix, snapshots.

mod common;

use bn_core::{
    BatchNorm, BatchNormConfig, Call, Decay, Error, ErrorKind, Moments, Policy, RenormConfig,
    RenormVariant, Schedule, Updates,
};
use candle::{DType, Tensor};
use candle_nn::{VarBuilder, VarMap};
use common::{Outcome, layer, values};

fn rows(values: &[f64]) -> candle::Result<Tensor> {
    Tensor::from_slice(values, (values.len(), 1), &common::device())
}

/// Batches whose mean is m have variance m², so a pair from two updates shows.
fn batch(m: f64) -> candle::Result<Tensor> {
    rows(&[0.0, 2.0 * m])
}

#[test]
fn threads_lose_no_update_and_read_no_torn_pair() -> Outcome {
    const THREADS: usize = 8;
    const STEPS: usize = 200;
    let config = BatchNormConfig { decay: Decay::Constant(0.0), ..BatchNormConfig::keras() };
    let bn = layer(&config, 1, DType::F64)?;
    bn.forward_train(&batch(1.0)?)?;
    std::thread::scope(|scope| -> Outcome {
        let train = |thread: usize| {
            let bn = bn.clone();
            scope.spawn(move || -> bn_core::Result<()> {
                for step in 0..STEPS {
                    let m = 1.0 + ((thread * STEPS + step) % 5) as f64;
                    bn.forward_train(&batch(m)?)?;
                }
                Ok(())
            })
        };
        let trainers: Vec<_> = (0..THREADS).map(train).collect();
        let reader = scope.spawn(|| -> bn_core::Result<()> {
            for _ in 0..STEPS {
                // At x = 0, y = −m / √(m² + ε): −1 within ε for every whole pair.
                let y = values(bn.forward_eval(&rows(&[0.0])?)?)[0];
                assert!((y + 1.0).abs() < 1e-3, "a torn pair: {y}");
            }
            Ok(())
        });
        for thread in trainers {
            thread.join().expect("no panic")?;
        }
        reader.join().expect("no panic")?;
        Ok(())
    })?;
    assert_eq!(bn.health()?.committed, (THREADS * STEPS + 1) as u64);
    assert_eq!(bn.step(), (THREADS * STEPS + 1) as u64);
    Ok(())
}

/// A pass reads the averages that renorm refers to before its commit; another thread may commit in between.
#[test]
fn threads_lose_no_update_of_renorms_averages() -> Outcome {
    const THREADS: usize = 8;
    const STEPS: usize = 200;
    let renorm = RenormConfig { decay: 0.999, ..RenormConfig::new(RenormVariant::Tf1) };
    let config = BatchNormConfig { renorm: Some(renorm), ..BatchNormConfig::keras() };
    let bn = layer(&config, 1, DType::F64)?;
    std::thread::scope(|scope| -> Outcome {
        let train = || (0..STEPS).try_for_each(|_| bn.forward_train(&batch(1.0)?).map(drop));
        let trainers: Vec<_> = (0..THREADS).map(|_| scope.spawn(train)).collect();
        for thread in trainers {
            thread.join().expect("no panic")?;
        }
        Ok(())
    })?;
    let gathered = 1.0 - 0.999_f64.powi((THREADS * STEPS) as i32);
    for (name, var) in bn.statistics() {
        if name.ends_with("_weight") {
            let found = values(var.as_tensor())[0];
            assert!((found - gathered).abs() < 1e-9, "{name}: {found}, {gathered} without a loss");
        }
    }
    Ok(())
}

#[test]
fn layers_on_one_prefix_are_one_layer() -> Outcome {
    let map = VarMap::new();
    let vb = || VarBuilder::from_varmap(&map, DType::F64, &common::device()).pp("norm");
    let schedule = Decay::Schedule(Schedule::piecewise([(0, 0.0), (1, 0.0), (1, 0.5)])?);
    let config = BatchNormConfig { decay: schedule, ..BatchNormConfig::keras() };
    let updates = Updates::new();
    let (a, b) = (config.build(1, vb())?, config.build(1, vb())?);
    let (a, b) = (a.with_updates(&updates), b.with_updates(&updates));
    a.forward_train(&rows(&[0.0, 2.0])?)?;
    b.forward_train(&rows(&[4.0, 6.0])?)?;
    assert_eq!(updates.pending(), 1, "two layers, one state");
    updates.commit()?;
    assert_eq!(values(a.moving_mean()?), [3.0], "one update with the moments of both");
    assert_eq!(b.step(), 1);
    let other = BatchNormConfig { decay: Decay::Constant(0.9), ..config.clone() };
    assert!(matches!(
        other.build(1, vb()),
        Err(Error { kind: ErrorKind::Contradiction { .. }, .. })
    ));
    drop((a, b, updates));
    let alone = other.build(1, vb())?;
    assert_eq!(values(alone.moving_mean()?), [3.0], "the variables stay");
    Ok(())
}

#[test]
fn snapshots_stay_as_they_were() -> Outcome {
    let bn = layer(&BatchNormConfig::keras(), 1, DType::F32)?;
    let (mean, variance) = (bn.moving_mean()?, bn.moving_variance()?);
    bn.forward_train(&rows(&[5.0, 9.0])?.to_dtype(DType::F32)?)?;
    assert_eq!((values(&mean), values(&variance)), (vec![0.0], vec![1.0]));
    Ok(())
}

#[test]
fn a_frozen_layer_trains_by_its_moving_statistics() -> Outcome {
    let net = bn_core::Sequential::new()
        .add("norm", layer(&BatchNormConfig::default(), 1, DType::F64)?)
        .add(
            "inner",
            bn_core::Sequential::new()
                .add("norm", layer(&BatchNormConfig::default(), 1, DType::F64)?),
        );
    let norms = net.batch_norms();
    let names: Vec<&str> = norms.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["norm", "inner.norm"]);
    for (_, norm) in &norms {
        norm.set_frozen(true);
        let x = rows(&[1.0, 5.0])?;
        assert_eq!(values(norm.forward_train(&x)?), values(norm.forward_eval(&x)?));
        assert_eq!(norm.step(), 0);
        norm.set_frozen(false);
        norm.forward_train(&x)?;
        assert_eq!(norm.step(), 1);
    }
    Ok(())
}

fn health_of(bn: &BatchNorm) -> bn_core::Result<String> {
    Ok(bn.health()?.warnings().join("; "))
}

#[test]
fn health_says_what_no_error_says() -> Outcome {
    // Weights that sum to 1 or less never move an unbiased variance.
    let bn = layer(&BatchNormConfig::candle(), 1, DType::F64)?;
    let w = Tensor::new(&[0.4, 0.3], &common::device())?;
    bn.forward_with(&rows(&[1.0, 2.0])?, &Call::train().with_weights(&w))?;
    assert_eq!(bn.health()?.skipped_variance, 1);
    assert!(health_of(&bn)?.contains("sum to 1 or less"), "{}", health_of(&bn)?);

    // The shift is against the statistics before the update, also a first, debiased one.
    let config = BatchNormConfig::haiku();
    let bn = layer(&config, 1, DType::F64)?;
    bn.forward_train(&rows(&[3.0, 5.0])?)?;
    assert!((bn.health()?.mean_shift[0] - 4.0).abs() < 1e-3);

    // A refused batch is no update: an evaluation after it is still before the first.
    let bn = layer(&config, 1, DType::F64)?;
    bn.forward_train(&rows(&[f64::NAN, 5.0])?)?;
    bn.forward_eval(&rows(&[1.0])?)?;
    assert!(bn.health()?.evaluated_before_update);

    // Constant batch on a variance of 0: no NaN.
    let zero = BatchNormConfig { decay: Decay::Constant(0.0), ..BatchNormConfig::keras() };
    let bn = layer(&zero, 1, DType::F64)?;
    for _ in 0..2 {
        bn.forward_train(&rows(&[5.0, 5.0])?)?;
    }
    assert_eq!(bn.health()?.log_variance_ratio, [0.0]);

    // Nobody commits: said also after a commit.
    let updates = Updates::new();
    let bn = layer(&config, 1, DType::F64)?.with_updates(&updates);
    bn.forward_train(&rows(&[3.0, 5.0])?)?;
    updates.commit()?;
    for _ in 0..300 {
        bn.forward_train(&rows(&[3.0, 5.0])?)?;
    }
    assert!(health_of(&bn)?.contains("300 training passes"), "{}", health_of(&bn)?);
    Ok(())
}

#[test]
fn statistics_that_nothing_can_be_normalized_by_are_refused() -> Outcome {
    let t = |v: f64| Tensor::new(&[v], &common::device());
    let bn = layer(&BatchNormConfig::default(), 1, DType::F64)?;
    for (mean, variance) in [(f64::NAN, 1.0), (f64::INFINITY, 1.0), (0.0, f64::NAN), (0.0, -1.0)] {
        let named =
            [("running_mean", mean), ("running_var", variance), ("weight", 1.0), ("bias", 0.0)];
        let named = named.into_iter().map(|(name, v)| Ok((name.to_owned(), t(v)?)));
        let named = named.collect::<candle::Result<_>>()?;
        let before = common::state_bits(&bn);
        let done =
            bn_core::interchange::import(&bn, bn_core::Names::Torch, &named, &Default::default());
        assert!(matches!(done, Err(Error { kind: ErrorKind::Value { .. }, .. })), "{done:?}");
        assert_eq!(common::state_bits(&bn), before);
        let given = Moments::new(&t(1.0)?, &t(mean)?, &t(variance)?);
        let y = given.and_then(|given| bn.forward_with(&rows(&[1.0])?, &Call::given(&given)));
        assert!(matches!(y, Err(Error { kind: ErrorKind::Value { .. }, .. })), "{y:?}");
    }
    Ok(())
}

/// A constant has variance 0 on every path, in every type, for any constant, count and weights.
#[test]
fn constants_are_constant() -> Outcome {
    use bn_core::{Collective, Implementation, Threads};
    use std::sync::Arc;
    let config = BatchNormConfig {
        degenerate: bn_core::Degenerate { constant_channel: Policy::Error, ..Default::default() },
        ..BatchNormConfig::default()
    };
    for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
        for constant in [0.1, 0.3, 1e6 + 0.1, -7.7] {
            for count in [2, 3, 10, 1_000] {
                if dtype == DType::F16 && constant > 1e4 {
                    continue; // infinite in f16
                }
                let x = Tensor::full(constant, (count, 1), &common::device())?.to_dtype(dtype)?;
                let w = Tensor::from_vec(
                    (0..count).map(|i| 0.1 + (i % 7) as f64).collect::<Vec<_>>(),
                    count,
                    &common::device(),
                )?;
                for by in [Implementation::Fused, Implementation::Composed] {
                    for call in [Call::train(), Call::train().with_weights(&w)] {
                        let bn = layer(&config, 1, dtype)?.with_implementation(by);
                        let y = bn.forward_with(&x, &call);
                        let refused =
                            matches!(y, Err(Error { kind: ErrorKind::ConstantChannel { .. }, .. }));
                        assert!(refused, "{dtype:?} {constant} {count} {by:?} {y:?}");
                    }
                }
                let (_, variance) = bn_core::moments(&x, &[0], false)?;
                assert_eq!(values(&variance), [0.0], "{dtype:?} {constant} {count}");
                let refused: Vec<bool> = std::thread::scope(|scope| {
                    let each = Threads::group(2).into_iter().map(|rank| {
                        let (config, x) = (&config, &x);
                        scope.spawn(move || {
                            let ranks: Arc<dyn Collective> = Arc::new(rank);
                            let bn = layer(config, 1, dtype).expect("valid").with_collective(ranks);
                            matches!(
                                bn.forward_train(x),
                                Err(Error { kind: ErrorKind::ConstantChannel { .. }, .. })
                            )
                        })
                    });
                    let threads: Vec<_> = each.collect();
                    threads.into_iter().map(|t| t.join().expect("no panic")).collect()
                });
                assert_eq!(refused, [true; 2], "{dtype:?} {constant} {count} over ranks");
            }
        }
    }
    Ok(())
}

/// f64 weights beside f32 values: only their ratios matter, however large or small they are.
#[test]
fn weights_beyond_f32_keep_their_ratios() -> Outcome {
    let x = common::Numbers(5).tensor(&[6, 3]).to_dtype(DType::F32)?;
    let w: Vec<f64> = (0..6).map(|i| 1.0 + f64::from(i)).collect();
    let run = |scale: f64| -> Outcome<(Vec<f64>, Vec<f64>)> {
        let w: Vec<f64> = w.iter().map(|w| w * scale).collect();
        let w = Tensor::from_vec(w, 6, &common::device())?;
        let bn = layer(&BatchNormConfig::keras(), 3, DType::F32)?;
        let call = Call::train().with_weights(&w);
        let (y, saved) = bn.forward_with_saved(&x, &call)?;
        let (dx, ..) = saved.backward(&(&x * 0.5)?)?;
        Ok((values(y), values(dx)))
    };
    let want = run(1.0)?;
    for scale in [1e39, 1e-50] {
        let got = run(scale)?;
        for (got, want) in [(&got.0, &want.0), (&got.1, &want.1)] {
            common::assert_close("scaled", got, want, 1e-5, 1e-6);
        }
    }
    Ok(())
}

/// The moments of weighted values can be taken apart and put together again.
#[test]
fn moments_keep_their_squared_weight() -> Outcome {
    let x = common::Numbers(7).tensor(&[5, 2]);
    let w = Tensor::new(&[0.5, 1.5, 2.0, 0.25, 1.0], &common::device())?;
    let of = Moments::weighted(&x, &w, Default::default())?;
    let made = Moments::new(&of.weight(), &of.mean(), &of.variance())?
        .with_squared_weight(&of.squared_weight())?;
    let kind = bn_core::WeightKind::Reliability;
    assert_eq!(values(made.unbiased_variance(kind)), values(of.unbiased_variance(kind)));
    assert!(matches!(
        made.with_squared_weight(&w),
        Err(Error { kind: ErrorKind::Shape { .. }, .. })
    ));
    Ok(())
}

/// An NCHW view of NHWC memory is computed as it lies there: y and dx are such views too.
#[test]
fn permuted_views_are_not_copied() -> Outcome {
    let memory = common::Numbers(9).tensor(&[4, 5, 6, 3]);
    let x = memory.permute((0, 3, 1, 2))?;
    let w = Tensor::new(&[0.5, 1.5, 2.0, 0.25], &common::device())?;
    for group in [None, Some(3)] {
        let config = BatchNormConfig { normalization_batch: group, ..BatchNormConfig::default() };
        let (viewed, plain) = (layer(&config, 3, DType::F64)?, layer(&config, 3, DType::F64)?);
        let call = Call::train().with_weights(&w);
        let (y, saved) = viewed.forward_with_saved(&x, &call)?;
        let (dx, ..) = saved.backward(&x)?;
        let (want, saved) = plain.forward_with_saved(&x.contiguous()?, &call)?;
        let (want_dx, ..) = saved.backward(&x.contiguous()?)?;
        for (got, want) in [(y, want), (dx, want_dx)] {
            assert!(got.permute((0, 2, 3, 1))?.is_contiguous());
            common::assert_close("view", &values(&got), &values(&want), 1e-12, 1e-12);
        }
    }
    Ok(())
}
