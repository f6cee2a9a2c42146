//! Other systems' checkpoints: out and in again is the same layer; names, momentum, variance kinds, counters.

mod checkpoints;
#[path = "../common/mod.rs"]
mod common;

use bn_core::interchange::{Import, Named, export, from_bytes, import, to_bytes};
use bn_core::{
    BatchNorm, BatchNormConfig, Names, RenormConfig, RenormVariant, StoredVariance, ZeroDebias,
};
use candle::DType;
use common::{Numbers, Outcome, assert_close, bits, epsilon_of, layer, values};

const SYSTEMS: [Names; 8] = [
    Names::Own,
    Names::Torch,
    Names::Candle,
    Names::TfSlim,
    Names::TfLayers,
    Names::Keras,
    Names::Flax,
    Names::Haiku,
];

/// The system's own options, on channels last so that one input does for all.
fn config(system: Names) -> BatchNormConfig {
    BatchNormConfig { data_format: Default::default(), ..system.config() }
}

fn trained(config: &BatchNormConfig, dtype: DType, steps: usize) -> Outcome<BatchNorm> {
    let mut numbers = Numbers(12);
    let bn = layer(config, 3, dtype)?;
    for _ in 0..steps {
        bn.forward_train(&((numbers.tensor(&[10, 3]) * 2.0)? + 1.0)?.to_dtype(dtype)?)?;
    }
    for (_, var) in bn.affine_variables() {
        var.set(&numbers.tensor(&[3]).to_dtype(dtype)?)?;
    }
    Ok(bn)
}

fn names(named: &Named) -> Vec<&str> {
    named.keys().map(String::as_str).collect()
}

#[test]
fn out_and_in_again_is_the_same_layer() -> Outcome {
    for system in SYSTEMS {
        for dtype in [DType::F32, DType::F64] {
            for (prefix, options) in [
                ("", Import::default()),
                ("net/bn", Import { prefix: "net/bn".into(), ..Import::default() }),
            ] {
                let bn = trained(&config(system), dtype, 5)?;
                let bytes = to_bytes(&export(&bn, system, prefix, None)?)?;
                assert_eq!(
                    bytes,
                    to_bytes(&export(&bn, system, prefix, None)?)?,
                    "same layer, same bytes"
                );
                let named = from_bytes(&bytes, &common::device())?;
                let copy = layer(&config(system), 3, dtype)?;
                let imported = import(&copy, system, &named, &options)?;
                assert_eq!(imported.unused, Vec::<String>::new(), "{system:?}");
                assert_eq!(imported.used.len(), named.len());
                assert_eq!(imported.variance, bn.config().stored_variance);
                let x = Numbers(99).tensor(&[4, 3]).to_dtype(dtype)?;
                assert_eq!(
                    bits(&copy.forward_eval(&x)?),
                    bits(&bn.forward_eval(&x)?),
                    "{system:?}"
                );
                assert!(!copy.health()?.evaluated_before_update);
                // And training goes on alike, where the system has a name for all that it needs.
                if [Names::Own, Names::Torch, Names::Haiku].contains(&system) {
                    assert_eq!(copy.health()?.committed, 5);
                    assert_eq!(copy.step(), 5);
                }
                copy.forward_train(&x)?;
                bn.forward_train(&x)?;
                for (name, var) in
                    copy.statistics().into_iter().filter(|(name, _)| name != "updates")
                {
                    let (_, want) =
                        bn.statistics().into_iter().find(|(n, _)| *n == name).ok_or("no such")?;
                    // Haiku's sum is made of the average again: two roundings.
                    assert_close(
                        &name,
                        &values(var.as_tensor()),
                        &values(want.as_tensor()),
                        4.0 * epsilon_of(dtype),
                        0.0,
                    );
                }
            }
        }
    }
    Ok(())
}

