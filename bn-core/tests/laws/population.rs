//! Population statistics: of all data as one batch, however they were split; nothing half done.

use bn_core::{
    BatchNorm, BatchNormConfig, Call, Error, ErrorKind, PopulationOptions, RenormConfig,
    RenormVariant, StoredVariance, ZeroDebias, population_statistics,
};
use candle::{DType, Tensor};
use proptest::prelude::*;

use crate::F64;
use crate::common::{Numbers, Outcome, assert_close, bits, layer, state_bits, tensor, values};
use crate::{cases, holds, shapes};

fn options() -> PopulationOptions {
    PopulationOptions::default()
}

fn error(reason: &str) -> Error {
    ErrorKind::Collective(reason.to_owned()).at("test")
}

proptest! {
    #![proptest_config(cases(30))]

    #[test]
    fn shuffled_ragged_batches_are_one_big_batch(shape in shapes(), weighted in any::<bool>(), unbiased in any::<bool>()) {
        holds((|| {
            let stored_variance = if unbiased { StoredVariance::Unbiased } else { StoredVariance::Biased };
            let plain = BatchNormConfig { data_format: shape.format(), stored_variance, ..BatchNormConfig::keras() };
            let renorm = |variant| BatchNormConfig {
                renorm: Some(RenormConfig::new(variant)),
                stored_variance: StoredVariance::Biased,
                ..plain.clone()
            };
            let debiased = BatchNormConfig { zero_debias: ZeroDebias::Both, ..plain.clone() };
            for config in [plain.clone(), debiased, renorm(RenormVariant::Tf1), renorm(RenormVariant::Paper), renorm(RenormVariant::Keras)] {
                let bn = layer(&config, shape.channels(), DType::F64)?;
                let mut numbers = Numbers(shape.seed);
                bn.forward_train(&numbers.tensor(&shape.dims))?;
                let mut dims = shape.dims.clone();
                dims[0] = 20;
                let x = ((numbers.tensor(&dims) * 3.0)? - 2.0)?;
                let w: Vec<f64> = (0..20).map(|_| if weighted { numbers.between(0.1, 4.0) } else { 1.0 }).collect();
                let w = tensor(&w, &[20], DType::F64);
                let mut order: Vec<u32> = (0..20).collect();
                for i in (1..20).rev() {
                    order.swap(i, numbers.below(i + 1));
                }
                let mut batches = Vec::new();
                while !order.is_empty() {
                    let rows = order.split_off(order.len() - (1 + numbers.below(6)).min(order.len()));
                    let rows = Tensor::new(rows, &crate::common::device())?;
                    batches.push((x.index_select(&rows, 0)?, w.index_select(&rows, 0)?));
                }
                let count = batches.len();
                let report = population_statistics(&[&bn], batches, &options(), |(x, w)| {
                    bn.forward_with(&x, &Call { weights: Some(&w), ..Call::eval() }).map(drop)
                })?;
                assert_eq!((report.batches, report.converged), (count, false));
                let whole = bn_core::Moments::weighted(&x, &w, shape.format())?;
                let variance = match config.stored_variance {
                    StoredVariance::Biased => whole.variance().clone(),
                    StoredVariance::Unbiased => whole.unbiased_variance(config.weight_kind),
                };
                assert_close("mean", &values(&bn.moving_mean()?), &values(whole.mean()), F64, F64);
                assert_close("variance", &values(&bn.moving_variance()?), &values(&variance), F64, F64);
                // What follows goes on from there: one update, one step of the way.
                let (before, batch) = (values(&bn.moving_mean()?), numbers.tensor(&shape.dims));
                bn.forward_train(&batch)?;
                let of_batch = bn_core::Moments::of(&batch, shape.format())?;
                for (c, after) in values(&bn.moving_mean()?).into_iter().enumerate() {
                    let way = values(of_batch.mean())[c] - before[c];
                    let moved = after - before[c];
                    assert!(moved * way >= 0.0 && moved.abs() <= 0.0101 * way.abs() + F64, "moved {moved} of {way}");
                }
            }
            Ok(())
        })())?;
    }
}

fn two_layers() -> Outcome<(BatchNorm, BatchNorm)> {
    let mut numbers = Numbers(77);
    let pair = (
        layer(&BatchNormConfig::haiku(), 2, DType::F64)?,
        layer(&BatchNormConfig::torch(), 2, DType::F64)?,
    );
    pair.0.forward_train(&numbers.tensor(&[4, 2]))?;
    pair.1.forward_train(&numbers.tensor(&[4, 2]))?;
    Ok(pair)
}

