//! Saved, loaded, shared: the same variables mean the same layer.

use std::collections::HashMap;

use bn_core::{
    BatchNorm, BatchNormConfig, Decay, Error, ErrorKind, RenormConfig, RenormVariant, Reuse,
    StoredVariance, ZeroDebias,
};
use candle::{DType, Tensor};
use candle_nn::{VarBuilder, VarMap};

use crate::F64;
use crate::common::{Numbers, Outcome, assert_close, bits, state_bits, values};

fn configs() -> Vec<BatchNormConfig> {
    let renorm = |variant| BatchNormConfig {
        renorm: Some(RenormConfig::new(variant)),
        ..BatchNormConfig::keras()
    };
    vec![
        BatchNormConfig::torch(),
        BatchNormConfig::haiku(),
        BatchNormConfig { decay: Decay::Cumulative, ..BatchNormConfig::candle() },
        BatchNormConfig { zero_debias: ZeroDebias::Mean, ..renorm(RenormVariant::Tf1) },
        renorm(RenormVariant::Keras),
        renorm(RenormVariant::Paper),
    ]
}

fn build(config: &BatchNormConfig, map: &VarMap, dtype: DType) -> bn_core::Result<BatchNorm> {
    config
        .clone()
        .build(3, VarBuilder::from_varmap(map, dtype, &crate::common::device()).pp("norm"))
}

fn train(bn: &BatchNorm, numbers: &mut Numbers, steps: usize, dtype: DType) -> Outcome {
    for _ in 0..steps {
        let x = ((numbers.tensor(&[6, 3, 2]) * 2.0)? + 1.0)?.to_dtype(dtype)?;
        let axis_last = bn.config().data_format == bn_core::DataFormat::Nhwc;
        let x = if axis_last { x.transpose(1, 2)? } else { x };
        bn.forward_train(&x)?;
    }
    Ok(())
}

/// Saved as safetensors and loaded, by either of candle's ways: the same evaluation, and training goes
/// on as if nothing had happened.
#[test]
fn saved_and_loaded_is_the_same_layer() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("layer.safetensors");
    for (config, dtype) in
        configs().into_iter().flat_map(|c| [(c.clone(), DType::F32), (c, DType::F64)])
    {
        let map = VarMap::new();
        let bn = build(&config, &map, dtype)?;
        let mut numbers = Numbers(31);
        train(&bn, &mut numbers, 7, dtype)?;
        for (_, var) in bn.affine_variables() {
            var.set(&numbers.tensor(&[3]).to_dtype(dtype)?)?;
        }
        map.save(&file)?;

        let data = std::fs::read(&file)?;
        let vb = VarBuilder::from_buffered_safetensors(data, dtype, &crate::common::device())?;
        let from_bytes = config.clone().build(3, vb.pp("norm"))?;
        let mut loaded_map = VarMap::new();
        let before_load = build(&config, &loaded_map, dtype)?;
        loaded_map.load(&file)?;
        let after_load = build(&config, &loaded_map, dtype)?;

        let x = numbers.tensor(&[4, 3]).to_dtype(dtype)?;
        let want = bn.forward_eval(&x)?;
        for (how, copy) in [
            ("bytes", &from_bytes),
            ("built, then loaded", &before_load),
            ("loaded, then built", &after_load),
        ] {
            assert_eq!(bits(&copy.forward_eval(&x)?), bits(&want), "{how}, {config:?}");
            assert_eq!(state_bits(copy), state_bits(&bn), "{how}");
            assert_eq!(copy.health()?.committed, 7, "{how}");
            assert!(!copy.health()?.evaluated_before_update, "{how}");
        }
        assert_eq!((from_bytes.step(), after_load.step()), (7, 7));
        train(&bn, &mut numbers.clone(), 3, dtype)?;
        train(&from_bytes, &mut numbers, 3, dtype)?;
        assert_eq!(state_bits(&from_bytes), state_bits(&bn));
    }
    Ok(())
}

