//! Checkpoints as the systems write them, and ones that lack something.

use crate::common::{Numbers, Outcome, assert_close, bits, layer, state_bits, tensor, values};
use crate::{SYSTEMS, config, names, trained};
use bn_core::interchange::{Import, Named, export, import};
use bn_core::{
    BatchNorm, BatchNormConfig, Decay, Error, ErrorKind, Names, RenormConfig, RenormVariant,
    ZeroDebias,
};
use candle::{DType, Tensor};

#[test]
fn own_names_keep_every_bit_of_a_layer() -> Outcome {
    let renorm = |variant| Some(RenormConfig::new(variant));
    for (renorm, zero_debias) in [
        (None, ZeroDebias::Both),
        (renorm(RenormVariant::Tf1), ZeroDebias::Mean),
        (renorm(RenormVariant::Keras), ZeroDebias::None),
        (renorm(RenormVariant::Paper), ZeroDebias::None),
    ] {
        let config = BatchNormConfig { renorm, zero_debias, ..config(Names::Keras) };
        let config = BatchNormConfig { decay: Decay::Cumulative, ..config };
        for dtype in [DType::F32, DType::F64] {
            let bn = trained(&config, dtype, 3)?;
            let named = export(&bn, Names::Own, "a.b", None)?;
            let copy = layer(&config, 3, dtype)?;
            let options = Import { prefix: "a.b".into(), ..Import::default() };
            assert_eq!(import(&copy, Names::Own, &named, &options)?.unused, Vec::<String>::new());
            let x = Numbers(7).tensor(&[4, 3]).to_dtype(dtype)?;
            for _ in 0..2 {
                assert_eq!(state_bits(&copy), state_bits(&bn));
                assert_eq!(bits(&copy.forward_train(&x)?), bits(&bn.forward_train(&x)?));
            }
        }
    }
    Ok(())
}

#[test]
fn a_missing_name_says_which_and_what_was_there() -> Outcome {
    for system in SYSTEMS {
        let bn = trained(&config(system), DType::F32, 2)?;
        let full = export(&bn, system, "here", None)?;
        let options = Import { prefix: "here".into(), ..Import::default() };
        let affine = if system == Names::TfSlim { 1 } else { 2 };
        let mut refused = 0;
        for missing in full.keys() {
            let mut rest = full.clone();
            rest.remove(missing);
            let fresh = layer(&config(system), 3, DType::F32)?;
            let before = state_bits(&fresh);
            match import(&fresh, system, &rest, &options) {
                Err(Error { kind: ErrorKind::Missing { name, present, .. }, .. }) => {
                    refused += 1;
                    assert_eq!(name, *missing);
                    assert_eq!(present, names(&rest).join(", "));
                    assert_eq!(state_bits(&fresh), before, "nothing was changed");
                }
                Ok(_) => {
                    // More state than the four: it takes over from the moving statistics.
                    let x = Numbers(1).tensor(&[4, 3]).to_dtype(DType::F32)?;
                    assert_eq!(
                        bits(&fresh.forward_eval(&x)?),
                        bits(&bn.forward_eval(&x)?),
                        "{missing}"
                    );
                }
                other => panic!("{missing}: {other:?}"),
            }
        }
        assert_eq!(
            refused,
            2 + affine,
            "{system:?}: mean, variance, and what the layer has of gamma and beta"
        );
    }
    Ok(())
}

/// Another tensor under the prefix is told, one beside it is none of ours.
#[test]
fn what_was_not_used() -> Outcome {
    let bn = trained(&config(Names::Torch), DType::F32, 2)?;
    let mut named = export(&bn, Names::Torch, "bn1", None)?;
    let one = Tensor::ones(1, DType::F32, &crate::common::device())?;
    named.insert("bn1.extra".into(), one.clone());
    named.insert("bn10.weight".into(), one);
    let options = Import { prefix: "bn1".into(), ..Import::default() };
    let imported =
        import(&layer(&config(Names::Torch), 3, DType::F32)?, Names::Torch, &named, &options)?;
    assert_eq!(imported.unused, ["bn1.extra"]);
    // A layer without gamma leaves the file's alone.
    let plain = BatchNormConfig { scale: false, ..config(Names::Torch) };
    let imported = import(&layer(&plain, 3, DType::F32)?, Names::Torch, &named, &options)?;
    assert_eq!(imported.unused, ["bn1.extra", "bn1.weight"]);
    Ok(())
}

