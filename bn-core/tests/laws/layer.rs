//! The layer around the arithmetic: what is trained, what comes at the call, kinks, layouts, half floats.

use std::sync::{Arc, Mutex};

use bn_core::{Activation, BatchNormConfig, Call, Initializer, Names, Regularizer, Sequential};
use candle::{DType, Tensor, Var};
use candle_nn::{ModuleT, VarBuilder, VarMap};
use proptest::prelude::*;

use crate::common::{
    Numbers, Outcome, assert_close, bits, epsilon_of, gradients, layer, tensor, values,
};
use crate::{F64, cases, holds, shapes};

#[test]
fn a_frozen_layer_is_not_trained() -> Outcome {
    let mut numbers = Numbers(2);
    for trainable in [true, false] {
        let config = BatchNormConfig { trainable, ..BatchNormConfig::keras() };
        let bn = layer(&config, 3, DType::F64)?;
        let x = Var::from_tensor(&numbers.tensor(&[4, 3]))?;
        let grads = gradients(&bn.forward_train(&x)?, &numbers.tensor(&[4, 3]))?;
        let names = |list: Vec<(String, Var)>| list.into_iter().map(|(n, _)| n).collect::<Vec<_>>();
        let listed: &[&str] = if trainable { &["beta", "gamma"] } else { &[] };
        assert_eq!(names(bn.trainable_variables()), listed);
        assert_eq!(names(bn.affine_variables()), ["beta", "gamma"]);
        assert_eq!(names(bn.statistics()), ["moving_mean", "moving_variance", "updates"]);
        for (_, var) in bn.affine_variables() {
            assert_eq!(grads.get(&var).is_some(), trainable);
        }
        for (name, var) in bn.statistics() {
            assert!(grads.get(&var).is_none(), "{name} is no parameter");
        }
        assert!(grads.get(&x).is_some(), "x has its gradient all the same");
    }
    Ok(())
}

/// gamma and beta at the call: `[C]` as the layer's own would act, `[N, C]` row by row.
#[test]
fn conditional_parameters() -> Outcome {
    let mut numbers = Numbers(4);
    let plain = BatchNormConfig { scale: false, center: false, ..BatchNormConfig::torch() };
    for own in [plain.clone(), BatchNormConfig::torch()] {
        let bn = layer(&own, 3, DType::F64)?;
        let x = numbers.tensor(&[4, 3, 5]);
        let (gamma, beta) = (
            Var::from_tensor(&numbers.tensor(&[4, 3]))?,
            Var::from_tensor(&numbers.tensor(&[4, 3]))?,
        );
        let x_hat = layer(&plain, 3, DType::F64)?.forward_train(&x)?;
        let call = Call { gamma: Some(&gamma), beta: Some(&beta), ..Call::batch_statistics() };
        let y = bn.forward_with(&x, &call)?;
        let want = x_hat
            .broadcast_mul(&gamma.reshape((4, 3, 1))?)?
            .broadcast_add(&beta.reshape((4, 3, 1))?)?;
        assert_close("y", &values(&y), &values(&want), F64, F64);
        let dy = numbers.tensor(&[4, 3, 5]);
        let grads = gradients(&y, &dy)?;
        let got = values(grads.get(&gamma).ok_or("no dgamma")?);
        assert_close("dgamma", &got, &values(&(&x_hat * &dy)?.sum(2)?), F64, F64);
        let got = values(grads.get(&beta).ok_or("no dbeta")?);
        assert_close("dbeta", &got, &values(&dy.sum(2)?), F64, F64);
        let one = numbers.tensor(&[3]);
        let y = bn.forward_with(&x, &Call { gamma: Some(&one), ..call })?;
        let want = x_hat
            .broadcast_mul(&one.reshape((1, 3, 1))?)?
            .broadcast_add(&beta.reshape((4, 3, 1))?)?;
        assert_close("y", &values(&y), &values(&want), F64, F64);
    }
    Ok(())
}

