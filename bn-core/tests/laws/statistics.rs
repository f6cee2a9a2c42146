//! Weights, masks, ghost batches and merging: each is another way to say something simpler.

use bn_core::{
    BatchNorm, BatchNormConfig, Call, DataFormat, Moments, RenormConfig, RenormVariant,
    StoredVariance, WeightKind, ZeroDebias,
};
use candle::{DType, Tensor, Var};
use proptest::prelude::*;

use crate::common::{
    Numbers, Outcome, assert_close, bits, gradients, layer, state_bits, tensor, values,
};
use crate::{F64, Shape, cases, holds, shapes};

/// The options that statistics may meet, one after the other.
fn options(shape: &Shape) -> Vec<BatchNormConfig> {
    let plain = BatchNormConfig { data_format: shape.format(), ..BatchNormConfig::candle() };
    let renorm = |variant| BatchNormConfig {
        stored_variance: StoredVariance::Biased,
        renorm: Some(RenormConfig::new(variant)),
        ..plain.clone()
    };
    vec![
        BatchNormConfig { zero_debias: ZeroDebias::Both, ..plain.clone() },
        renorm(RenormVariant::Tf1),
        renorm(RenormVariant::Keras),
        renorm(RenormVariant::Paper),
        plain,
    ]
}

fn assert_same_state(one: &BatchNorm, other: &BatchNorm) {
    for ((name, a), (_, b)) in one.statistics().iter().zip(other.statistics()) {
        assert_close(name, &values(a.as_tensor()), &values(b.as_tensor()), F64, F64);
    }
}

/// y, dx, dgamma, dbeta of one training step.
fn train(bn: &BatchNorm, x: &Tensor, w: Option<&Tensor>, dy: &Tensor) -> Outcome<[Tensor; 4]> {
    let x = Var::from_tensor(x)?;
    let y = bn.forward_with(&x, &Call { weights: w, ..Call::train() })?;
    let grads = gradients(&y, dy)?;
    let of = |v: Option<&Var>| v.and_then(|v| grads.get(v)).cloned().ok_or("no gradient");
    Ok([y.clone(), of(Some(&x))?, of(bn.gamma())?, of(bn.beta())?])
}