/// Checkpoints of plain layers have the four variables only. State of more options takes over from them:
/// evaluation is the same, and an update moves the averages by one step, not all the way.
#[test]
fn missing_state_takes_over_from_the_moving_statistics() -> Outcome {
    let mean = [1.0, -2.0, 0.5];
    let variance = [4.0, 1.0, 0.25];
    let of = |v: &[f64]| Tensor::new(v, &crate::common::device());
    let checkpoint = |more: &[(&str, Tensor)]| -> Outcome<VarBuilder<'static>> {
        let mut tensors = HashMap::from([
            ("gamma".to_owned(), of(&[1.0, 2.0, 3.0])?),
            ("beta".to_owned(), of(&[0.0, 1.0, 2.0])?),
            ("moving_mean".to_owned(), of(&mean)?),
            ("moving_variance".to_owned(), of(&variance)?),
        ]);
        tensors.extend(more.iter().map(|(name, t)| ((*name).to_owned(), t.clone())));
        Ok(VarBuilder::from_tensors(tensors, DType::F64, &crate::common::device()))
    };
    let x = (Numbers(1).tensor(&[8, 3]) * 5.0)?;
    let batch = bn_core::Moments::of(&x, Default::default())?;
    for config in configs() {
        let config = BatchNormConfig {
            data_format: Default::default(),
            stored_variance: StoredVariance::Biased,
            decay: Decay::Constant(0.9),
            ..config
        };
        let counted = [("updates", Tensor::new(&[100f64], &crate::common::device())?)];
        for more in [&[][..], &counted] {
            let bn = config.clone().build(3, checkpoint(more)?)?;
            let plain =
                BatchNormConfig { renorm: None, zero_debias: ZeroDebias::None, ..config.clone() };
            let plain = plain.build(3, checkpoint(more)?)?;
            assert_eq!(bits(&bn.forward_eval(&x)?), bits(&plain.forward_eval(&x)?));
            assert!(!bn.health()?.evaluated_before_update);
            bn.forward_train(&x)?;
            let decay = match &config.renorm {
                Some(renorm) => renorm.decay.min(0.9),
                None => 0.9,
            };
            for c in 0..3 {
                let (before, after) = (mean[c], values(&bn.moving_mean()?)[c]);
                let share = (after - before) / (values(batch.mean())[c] - before);
                assert!(
                    (0.0..=1.0 - decay + F64).contains(&share),
                    "{share} of the way, {config:?}"
                );
                let (before, after) = (variance[c], values(&bn.moving_variance()?)[c]);
                let share = (after - before) / (values(batch.variance())[c] - before);
                assert!(
                    (0.0..=1.0 - decay + F64).contains(&share),
                    "{share} of the way, {config:?}"
                );
            }
        }
    }
    Ok(())
}

/// One of the four missing is an error that says which.
#[test]
fn a_checkpoint_without_statistics_is_refused() -> Outcome {
    for missing in ["gamma", "beta", "moving_mean", "moving_variance"] {
        let all = ["gamma", "beta", "moving_mean", "moving_variance"];
        let there = all.iter().filter(|name| **name != missing);
        let tensors = there.map(|name| {
            (
                format!("a.b.{name}"),
                Tensor::ones(3, DType::F32, &crate::common::device()).expect("ones"),
            )
        });
        let vb = VarBuilder::from_tensors(tensors.collect(), DType::F32, &crate::common::device());
        match BatchNormConfig::keras().build(3, vb.pp("a").pp("b")) {
            Err(Error { kind: ErrorKind::Missing { name, .. }, .. }) => {
                assert_eq!(name, format!("a.b.{missing}"))
            }
            other => panic!("{missing}: {other:?}"),
        }
    }
    Ok(())
}

/// A second layer on the same prefix is the same layer, where that is allowed.
#[test]
fn reuse() -> Outcome {
    let config = |reuse| BatchNormConfig { reuse, ..BatchNormConfig::haiku() };
    let map = VarMap::new();
    match build(&config(Reuse::Always), &VarMap::new(), DType::F64) {
        Err(Error { kind: ErrorKind::NotThere(name), .. }) => {
            assert!(name.starts_with("norm."), "{name}")
        }
        other => panic!("{other:?}"),
    }
    let first = build(&config(Reuse::Never), &map, DType::F64)?;
    match build(&config(Reuse::Never), &map, DType::F64) {
        Err(Error { kind: ErrorKind::Exists(name), .. }) => {
            assert!(name.starts_with("norm."), "{name}")
        }
        other => panic!("{other:?}"),
    }
    let (second, third) = (
        build(&config(Reuse::Always), &map, DType::F64)?,
        build(&config(Reuse::Auto), &map, DType::F64)?,
    );
    let mut numbers = Numbers(3);
    let x = numbers.tensor(&[5, 3]);
    first.forward_train(&x)?;
    second.forward_train(&(&x + 1.0)?)?;
    third.forward_train(&(&x * 3.0)?)?;
    let single = build(&config(Reuse::Auto), &VarMap::new(), DType::F64)?;
    for x in [x.clone(), (&x + 1.0)?, (&x * 3.0)?] {
        single.forward_train(&x)?;
    }
    for shared in [&first, &second, &third] {
        assert_eq!(state_bits(shared), state_bits(&single), "one set of averages, three updates");
    }
    // Both uses' gradients meet in the one gamma.
    let dy = numbers.tensor(&[5, 3]);
    let loss = |bn: &BatchNorm, x: &Tensor| (bn.forward_eval(x)? * &dy)?.sum_all();
    let both = (loss(&first, &x)? + loss(&second, &(&x * 2.0)?)?)?.backward()?;
    let (one, other) = (loss(&first, &x)?.backward()?, loss(&second, &(&x * 2.0)?)?.backward()?);
    let gamma = first.gamma().ok_or("no gamma")?;
    let of = |grads: &candle::backprop::GradStore| values(grads.get(gamma).expect("a gradient"));
    let sum: Vec<f64> = of(&one).iter().zip(of(&other)).map(|(a, b)| a + b).collect();
    assert_close("dgamma", &of(&both), &sum, F64, F64);
    Ok(())
}
