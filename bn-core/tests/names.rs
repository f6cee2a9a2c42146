//! Checkpoints in other systems' names, read and written straight through a `VarBuilder`.

mod common;

use std::collections::HashMap;

use bn_core::{BatchNorm, BatchNormConfig, Error, ErrorKind, MovingAverage, Names, Parameters};
use candle::{DType, Tensor};
use candle_nn::{VarBuilder, VarMap};
use common::{Outcome, values};

fn t(values: &[f64]) -> candle::Result<Tensor> {
    Tensor::new(values, &common::device())
}

/// gamma, beta, mean, variance in each system's layout of a file, for a layer at `block.1.norm`.
fn files() -> Vec<(Names, [&'static str; 4], Option<&'static str>)> {
    vec![
        (
            Names::Torch,
            [
                "block.1.norm.weight",
                "block.1.norm.bias",
                "block.1.norm.running_mean",
                "block.1.norm.running_var",
            ],
            Some("block.1.norm.num_batches_tracked"),
        ),
        (
            Names::Candle,
            [
                "block.1.norm.weight",
                "block.1.norm.bias",
                "block.1.norm.running_mean",
                "block.1.norm.running_var",
            ],
            None,
        ),
        (
            Names::TfSlim,
            [
                "block/1/norm/gamma",
                "block/1/norm/beta",
                "block/1/norm/moving_mean",
                "block/1/norm/moving_variance",
            ],
            None,
        ),
        (
            Names::Keras,
            [
                "block.1.norm.gamma",
                "block.1.norm.beta",
                "block.1.norm.moving_mean",
                "block.1.norm.moving_variance",
            ],
            None,
        ),
        // Flax: two trees, flattened with either separator.
        (
            Names::Flax,
            [
                "params.block.1.norm.scale",
                "params.block.1.norm.bias",
                "batch_stats.block.1.norm.mean",
                "batch_stats.block.1.norm.var",
            ],
            None,
        ),
        (
            Names::Flax,
            [
                "params/block/1/norm/scale",
                "params/block/1/norm/bias",
                "batch_stats/block/1/norm/mean",
                "batch_stats/block/1/norm/var",
            ],
            None,
        ),
        // Haiku: the averages are modules below the layer.
        (
            Names::Haiku,
            [
                "block/1/norm/scale",
                "block/1/norm/offset",
                "block/1/norm/~/mean_ema/average",
                "block/1/norm/~/var_ema/average",
            ],
            Some("block/1/norm/~/mean_ema/counter"),
        ),
    ]
}

#[test]
fn checkpoints_of_other_systems_load_through_the_var_builder() -> Outcome {
    for (names, [gamma, beta, mean, variance], counter) in files() {
        let mut file: HashMap<String, Tensor> = HashMap::new();
        let numbers =
            [(gamma, [2.0, 3.0]), (beta, [0.5, -0.5]), (mean, [1.0, -1.0]), (variance, [4.0, 9.0])];
        for (name, values) in numbers {
            file.insert(name.to_owned(), t(&values)?);
        }
        if let Some(counter) = counter {
            file.insert(counter.to_owned(), Tensor::new(7i64, &common::device())?);
        }
        // Through a real file's bytes.
        let bytes = safetensors::serialize(&file, None)?;
        let vb = VarBuilder::from_buffered_safetensors(bytes, DType::F64, &common::device())?;
        let config = BatchNormConfig::default().names(names);
        let bn = config.build(2, vb.pp("block").pp("1").pp("norm"))?;
        assert_eq!(values(bn.gamma().ok_or("gamma")?.as_tensor()), [2.0, 3.0], "{names:?}");
        assert_eq!(values(bn.beta().ok_or("beta")?.as_tensor()), [0.5, -0.5], "{names:?}");
        assert_eq!(values(bn.moving_mean()?), [1.0, -1.0], "{names:?}");
        assert_eq!(values(bn.moving_variance()?), [4.0, 9.0], "{names:?}");
        assert_eq!(bn.step(), if counter.is_some() { 7 } else { 0 }, "{names:?}");
        let x = t(&[1.0, -1.0])?.reshape((1, 2))?;
        common::assert_close(
            "y at the mean",
            &values(bn.forward_eval(&x)?),
            &[0.5, -0.5],
            1e-15,
            1e-15,
        );
        bn.health()?;
        assert!(
            !bn.health()?.evaluated_before_update,
            "{names:?}: a checkpoint is no initial value"
        );
    }
    Ok(())
}

#[test]
fn a_trained_layer_is_written_under_the_names_it_is_read_by() -> Outcome {
    for names in [
        Names::Own,
        Names::Torch,
        Names::Candle,
        Names::TfSlim,
        Names::Keras,
        Names::Flax,
        Names::Haiku,
    ] {
        let map = VarMap::new();
        let vb = VarBuilder::from_varmap(&map, DType::F64, &common::device());
        let config = BatchNormConfig::default().names(names);
        let bn = config.build(2, vb.pp("a").pp("norm"))?;
        bn.forward_train(&t(&[1.0, 2.0, 4.0, -3.0])?.reshape((2, 2))?)?;
        let saved: HashMap<String, Tensor> = {
            let data = map.data().lock().map_err(|_| "poisoned")?;
            data.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect()
        };
        if names == Names::Torch {
            let mut written: Vec<&str> = saved.keys().map(String::as_str).collect();
            written.sort_unstable();
            let torch = ["bias", "num_batches_tracked", "running_mean", "running_var", "weight"];
            assert_eq!(written, torch.map(|name| format!("a.norm.{name}")));
            assert_eq!(saved["a.norm.num_batches_tracked"].dtype(), DType::I64);
        }
        let bytes = safetensors::serialize(&saved, None)?;
        let vb = VarBuilder::from_buffered_safetensors(bytes, DType::F64, &common::device())?;
        let again = config.build(2, vb.pp("a").pp("norm"))?;
        assert_eq!(common::state_bits(&bn), common::state_bits(&again), "{names:?}");
        assert_eq!(again.step(), 1);
    }
    Ok(())
}

#[test]
fn a_layer_of_tensors() -> Outcome {
    let config = BatchNormConfig::default();
    let all = Parameters {
        gamma: Some(t(&[2.0])?),
        beta: Some(t(&[1.0])?),
        moving_mean: t(&[3.0])?,
        moving_variance: t(&[4.0])?,
    };
    let bn = BatchNorm::from_tensors(&config, &all)?;
    let y = values(bn.forward_eval(&t(&[5.0])?.reshape((1, 1))?)?);
    common::assert_close("y", &y, &[2.0 * 2.0 / (4.0f64 + 1e-5).sqrt() + 1.0], 1e-15, 0.0);
    let lacks = Parameters { beta: None, ..all.clone() };
    assert!(matches!(
        BatchNorm::from_tensors(&config, &lacks),
        Err(Error { kind: ErrorKind::Contradiction { .. }, .. })
    ));
    let negative = Parameters { moving_variance: t(&[-1.0])?, ..all };
    assert!(matches!(
        BatchNorm::from_tensors(&config, &negative),
        Err(Error { kind: ErrorKind::Value { .. }, .. })
    ));
    Ok(())
}

#[test]
fn errors_name_the_layer() -> Outcome {
    let map = VarMap::new();
    let vb = VarBuilder::from_varmap(&map, DType::F32, &common::device()).pp("stage1").pp("norm");
    let bn = BatchNormConfig::torch().build(2, vb.clone())?;
    let x = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &common::device());
    let wrong = BatchNormConfig { epsilon: -1.0, ..BatchNormConfig::default() };
    let errors = [
        bn.forward_train(&x(&[2, 3])?).expect_err("channels"),
        bn.forward_train(&x(&[2])?).expect_err("rank"),
        bn.forward_train(&x(&[1, 2])?).expect_err("one value"),
        wrong.build(2, vb).expect_err("epsilon"),
    ];
    for error in errors {
        assert!(error.to_string().starts_with("batch norm `stage1.norm`: "), "{error}");
    }
    Ok(())
}