/// relu' (0) = 0 and leaky relu' (0) = slope, as TensorFlow and PyTorch have it. beta = 0 and a symmetric
/// batch put a zero exactly in the middle.
#[test]
fn the_kink_is_on_the_left() -> Outcome {
    for (activation, slope) in [
        (Activation::Relu, 0.0),
        (Activation::LeakyRelu(0.25), 0.25),
        (Activation::LeakyRelu(-2.0), -2.0),
    ] {
        for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16] {
            let config = BatchNormConfig { activation, ..BatchNormConfig::keras() };
            let bn = layer(&config, 1, dtype)?;
            let x = tensor(&[-1.0, 0.0, 1.0], &[3, 1], dtype);
            let residual = Var::from_tensor(&x.zeros_like()?)?;
            let y = bn.forward_with(&x, &Call::train().with_residual(&residual))?;
            assert_eq!(values(&y)[1], 0.0);
            let dy = tensor(&[3.0, 5.0, 7.0], &[3, 1], dtype);
            let grads = gradients(&y, &dy)?;
            let got = values(grads.get(&residual).ok_or("no gradient")?);
            assert_eq!(got, [3.0 * slope, 5.0 * slope, 7.0], "{activation:?}, {dtype:?}");
        }
        let nan = activation.apply(&tensor(&[f64::NAN], &[1], DType::F64))?;
        assert!(values(&nan)[0].is_nan(), "NaN is not hidden");
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(40))]

    /// Views cost a copy at most: permuted, narrowed and broadcast tensors give the same bits.
    #[test]
    fn layouts_do_not_matter(shape in shapes(), double in any::<bool>()) {
        holds((|| {
            let dtype = if double { DType::F64 } else { DType::F32 };
            let mut numbers = Numbers(shape.seed);
            let rank = shape.dims.len();
            let order: Vec<usize> = (0..rank).rev().collect();
            let views = |numbers: &mut Numbers| -> candle::Result<Vec<Tensor>> {
                let turned: Vec<usize> = order.iter().map(|&a| shape.dims[a]).collect();
                let transposed = numbers.tensor(&turned).permute(order.clone())?;
                let wider: Vec<usize> = shape.dims.iter().map(|d| d + 2).collect();
                let mut narrowed = numbers.tensor(&wider);
                for (a, &size) in shape.dims.iter().enumerate() {
                    narrowed = narrowed.narrow(a, 1, size)?;
                }
                let mut row = shape.dims.clone();
                row[rank - 1] = 1;
                let broadcast = numbers.tensor(&row).broadcast_as(shape.dims.clone())?;
                [transposed, narrowed, broadcast].iter().map(|t| t.to_dtype(dtype)).collect()
            };
            let config = BatchNormConfig { data_format: shape.format(), ..BatchNormConfig::candle() };
            let (viewed, plain) = (layer(&config, shape.channels(), dtype)?, layer(&config, shape.channels(), dtype)?);
            let pairs = views(&mut numbers)?.into_iter().zip(views(&mut numbers)?.into_iter().rev());
            for (i, (x, residual)) in pairs.enumerate() {
                let w = numbers.tensor(&[shape.dims[0], 2]).abs()?.narrow(1, 1, 1)?.squeeze(1)?;
                let dy = numbers.tensor(&shape.dims).to_dtype(dtype)?;
                let run = |bn: &bn_core::BatchNorm, x: &Tensor, residual: &Tensor, w: &Tensor| -> Outcome<[Tensor; 3]> {
                    // Through an op of the graph, so that x keeps its strides and has a gradient.
                    let base = Var::from_tensor(&x.copy()?)?;
                    let call = Call { weights: Some(w), residual: Some(residual), ..Call::train() };
                    let y = bn.forward_with(&base, &call)?;
                    let again = bn.forward_with(x, &Call { update: false, ..call })?;
                    let dx = gradients(&y, &dy)?.get(&base).cloned().ok_or("no dx")?;
                    Ok([y, again, dx])
                };
                let got = run(&viewed, &x, &residual, &w)?;
                let want = run(&plain, &x.contiguous()?, &residual.contiguous()?, &w.contiguous()?)?;
                // A transposed view is computed in the order of its memory, so its sums are rounded otherwise:
                // the kernels promise the variance to 1e-5 in f32 (to n ε in f64), and y and dx are
                // quotients by its root, of the largest size there is.
                let near = if double { 1e-12 } else { 4e-5 };
                let same = |what: &str, got: &Tensor, want: &Tensor| match i {
                    0 => {
                        let (got, want) = (values(got), values(want));
                        let most = want.iter().fold(1.0, |most: f64, v| most.max(v.abs()));
                        assert_close(what, &got, &want, 0.0, near * most);
                    }
                    _ => assert_eq!(bits(got), bits(want), "{what}"),
                };
                for (what, (got, want)) in ["y", "again", "dx"].iter().zip(got.iter().zip(&want)) {
                    same(what, got, want);
                }
                for ((name, got), (_, want)) in viewed.statistics().iter().zip(plain.statistics()) {
                    same(name, got, &want);
                }
                // The next views start from equal statistics, whatever was rounded otherwise here.
                for ((_, got), (_, want)) in viewed.statistics().iter().zip(plain.statistics()) {
                    got.set(&want.as_detached_tensor().copy()?)?;
                }
                let eval = [viewed.forward_eval(&x)?, plain.forward_eval(&x.contiguous()?)?];
                assert_eq!(bits(&eval[0]), bits(&eval[1]), "an evaluation has no sums");
            }
            Ok(())
        })())?;
    }
}