proptest! {
    #![proptest_config(cases(40))]

    /// The copies of a row share its gradient: only the first copy's y is in the loss, and the row's
    /// gradient is the sum over its copies.
    #[test]
    fn integer_weights_are_repeated_rows(shape in shapes()) {
        holds((|| {
            for config in options(&shape) {
                let (weighted, repeated) = pair(&config, &shape)?;
                let mut numbers = Numbers(shape.seed);
                for _ in 0..3 {
                    let (x, dy) = (numbers.tensor(&shape.dims), numbers.tensor(&shape.dims));
                    let counts: Vec<usize> = (0..shape.dims[0]).map(|_| 1 + numbers.below(3)).collect();
                    let rows: Vec<u32> = (0u32..).zip(&counts).flat_map(|(row, &n)| vec![row; n]).collect();
                    let first: Vec<f64> = counts.iter().flat_map(|&n| (0..n).map(|i| if i == 0 { 1.0 } else { 0.0 })).collect();
                    let rows = Tensor::new(rows, &crate::common::device())?;
                    let mut column = vec![1; shape.dims.len()];
                    column[0] = first.len();
                    let first = tensor(&first, &column, DType::F64);
                    let w: Vec<f64> = counts.iter().map(|&n| n as f64).collect();
                    let w = tensor(&w, &[w.len()], DType::F64);

                    let [y, dx, dgamma, dbeta] = train(&weighted, &x, Some(&w), &dy)?;
                    let dy = dy.index_select(&rows, 0)?.broadcast_mul(&first)?;
                    let [y_rows, dx_rows, dgamma_rows, dbeta_rows] =
                        train(&repeated, &x.index_select(&rows, 0)?, None, &dy)?;
                    assert_close("y", &values(&y.index_select(&rows, 0)?), &values(&y_rows), F64, F64);
                    let dx_rows = x.zeros_like()?.index_add(&rows, &dx_rows, 0)?;
                    let stiff = 1.0 / 1e-5f64.sqrt(); // dx has 1/stddev in it, of up to 1/√ε
                    assert_close("dx", &values(&dx), &values(&dx_rows), F64, F64 * stiff);
                    assert_close("dgamma", &values(&dgamma), &values(&dgamma_rows), F64, F64 * stiff);
                    assert_close("dbeta", &values(&dbeta), &values(&dbeta_rows), F64, F64);
                    assert_same_state(&weighted, &repeated);
                }
            }
            Ok(())
        })())?;
    }

    #[test]
    fn a_mask_is_its_rows_packed(shape in shapes()) {
        holds((|| {
            for config in options(&shape) {
                let (masked, packed) = pair(&config, &shape)?;
                let mut numbers = Numbers(shape.seed);
                for _ in 0..3 {
                    let (x, dy) = (numbers.tensor(&shape.dims), numbers.tensor(&shape.dims));
                    // Two rows at least: of one row the unbiased variance is undefined.
                    let kept: Vec<bool> = (0..shape.dims[0]).map(|i| i < 2 || numbers.bits() & 1 == 1).collect();
                    let w: Vec<f64> = kept.iter().map(|&k| f64::from(u8::from(k))).collect();
                    let w = tensor(&w, &[w.len()], DType::F64);
                    let rows: Vec<u32> = (0u32..).zip(&kept).filter(|(_, k)| **k).map(|(row, _)| row).collect();
                    let rows = Tensor::new(rows, &crate::common::device())?;
                    let mut column = vec![1; shape.dims.len()];
                    column[0] = shape.dims[0];
                    let dy = dy.broadcast_mul(&w.reshape(column)?)?;

                    let [y, dx, dgamma, dbeta] = train(&masked, &x, Some(&w), &dy)?;
                    let [y_rows, dx_rows, dgamma_rows, dbeta_rows] =
                        train(&packed, &x.index_select(&rows, 0)?, None, &dy.index_select(&rows, 0)?)?;
                    let stiff = 1.0 / 1e-5f64.sqrt();
                    assert_close("y", &values(&y.index_select(&rows, 0)?), &values(&y_rows), F64, F64 * stiff);
                    let dx_rows = x.zeros_like()?.index_add(&rows, &dx_rows, 0)?;
                    assert_close("dx", &values(&dx), &values(&dx_rows), F64, F64 * stiff);
                    assert_close("dgamma", &values(&dgamma), &values(&dgamma_rows), F64, F64 * stiff);
                    assert_close("dbeta", &values(&dbeta), &values(&dbeta_rows), F64, F64);
                    assert_same_state(&masked, &packed);
                }
            }
            Ok(())
        })())?;
    }

    /// A mask of positions, as padded sequences have it: the kept ones packed into one long row.
    #[test]
    fn padding_does_not_count((n, t, c, seed) in (1usize..5, 2usize..6, 1usize..4, any::<u64>())) {
        holds((|| {
            let mut numbers = Numbers(seed);
            let (x, padding) = (numbers.tensor(&[n, t, c]), numbers.tensor(&[n, t, c]));
            let kept: Vec<f64> = (0..n * t).map(|i| if i % t < 2 { 1.0 } else { (numbers.bits() & 1) as f64 }).collect();
            let mask = tensor(&kept, &[n, t, 1], DType::F64);
            let rows: Vec<u32> = (0u32..).zip(&kept).filter(|(_, k)| **k > 0.0).map(|(i, _)| i).collect();
            let rows = Tensor::new(rows, &crate::common::device())?;
            let pack = |t3: &Tensor| t3.reshape((n * t, c))?.index_select(&rows, 0);
            let config = BatchNormConfig { stored_variance: StoredVariance::Unbiased, ..BatchNormConfig::keras() };
            let (padded, packed) = (layer(&config, c, DType::F64)?, layer(&config, c, DType::F64)?);
            let hidden = (x.broadcast_mul(&mask)? + (padding * 1e6)?.broadcast_mul(&(1.0 - &mask)?)?)?;
            let y = padded.forward_with(&hidden, &Call::train().with_weights(&mask))?;
            let y_rows = packed.forward_train(&pack(&x)?)?;
            assert_close("y", &values(&pack(&y)?), &values(&y_rows), F64, F64);
            assert_same_state(&padded, &packed);
            Ok(())
        })())?;
    }

    #[test]
    fn a_ghost_batch_of_all_examples_is_the_plain_batch(shape in shapes(), more in 0usize..3) {
        holds((|| {
            for config in options(&shape) {
                let ghosts = BatchNormConfig { normalization_batch: Some(shape.dims[0] + more), ..config.clone() };
                let (plain, ghost) = (layer(&config, shape.channels(), DType::F64)?, layer(&ghosts, shape.channels(), DType::F64)?);
                let mut numbers = Numbers(shape.seed);
                for _ in 0..3 {
                    let x = numbers.tensor(&shape.dims);
                    assert_eq!(bits(&plain.forward_train(&x)?), bits(&ghost.forward_train(&x)?));
                    assert_eq!(state_bits(&plain), state_bits(&ghost));
                }
            }
            Ok(())
        })())?;
    }

    /// Each group as a batch of its own to a layer in the same state; the update as of one whole batch.
    #[test]
    fn ghost_batches_are_batches(shape in shapes(), size in 1usize..5) {
        holds((|| {
            for config in options(&shape) {
                let ghosts = BatchNormConfig { normalization_batch: Some(size), ..config.clone() };
                let ghost = layer(&ghosts, shape.channels(), DType::F64)?;
                let whole = layer(&config, shape.channels(), DType::F64)?;
                let mut numbers = Numbers(shape.seed);
                for _ in 0..3 {
                    let x = numbers.tensor(&shape.dims);
                    let mut groups = Vec::new();
                    for start in (0..shape.dims[0]).step_by(size) {
                        let rows = x.narrow(0, start, size.min(shape.dims[0] - start))?;
                        groups.push(whole.forward_with(&rows, &Call { update: false, ..Call::train() })?);
                    }
                    let y = ghost.forward_train(&x)?;
                    // Groups of one or two values have stddevs of down to √ε.
                    let stiff = 1.0 / 1e-5f64.sqrt();
                    assert_close("y", &values(&y), &values(&Tensor::cat(&groups, 0)?), F64, F64 * stiff);
                    whole.forward_train(&x)?;
                    assert_same_state(&ghost, &whole);
                    assert_close("eval", &values(&ghost.forward_eval(&x)?), &values(&whole.forward_eval(&x)?), F64, F64 * stiff);
                }
            }
            Ok(())
        })())?;
    }

    #[test]
    fn moments_merge_in_any_split_and_order(shape in shapes(), weighted in any::<bool>(), cuts in prop::collection::vec(0usize..9, 0..5)) {
        holds((|| {
            let mut numbers = Numbers(shape.seed);
            let n = shape.dims[0];
            let x = (numbers.tensor(&shape.dims) + numbers.between(-20.0, 20.0))?;
            let w: Vec<f64> = (0..n).map(|_| numbers.between(0.1, 3.0)).collect();
            let w = tensor(&w, &[n], DType::F64);
            let of = |start: usize, len: usize| -> bn_core::Result<Moments> {
                let (x, w) = (x.narrow(0, start, len)?, w.narrow(0, start, len)?);
                if weighted { Moments::weighted(&x, &w, shape.format()) } else { Moments::of(&x, shape.format()) }
            };
            let whole = of(0, n)?;
            let mut ends: Vec<usize> = cuts.iter().map(|c| c % (n + 1)).chain([0, n]).collect();
            ends.sort_unstable(); // doubles give empty parts, the identity
            let mut parts = Vec::new();
            for pair in ends.windows(2) {
                parts.push(if pair[0] == pair[1] { nothing(shape.channels())? } else { of(pair[0], pair[1] - pair[0])? });
            }
            while parts.len() > 1 { // a random tree over a random order
                let a = parts.swap_remove(numbers.below(parts.len()));
                let b = parts.swap_remove(numbers.below(parts.len()));
                parts.push(a.merge(&b)?);
            }
            for (name, got, want) in [
                ("weight", parts[0].weight(), whole.weight()),
                ("squared weight", parts[0].squared_weight(), whole.squared_weight()),
                ("mean", parts[0].mean(), whole.mean()),
                ("variance", parts[0].variance(), whole.variance()),
            ] {
                assert_close(name, &values(got), &values(want), F64, F64);
            }
            for kind in [WeightKind::Frequency, WeightKind::Reliability] {
                if values(whole.weight())[0] > 1.5 {
                    assert_close("unbiased", &values(parts[0].unbiased_variance(kind)), &values(whole.unbiased_variance(kind)), 3.0 * F64, F64);
                }
            }
            Ok(())
        })())?;
    }
}