#[test]
fn a_moving_average_goes_on_from_where_it_was_saved() -> Outcome {
    for debias in [false, true] {
        let fresh = || MovingAverage::new(&t(&[0.0, 1.0])?.to_dtype(DType::F32)?, 0.9, debias);
        let (a, b) = (fresh()?, fresh()?);
        for step in 0..10 {
            if step == 4 {
                b.load(&a.to_tensors()?)?;
            }
            let x = t(&[f64::from(step), -1.5])?;
            a.update(&x)?;
            if step >= 4 {
                b.update(&x)?;
            }
        }
        assert_eq!(values(a.value()?), values(b.value()?));
        assert_eq!((a.updates(), b.updates()), (10, 10));
        assert!(matches!(
            b.load(&Default::default()),
            Err(Error { kind: ErrorKind::Missing { .. }, .. })
        ));
    }
    Ok(())
}

#[test]
fn gradients_that_are_not_wanted_are_not_taken() -> Outcome {
    let bn = common::layer(&BatchNormConfig::default(), 3, DType::F64)?;
    let (x, dy) = (common::Numbers(3).tensor(&[7, 3]), common::Numbers(4).tensor(&[7, 3]));
    let (_, saved) = bn.forward_train_saved(&x)?;
    let (dgamma, dbeta) = saved.parameter_gradients(&dy)?;
    let all = saved.gradients(&dy)?;
    let same = |a: Option<Tensor>, b: Option<Tensor>| a.map(values) == b.map(values);
    assert!(same(dgamma, all.gamma) && same(dbeta, all.beta));
    Ok(())
}

#[test]
fn a_configuration_survives_a_round_trip_through_json() -> Outcome {
    use bn_core::{Clipping, Decay, RenormConfig, RenormVariant, Schedule};
    let renorm =
        RenormConfig { clipping: Clipping::paper(1_000), ..RenormConfig::new(RenormVariant::Tf1) };
    let decay = Decay::Schedule(Schedule::piecewise([(0, 0.5), (10, 0.9)])?);
    let config = BatchNormConfig { renorm: Some(renorm), decay, ..BatchNormConfig::tf_slim() };
    let text = serde_json::to_string(&config)?;
    assert_eq!(serde_json::from_str::<BatchNormConfig>(&text)?, config);
    let partial: BatchNormConfig = serde_json::from_str(r#"{"decay": {"constant": 0.5}}"#)?;
    assert_eq!(partial.epsilon, BatchNormConfig::default().epsilon);
    assert!(serde_json::from_str::<BatchNormConfig>(r#"{"momentum": 0.5}"#).is_err());
    assert!(
        serde_json::from_str::<Schedule>("[[5, 1.0], [3, 1.0]]").is_err(),
        "steps that go back"
    );
    Ok(())
}