/// Half floats in, half floats out, statistics and parameters in f32; a linear model learns through them.
#[test]
fn half_floats_train() -> Outcome {
    for dtype in [DType::F16, DType::BF16] {
        let config = BatchNormConfig { activation: Activation::Tanh, ..BatchNormConfig::torch() };
        let bn = layer(&config, 4, dtype)?;
        let mut numbers = Numbers(21);
        let mut losses = Vec::new();
        for _ in 0..60 {
            let x = (numbers.tensor(&[32, 4, 3]) * 300.0)?; // squares overflow f16
            let target = ((&x / 300.0)? * 2.0)?.tanh()?.to_dtype(dtype)?; // gamma 2 does it
            let y = bn.forward_train(&x.to_dtype(dtype)?)?;
            assert_eq!(y.dtype(), dtype);
            let loss = (y - target)?.to_dtype(DType::F32)?.sqr()?.mean_all()?;
            let grads = loss.backward()?;
            for (_, var) in bn.trainable_variables() {
                assert_eq!(var.dtype(), DType::F32);
                let grad = grads.get(&var).ok_or("no gradient")?;
                var.set(&(var.as_tensor() - (grad * 4.0)?)?)?;
            }
            losses.push(loss.to_scalar::<f32>()?);
        }
        assert!(losses[59] < 0.5 * losses[0], "{dtype:?}: {losses:?}");
        // Averages of 96 values at decay 0.9 are worth some 2,000: a variance known to √(2/2000) = 3 %.
        let variance = values(&bn.moving_variance()?);
        assert!(variance.iter().all(|v| (v / 90_000.0 - 1.0).abs() < 0.15), "{variance:?}");
        assert_eq!(bn.moving_mean()?.dtype(), DType::F32);
    }
    Ok(())
}

/// Half output is the f64 result rounded once.
#[test]
fn half_floats_round_once() -> Outcome {
    for dtype in [DType::F16, DType::BF16] {
        let x = (Numbers(6).tensor(&[64, 3]) * 4.0)?.to_dtype(dtype)?;
        let half = layer(&BatchNormConfig::keras(), 3, dtype)?;
        let wide = layer(&BatchNormConfig::keras(), 3, DType::F64)?;
        let (y, want) = (half.forward_train(&x)?, wide.forward_train(&x.to_dtype(DType::F64)?)?);
        assert_close("y", &values(&y), &values(&want), 0.5 * epsilon_of(dtype) + 1e-5, 1e-5);
        assert_close(
            "mean",
            &values(&half.moving_mean()?),
            &values(&wide.moving_mean()?),
            2f64.powi(-23),
            // Sums of values of about 4 in f32; the average takes a hundredth of them.
            0.04 * 2f64.powi(-23),
        );
    }
    Ok(())
}