fn pair(config: &BatchNormConfig, shape: &Shape) -> bn_core::Result<(BatchNorm, BatchNorm)> {
    let new = || layer(config, shape.channels(), DType::F64);
    Ok((new()?, new()?))
}

fn nothing(channels: usize) -> bn_core::Result<Moments> {
    Moments::of(&tensor(&[], &[0, channels], DType::F64), DataFormat::Nhwc)
}

#[test]
fn nothing_is_the_identity_of_merge() -> Outcome {
    let some = Moments::of(&Numbers(3).tensor(&[4, 5]), DataFormat::Nhwc)?;
    for merged in [some.merge(&nothing(5)?)?, nothing(5)?.merge(&some)?] {
        for (got, want) in [
            (merged.weight(), some.weight()),
            (merged.squared_weight(), some.squared_weight()),
            (merged.mean(), some.mean()),
            (merged.variance(), some.variance()),
        ] {
            assert_eq!(bits(&got), bits(&want));
        }
    }
    let none = nothing(5)?.merge(&nothing(5)?)?;
    assert_eq!(values(none.mean()), [0.0; 5]);
    assert_eq!(values(none.weight()), [0.0; 5]);
    Ok(())
}

/// Only ratios of reliability weights matter; frequency weights count.
#[test]
fn kinds_of_weights() -> Outcome {
    let mut numbers = Numbers(11);
    let x = numbers.tensor(&[6, 3]);
    let w: Vec<f64> = (0..6).map(|_| numbers.between(0.5, 2.0)).collect();
    let at = |scale: f64| {
        let w: Vec<f64> = w.iter().map(|w| w * scale).collect();
        Moments::weighted(&x, &tensor(&w, &[6], DType::F64), DataFormat::Nhwc)
    };
    let (one, ten) = (at(1.0)?, at(10.0)?);
    let of = |m: &Moments, kind| values(m.unbiased_variance(kind));
    let reliable = of(&one, WeightKind::Reliability);
    assert_close("reliability", &of(&ten, WeightKind::Reliability), &reliable, F64, 0.0);
    let plain = Moments::of(&x, DataFormat::Nhwc)?;
    let equal = Moments::weighted(&x, &tensor(&[1.0; 6], &[6], DType::F64), DataFormat::Nhwc)?;
    for kind in [WeightKind::Frequency, WeightKind::Reliability] {
        assert_close("equal weights", &of(&equal, kind), &of(&plain, kind), F64, 0.0);
    }
    let (w1, w10) = (values(one.weight())[0], values(ten.weight())[0]);
    let frequent: Vec<f64> = values(one.variance()).iter().map(|v| v * w1 / (w1 - 1.0)).collect();
    assert_close("frequency", &of(&one, WeightKind::Frequency), &frequent, F64, 0.0);
    let frequent: Vec<f64> = values(one.variance()).iter().map(|v| v * w10 / (w10 - 1.0)).collect();
    assert_close("frequency", &of(&ten, WeightKind::Frequency), &frequent, F64, 0.0);
    Ok(())
}