#[test]
fn names_are_the_systems_own() -> Outcome {
    let of = |system: Names, config: &BatchNormConfig| -> Outcome<Vec<String>> {
        let named = export(&trained(config, DType::F32, 1)?, system, "p", None)?;
        Ok(names(&named).into_iter().map(str::to_owned).collect())
    };
    let all = |config: &dyn Fn(Names) -> BatchNormConfig, system| of(system, &config(system));
    assert_eq!(
        all(&config, Names::Torch)?,
        ["p.bias", "p.num_batches_tracked", "p.running_mean", "p.running_var", "p.weight"]
    );
    assert_eq!(
        all(&config, Names::Candle)?,
        ["p.bias", "p.running_mean", "p.running_var", "p.weight"]
    );
    assert_eq!(all(&config, Names::TfSlim)?, ["p/beta", "p/moving_mean", "p/moving_variance"]);
    assert_eq!(
        all(&config, Names::TfLayers)?,
        ["p/beta", "p/gamma", "p/moving_mean", "p/moving_variance"]
    );
    assert_eq!(
        all(&config, Names::Keras)?,
        ["p/beta", "p/gamma", "p/moving_mean", "p/moving_variance"]
    );
    assert_eq!(all(&config, Names::Flax)?, ["p/bias", "p/mean", "p/scale", "p/var"]);
    let haiku = [
        "p/mean_ema/average",
        "p/mean_ema/counter",
        "p/mean_ema/hidden",
        "p/offset",
        "p/scale",
        "p/var_ema/average",
        "p/var_ema/counter",
        "p/var_ema/hidden",
    ];
    assert_eq!(all(&config, Names::Haiku)?, haiku);
    let debiased = |system| BatchNormConfig { zero_debias: ZeroDebias::Mean, ..config(system) };
    assert_eq!(
        all(&debiased, Names::TfSlim)?,
        [
            "p/beta",
            "p/moving_mean",
            "p/moving_mean/biased",
            "p/moving_mean/local_step",
            "p/moving_variance"
        ]
    );
    let renorm = |variant| {
        move |system| BatchNormConfig { renorm: Some(RenormConfig::new(variant)), ..config(system) }
    };
    let tf1 = [
        "p/beta",
        "p/gamma",
        "p/moving_mean",
        "p/moving_variance",
        "p/renorm_mean",
        "p/renorm_mean_weight",
        "p/renorm_stddev",
        "p/renorm_stddev_weight",
    ];
    assert_eq!(all(&renorm(RenormVariant::Tf1), Names::TfLayers)?, tf1);
    let keras = [
        "p/beta",
        "p/gamma",
        "p/moving_mean",
        "p/moving_stddev",
        "p/moving_variance",
        "p/renorm_mean",
        "p/renorm_stddev",
    ];
    assert_eq!(all(&renorm(RenormVariant::Keras), Names::Keras)?, keras);
    Ok(())
}

#[test]
fn momentum() {
    for system in SYSTEMS {
        let ours = if [Names::Torch, Names::Candle].contains(&system) { 0.75 } else { 0.25 };
        assert_eq!(system.decay(0.25), ours, "{system:?}");
        assert_eq!(system.momentum(system.decay(0.25)), 0.25, "{system:?}");
    }
}

/// n values: unbiased = biased · n/(n − 1). Without n the number stays, and its kind is told.
#[test]
fn variance_kinds() -> Outcome {
    let biased = trained(&config(Names::Keras), DType::F64, 5)?;
    let (v, n) = (values(&biased.moving_variance()?), 10.0);
    let to_torch = export(&biased, Names::Torch, "", Some(n))?;
    let unbiased: Vec<f64> = v.iter().map(|v| v * n / (n - 1.0)).collect();
    assert_close("running_var", &values(&to_torch["running_var"]), &unbiased, 1e-15, 0.0);
    assert_eq!(values(&export(&biased, Names::Torch, "", None)?["running_var"]), v);
    assert_eq!(values(&export(&biased, Names::Flax, "", Some(n))?["var"]), v, "the same kind");

    let keras = || layer(&config(Names::Keras), 3, DType::F64);
    let read = |options: &Import| -> Outcome<(StoredVariance, Vec<f64>)> {
        let bn = keras()?;
        let imported = import(&bn, Names::Torch, &to_torch, options)?;
        Ok((imported.variance, values(&bn.moving_variance()?)))
    };
    let (kind, back) = read(&Import { values_per_channel: Some(n), ..Import::default() })?;
    assert_eq!(kind, StoredVariance::Biased);
    assert_close("there and back", &back, &v, 1e-15, 0.0);
    let (kind, kept) = read(&Import::default())?;
    assert_eq!((kind, kept), (StoredVariance::Unbiased, values(&to_torch["running_var"])));
    // TensorFlow's fused layer stores the unbiased one under the same name: the caller says so.
    let (kind, kept) = read(&Import {
        stored_variance: Some(StoredVariance::Biased),
        values_per_channel: Some(n),
        ..Import::default()
    })?;
    assert_eq!((kind, kept), (StoredVariance::Biased, values(&to_torch["running_var"])));

    // Haiku holds every variance twice, and both are of one kind.
    let torch = BatchNormConfig { zero_debias: ZeroDebias::Both, ..config(Names::Torch) };
    let torch = trained(&torch, DType::F64, 5)?;
    let haiku = export(&torch, Names::Haiku, "", Some(n))?;
    let filled = 1.0 - 0.9f64.powi(5);
    let average: Vec<f64> = values(&haiku["var_ema/hidden"]).iter().map(|h| h / filled).collect();
    assert_close("average", &average, &values(&haiku["var_ema/average"]), 1e-15, 0.0);
    let of_layer: Vec<f64> =
        values(&torch.moving_variance()?).iter().map(|v| v * (n - 1.0) / n).collect();
    assert_close("average", &values(&haiku["var_ema/average"]), &of_layer, 1e-15, 0.0);
    Ok(())
}