#[test]
fn an_observer_sees_every_output() -> Outcome {
    let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &crate::common::device());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let net = |observed: bool| -> Outcome<Sequential> {
        let net = Sequential::new()
            .add("norm", BatchNormConfig::keras().build(3, vb.pp("norm"))?)
            .add("relu", |x: &Tensor| x.relu())
            .add("double", |x: &Tensor| x * 2.0);
        let seen = seen.clone();
        Ok(match observed {
            true => net.with_observer(move |name, y| {
                seen.lock().expect("no panic").push((name.to_owned(), values(y)));
            }),
            false => net,
        })
    };
    let x = (Numbers(9).tensor(&[4, 3]) + 5.0)?.to_dtype(DType::F32)?;
    let y = net(true)?.forward_t(&x, true)?;
    let seen = seen.lock().expect("no panic").clone();
    let names: Vec<&str> = seen.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["norm", "relu", "double"]);
    assert_eq!(seen[2].1, values(&y));
    let relu: Vec<f64> = seen[0].1.iter().map(|v| v.max(0.0)).collect();
    assert_eq!(seen[1].1, relu);
    // The flag went through: the averages have moved, and evaluation differs from training.
    let net = net(false)?;
    assert_ne!(values(&net.forward_t(&x, false)?), values(&y));
    assert_eq!(net.names().collect::<Vec<_>>(), names);
    Ok(())
}

#[test]
fn penalties() -> Outcome {
    let config = BatchNormConfig {
        gamma_initializer: Initializer::Values(vec![2.0, -3.0]),
        beta_initializer: Initializer::Values(vec![0.5, 1.0]),
        gamma_regularizer: Some(Regularizer::L2(0.1)),
        beta_regularizer: Some(Regularizer::L1(0.2)),
        ..BatchNormConfig::keras()
    };
    let bn = layer(&config, 2, DType::F64)?;
    let loss = bn.regularization_loss()?.ok_or("no loss")?;
    assert_close("loss", &values(&loss), &[0.1 * 0.5 * 13.0 + 0.2 * 1.5], F64, 0.0);
    let grads = loss.backward()?;
    let of = |v: Option<&Var>| values(v.and_then(|v| grads.get(v)).expect("a gradient"));
    assert_close("gamma", &of(bn.gamma()), &[0.2, -0.3], F64, 0.0);
    assert_close("beta", &of(bn.beta()), &[0.2, 0.2], F64, 0.0);
    assert!(layer(&BatchNormConfig::keras(), 2, DType::F64)?.regularization_loss()?.is_none());
    Ok(())
}

/// The defaults of each system, from the table of its documentation: epsilon, decay, gamma.
#[test]
fn presets() {
    use bn_core::{StoredVariance::*, ZeroDebias};
    let table = [
        (Names::TfSlim, 1e-3, 0.999, false, Biased),
        (Names::TfLayers, 1e-3, 0.99, true, Biased),
        (Names::Keras, 1e-3, 0.99, true, Biased),
        (Names::Torch, 1e-5, 0.9, true, Unbiased),
        (Names::Candle, 1e-5, 0.9, true, Unbiased),
        (Names::Flax, 1e-5, 0.99, true, Biased),
        (Names::Haiku, 1e-5, 0.9, true, Biased),
    ];
    for (system, epsilon, decay, scale, stored) in table {
        let config = system.config();
        let got = (config.epsilon, config.decay.clone(), config.scale, config.stored_variance);
        assert_eq!(got, (epsilon, decay.into(), scale, stored), "{system:?}");
        assert!(config.center && config.trainable);
        let both = matches!(config.zero_debias, ZeroDebias::Both);
        assert_eq!(both, system == Names::Haiku);
    }
    let fused = BatchNormConfig::tf_layers().fused();
    assert_eq!(fused.stored_variance, Unbiased);
    assert_eq!(BatchNormConfig { epsilon: 1e-6, ..fused }.fused().epsilon, 1.001e-5);
}