/// A checkpoint as each system would write it, by its own recurrence, and the step after it.
#[test]
fn counters_and_sums() -> Outcome {
    let (decay, steps) = (0.9, 4);
    let (mut mean, mut variance) = (vec![0.0; 3], vec![0.0; 3]);
    let mut numbers = Numbers(5);
    let batches: Vec<Tensor> = (0..=steps).map(|_| numbers.tensor(&[6, 3])).collect();
    let of = |x: &Tensor| {
        bn_core::Moments::of(x, Default::default())
            .map(|m| (values(m.mean()), values(m.variance())))
    };
    for x in &batches[..steps] {
        let (m, v) = of(x)?;
        for c in 0..3 {
            mean[c] = decay * mean[c] + (1.0 - decay) * m[c];
            variance[c] = decay * variance[c] + (1.0 - decay) * v[c];
        }
    }
    let filled = |t: usize| 1.0 - decay.powi(t as i32);
    let average = |hidden: &[f64]| hidden.iter().map(|h| h / filled(steps)).collect::<Vec<_>>();
    let next = |hidden: &[f64], x: &[f64]| {
        (0..3)
            .map(|c| (decay * hidden[c] + (1.0 - decay) * x[c]) / filled(steps + 1))
            .collect::<Vec<f64>>()
    };
    let (next_mean, next_variance) = of(&batches[steps])?;
    let wide = |v: &[f64]| tensor(v, &[1, 1, 1, 3], DType::F64); // with axes around the channels, as Haiku has it
    let one = |v: f64, dtype| tensor(&[v], &[], dtype);

    let config = BatchNormConfig { decay: Decay::Constant(decay), ..config(Names::Haiku) };
    let haiku = Named::from([
        ("scale".into(), wide(&[1.0; 3])),
        ("offset".into(), wide(&[0.0; 3])),
        ("mean_ema/hidden".into(), wide(&mean)),
        ("mean_ema/average".into(), wide(&average(&mean))),
        ("mean_ema/counter".into(), one(steps as f64, DType::I64)),
        ("var_ema/hidden".into(), wide(&variance)),
        ("var_ema/average".into(), wide(&average(&variance))),
        ("var_ema/counter".into(), one(steps as f64, DType::I64)),
    ]);
    let bn = layer(&config, 3, DType::F64)?;
    let imported = import(&bn, Names::Haiku, &haiku, &Import::default())?;
    assert_eq!((imported.used.len(), imported.unused.len()), (8, 0));
    assert_eq!((bn.step(), bn.health()?.committed), (4, 4));
    bn.forward_train(&batches[steps])?;
    assert_close("mean", &values(&bn.moving_mean()?), &next(&mean, &next_mean), 1e-14, 1e-14);
    assert_close(
        "variance",
        &values(&bn.moving_variance()?),
        &next(&variance, &next_variance),
        1e-14,
        1e-14,
    );

    let config = BatchNormConfig {
        decay: Decay::Constant(decay),
        zero_debias: ZeroDebias::Mean,
        ..crate::config(Names::TfSlim)
    };
    let slim = Named::from([
        ("bn/beta".into(), wide(&[0.0; 3])),
        ("bn/moving_mean".into(), wide(&average(&mean))),
        ("bn/moving_mean/biased".into(), wide(&mean)),
        ("bn/moving_mean/local_step".into(), one(steps as f64, DType::F32)),
        ("bn/moving_variance".into(), wide(&[2.0; 3])),
    ]);
    let bn = layer(&config, 3, DType::F64)?;
    let imported =
        import(&bn, Names::TfSlim, &slim, &Import { prefix: "bn".into(), ..Import::default() })?;
    assert_eq!((imported.used.len(), imported.unused.len(), bn.step()), (5, 0, 4));
    bn.forward_train(&batches[steps])?;
    assert_close("mean", &values(&bn.moving_mean()?), &next(&mean, &next_mean), 1e-14, 1e-14);
    let plain: Vec<f64> = next_variance.iter().map(|v| decay * 2.0 + (1.0 - decay) * v).collect();
    assert_close("variance", &values(&bn.moving_variance()?), &plain, 1e-14, 0.0);
    let back = export(&bn, Names::TfSlim, "bn", None)?;
    assert_eq!(values(&back["bn/moving_mean/local_step"]), [5.0]);
    let sum: Vec<f64> = values(&bn.moving_mean()?).iter().map(|m| m * filled(5)).collect();
    assert_close("biased", &values(&back["bn/moving_mean/biased"]), &sum, 1e-14, 0.0);

    // PyTorch's cumulative average (momentum=None) goes on from its count.
    let config = BatchNormConfig { decay: Decay::Cumulative, ..crate::config(Names::Torch) };
    let torch = Named::from([
        ("weight".into(), wide(&[1.0; 3])),
        ("bias".into(), wide(&[0.0; 3])),
        ("running_mean".into(), wide(&[3.0; 3])),
        ("running_var".into(), wide(&[2.0; 3])),
        ("num_batches_tracked".into(), one(9.0, DType::I64)),
    ]);
    let bn = layer(&config, 3, DType::F64)?;
    import(&bn, Names::Torch, &torch, &Import::default())?;
    bn.forward_train(&batches[steps])?;
    let tenth: Vec<f64> = next_mean.iter().map(|m| (9.0 * 3.0 + m) / 10.0).collect();
    assert_close("mean", &values(&bn.moving_mean()?), &tenth, 1e-14, 0.0);
    let back = export(&bn, Names::Torch, "", None)?;
    assert_eq!(back["num_batches_tracked"].dtype(), DType::I64);
    assert_eq!(values(&back["num_batches_tracked"]), [10.0]);
    Ok(())
}

/// 2017's renorm weights are one number for all channels.
#[test]
fn renorm_weights_of_2017() -> Outcome {
    let config = BatchNormConfig {
        renorm: Some(RenormConfig::new(RenormVariant::Tf1)),
        ..config(Names::TfLayers)
    };
    let bn = trained(&config, DType::F64, 3)?;
    let mut named = export(&bn, Names::TfLayers, "", None)?;
    for name in ["renorm_mean_weight", "renorm_stddev_weight"] {
        let first = values(&named[name])[0];
        named.insert(name.into(), tensor(&[first], &[], DType::F64));
    }
    let copy = layer(&config, 3, DType::F64)?;
    assert!(import(&copy, Names::TfLayers, &named, &Import::default())?.unused.is_empty());
    let x = Numbers(3).tensor(&[5, 3]);
    assert_eq!(bits(&copy.forward_train(&x)?), bits(&bn.forward_train(&x)?));
    for name in
        ["moving_mean", "moving_variance", "renorm_mean", "renorm_stddev", "renorm_mean_weight"]
    {
        let of = |bn: &BatchNorm| state_bits(bn).into_iter().find(|(n, _)| n == name);
        assert_eq!(of(&copy), of(&bn));
    }
    Ok(())
}