/// Whatever ends the pass badly, all layers keep what they had, and record no more.
#[test]
fn an_error_leaves_every_layer_as_it_was() -> Outcome {
    let x = Numbers(5).tensor(&[6, 2]);
    type Forward<'a> = &'a dyn Fn(usize) -> bn_core::Result<()>;
    let (a, b) = two_layers()?;
    let fails_late = |i: usize| {
        b.forward_eval(&a.forward_eval(&x)?)?;
        if i == 3 { Err(error("late")) } else { Ok(()) }
    };
    let skips_one = |_: usize| a.forward_eval(&x).map(drop);
    let poisoned = |i: usize| {
        let x = if i == 2 { (&x * f64::NAN)? } else { x.clone() };
        a.forward_eval(&x)?;
        b.forward_eval(&x).map(drop)
    };
    let wrong_shape = |_: usize| {
        b.forward_eval(&x)?;
        a.forward_eval(&x.narrow(1, 0, 1)?).map(drop)
    };
    let passes: [(&str, Forward<'_>, usize); 5] = [
        ("an error in the fourth batch", &fails_late, 5),
        ("a layer that is never called", &skips_one, 5),
        ("a batch of NaN", &poisoned, 5),
        ("a shape that does not fit", &wrong_shape, 5),
        ("no batches", &fails_late, 0),
    ];
    for (what, forward, count) in passes {
        let before = (state_bits(&a), state_bits(&b));
        let eval = bits(&a.forward_eval(&x)?);
        let result = population_statistics(&[&a, &b], 0..count, &options(), forward);
        assert!(result.is_err(), "{what}: {result:?}");
        assert_eq!((state_bits(&a), state_bits(&b)), before, "{what}");
        assert_eq!(bits(&a.forward_eval(&x)?), eval, "{what}: evaluation is evaluation again");
    }
    Ok(())
}

#[test]
fn a_pass_stops_when_the_population_is_known() -> Outcome {
    let run = |options: PopulationOptions, spread: f64| -> Outcome<_> {
        let bn = layer(&BatchNormConfig::keras(), 2, DType::F64)?;
        let mut numbers = Numbers(9);
        let batches = (0..200).map(|_| (numbers.tensor(&[50, 2]) * spread)? + 4.0);
        let report =
            population_statistics(&[&bn], batches, &options, |x| bn.forward_eval(&x?).map(drop))?;
        Ok((report, bn))
    };
    let (all, bn) = run(options(), 2.0)?;
    assert_eq!((all.batches, all.converged), (200, false));
    // 10,000 values: the mean is known to 1/√10⁴ stddevs, the variance to √2 of that; four times over.
    let reached = all.standard_error.ok_or("no standard error")?;
    assert!((0.5e-2..4.0 * 1.5e-2).contains(&reached), "{reached}");
    assert_close("mean", &values(&bn.moving_mean()?), &[4.0; 2], 0.0, 4.0 * 2.0 * 1e-2);
    assert!(!bn.health()?.evaluated_before_update);
    bn.forward_eval(&Numbers(1).tensor(&[3, 2]))?;
    assert!(!bn.health()?.evaluated_before_update, "these statistics are of data");

    let (early, _) = run(PopulationOptions { standard_error: Some(0.05), ..options() }, 2.0)?;
    assert!(early.converged && early.batches < 100, "{early:?}");
    assert!(early.standard_error.is_some_and(|e| e <= 0.05));
    let (patient, _) =
        run(PopulationOptions { standard_error: Some(1e9), min_batches: 17, ..options() }, 2.0)?;
    assert_eq!((patient.batches, patient.converged), (17, true));
    let (short, _) = run(
        PopulationOptions { max_batches: Some(3), standard_error: Some(1e9), ..options() },
        2.0,
    )?;
    assert_eq!((short.batches, short.converged), (3, false));
    let (constant, bn) = run(PopulationOptions { standard_error: Some(1e-6), ..options() }, 0.0)?;
    assert_eq!((constant.batches, constant.standard_error), (8, Some(0.0)));
    assert_eq!(values(&bn.moving_variance()?), [0.0; 2]);
    Ok(())
}
