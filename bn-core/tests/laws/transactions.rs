//! Updates as transactions: commit, discard, merge; a poisoned batch changes nothing but a count.

use bn_core::{
    BatchNorm, BatchNormConfig, Call, DataFormat, Decay, Error, ErrorKind, Moments, Pending,
    RenormConfig, RenormVariant, Updates, ZeroDebias,
};
use candle::{DType, Tensor};
use proptest::prelude::*;

use crate::common::{Numbers, Outcome, assert_close, bits, layer, state_bits, tensor, values};
use crate::{F64, Shape, cases, holds, shapes};

fn options(shape: &Shape) -> Vec<BatchNormConfig> {
    let plain = BatchNormConfig { data_format: shape.format(), ..BatchNormConfig::candle() };
    let debias =
        |zero_debias| BatchNormConfig { zero_debias, decay: Decay::Cumulative, ..plain.clone() };
    let renorm = |variant| BatchNormConfig {
        renorm: Some(RenormConfig::new(variant)),
        data_format: shape.format(),
        normalization_batch: Some(2),
        ..BatchNormConfig::keras()
    };
    vec![
        debias(ZeroDebias::Both),
        debias(ZeroDebias::Variance),
        renorm(RenormVariant::Tf1),
        renorm(RenormVariant::Keras),
        renorm(RenormVariant::Paper),
        plain,
    ]
}

fn deferred(
    config: &BatchNormConfig,
    channels: usize,
    updates: &Updates,
) -> bn_core::Result<BatchNorm> {
    Ok(layer(config, channels, DType::F64)?.with_updates(updates))
}

fn call(w: &Tensor, weighted: bool) -> Call<'_> {
    Call { weights: weighted.then_some(w), ..Call::train() }
}

#[test]
fn only_a_fitting_update_can_be_restored() -> bn_core::Result<()> {
    let x = Numbers(1).tensor(&[4, 3]);
    let moments = Moments::of(&x, DataFormat::Nchw)?;
    let pending = Pending { moments, forwards: 1 };
    let config = BatchNormConfig::default();
    let immediate = layer(&config, 3, DType::F64)?;
    let refused = immediate.restore_pending(pending.clone());
    assert!(
        matches!(refused, Err(Error { kind: ErrorKind::Contradiction { .. }, .. })),
        "{refused:?}"
    );
    let other = deferred(&config, 2, &Updates::new())?;
    let refused = other.restore_pending(pending);
    assert!(matches!(refused, Err(Error { kind: ErrorKind::Shape { .. }, .. })), "{refused:?}");
    assert_eq!(other.pending(), None);
    Ok(())
}

/// What a checkpoint keeps of an update: four `[C]` columns and a number.
fn saved_and_read(pending: &Pending) -> bn_core::Result<Pending> {
    let of = &pending.moments;
    let moments = Moments::new(&of.weight(), &of.mean(), &of.variance())?;
    let moments = moments.with_squared_weight(&of.squared_weight())?;
    Ok(Pending { moments, forwards: pending.forwards })
}

proptest! {
    #![proptest_config(cases(30))]

    #[test]
    fn deferred_and_committed_is_immediate(shape in shapes()) {
        holds((|| {
            let updates = Updates::new();
            let configs = options(&shape);
            let layers = |make: &dyn Fn(&BatchNormConfig) -> bn_core::Result<BatchNorm>| configs.iter().map(make).collect::<bn_core::Result<Vec<_>>>();
            let immediate = layers(&|c| layer(c, shape.channels(), DType::F64))?;
            let waiting = layers(&|c| deferred(c, shape.channels(), &updates))?;
            let mut numbers = Numbers(shape.seed);
            for _ in 0..4 {
                let x = numbers.tensor(&shape.dims);
                for (now, later) in immediate.iter().zip(&waiting) {
                    let before = state_bits(later);
                    assert_eq!(bits(&now.forward_train(&x)?), bits(&later.forward_train(&x)?));
                    assert_eq!(state_bits(later), before, "nothing moves before the commit");
                }
                assert_eq!(updates.pending(), configs.len());
                updates.commit()?;
                for (now, later) in immediate.iter().zip(&waiting) {
                    assert_eq!(state_bits(now), state_bits(later));
                    assert_eq!(now.step(), later.step());
                }
                let before = state_bits(&waiting[0]);
                updates.commit()?;
                assert_eq!(state_bits(&waiting[0]), before, "there was nothing left to commit");
            }
            Ok(())
        })())?;
    }

    /// A run that is saved between two micro-batches and resumed elsewhere.
    #[test]
    fn a_restored_pending_update_goes_on_bitwise(shape in shapes(), weighted in any::<bool>()) {
        holds((|| {
            for config in options(&shape) {
                let updates = [Updates::new(), Updates::new()];
                let own = deferred(&config, shape.channels(), &updates[0])?;
                let resumed = deferred(&config, shape.channels(), &updates[1])?;
                let mut numbers = Numbers(shape.seed);
                let w: Vec<f64> = (0..shape.dims[0]).map(|_| numbers.between(0.5, 2.0)).collect();
                let w = tensor(&w, &shape.dims[..1], DType::F64);
                let [first, second] = [numbers.tensor(&shape.dims), numbers.tensor(&shape.dims)];
                assert_eq!(own.pending(), None);
                own.forward_with(&first, &call(&w, weighted))?;
                let pending = own.pending().expect("an update");
                assert_eq!((pending.forwards, own.last_batch()), (1, None));
                let read = saved_and_read(&pending)?;
                assert_eq!(read, pending);
                resumed.restore_pending(read)?;
                assert_eq!(updates[1].pending(), 1);
                for (bn, updates) in [&own, &resumed].into_iter().zip(&updates) {
                    bn.forward_with(&second, &call(&w, weighted))?;
                    assert_eq!(bn.pending().map(|pending| pending.forwards), Some(2));
                    updates.commit()?;
                    assert_eq!(bn.pending(), None);
                }
                assert_eq!(state_bits(&own), state_bits(&resumed));
                assert_eq!(own.last_batch(), resumed.last_batch());
            }
            Ok(())
        })())?;
    }

    #[test]
    fn last_batch_has_the_moments_of_the_batch(shape in shapes()) {
        holds((|| {
            let config = BatchNormConfig { data_format: shape.format(), ..BatchNormConfig::candle() };
            let bn = layer(&config, shape.channels(), DType::F64)?;
            assert_eq!(bn.last_batch(), None);
            let x = Numbers(shape.seed).tensor(&shape.dims);
            bn.forward_train(&x)?;
            let (last, of_x) = (bn.last_batch().expect("a batch"), Moments::of(&x, shape.format())?);
            assert_close("weight", &values(last.weight()), &values(of_x.weight()), F64, 0.0);
            assert_close("mean", &values(last.mean()), &values(of_x.mean()), F64, F64);
            assert_close("variance", &values(last.variance()), &values(of_x.variance()), F64, F64);
            bn.forward_eval(&x)?;
            assert_eq!(bn.last_batch(), Some(last));
            Ok(())
        })())?;
    }

    #[test]
    fn discarding_leaves_every_bit(shape in shapes()) {
        holds((|| {
            for config in options(&shape) {
                let updates = Updates::new();
                let bn = deferred(&config, shape.channels(), &updates)?;
                let mut numbers = Numbers(shape.seed);
                bn.forward_train(&numbers.tensor(&shape.dims))?;
                updates.commit()?;
                let (before, step) = (state_bits(&bn), bn.step());
                bn.forward_train(&numbers.tensor(&shape.dims))?;
                bn.forward_train(&numbers.tensor(&shape.dims))?;
                assert_eq!(bn.health()?.pending_forwards, 2);
                updates.discard();
                updates.commit()?;
                assert_eq!((state_bits(&bn), bn.step()), (before, step));
                assert_eq!((bn.health()?.committed, bn.health()?.pending_forwards), (1, 0));
            }
            Ok(())
        })())?;
    }

    /// Gradient accumulation: the statistics of one big batch, in as many forwards as fit the memory.
    #[test]
    fn micro_batches_merge_into_one_update(shape in shapes(), weighted in any::<bool>()) {
        holds((|| {
            for config in options(&shape) {
                let updates = Updates::new();
                let micro = deferred(&config, shape.channels(), &updates)?;
                let whole = layer(&config, shape.channels(), DType::F64)?;
                let mut numbers = Numbers(shape.seed);
                let n = shape.dims[0];
                for _ in 0..3 {
                    let x = numbers.tensor(&shape.dims);
                    let w: Vec<f64> = (0..n).map(|_| numbers.between(0.5, 2.0)).collect();
                    let w = tensor(&w, &[n], DType::F64);
                    let mut start = 0;
                    while start < n {
                        let len = (1 + numbers.below(3)).min(n - start);
                        let rows = w.narrow(0, start, len)?;
                        micro.forward_with(&x.narrow(0, start, len)?, &call(&rows, weighted))?;
                        start += len;
                    }
                    assert_eq!(updates.pending(), 1);
                    updates.commit()?;
                    whole.forward_with(&x, &call(&w, weighted))?;
                    for ((name, a), (_, b)) in micro.statistics().iter().zip(whole.statistics()) {
                        assert_close(name, &values(a.as_tensor()), &values(b.as_tensor()), F64, F64);
                    }
                }
                assert_eq!(micro.health()?.committed, 3);
                let sizes = (micro.health()?.effective_sample_size, whole.health()?.effective_sample_size);
                assert_close("effective sample size", &[sizes.0], &[sizes.1], F64, 0.0);
            }
            Ok(())
        })())?;
    }

    /// NaN and infinities in one element, and numbers whose variance f32 does not hold.
    #[test]
    fn a_poisoned_batch_changes_nothing_but_the_count(shape in shapes(), wide in any::<bool>(), late in any::<bool>()) {
        holds((|| {
            let dtype = if wide { DType::F64 } else { DType::F32 };
            let huge = if wide { 1e300 } else { 3e38 };
            for config in options(&shape) {
                let updates = Updates::new();
                let bn = layer(&config, shape.channels(), dtype)?;
                let bn = if late { bn.with_updates(&updates) } else { bn };
                let mut numbers = Numbers(shape.seed);
                let mut good = numbers.tensor(&shape.dims).to_dtype(dtype)?;
                for (count, poison) in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, huge, -huge].into_iter().enumerate() {
                    // From the untouched state first, then from a used one.
                    let before = state_bits(&bn);
                    let mut x = values(&good);
                    let at = numbers.below(x.len());
                    x[at] = poison;
                    bn.forward_train(&tensor(&x, &shape.dims, dtype))?;
                    updates.commit()?;
                    let health = bn.health()?;
                    if poison.abs() == huge && values_per_channel(&shape) == 1 {
                        break; // one value has no variance to overflow
                    }
                    assert_eq!(health.refused, count as u64 + 1, "{poison}");
                    assert_eq!(state_bits(&bn), before, "{poison}");
                    good = numbers.tensor(&shape.dims).to_dtype(dtype)?;
                    bn.forward_train(&good)?;
                    updates.commit()?;
                    assert_eq!(bn.health()?.committed, count as u64 + 1);
                    let finite = |(_, var): (String, candle::Var)| values(var.as_tensor()).iter().all(|v| v.is_finite());
                    assert!(bn.statistics().into_iter().all(finite));
                }
            }
            Ok(())
        })())?;
    }
}

fn values_per_channel(shape: &Shape) -> usize {
    shape.dims.iter().product::<usize>() / shape.channels()
}

/// One poisoned micro-batch spoils the update that it is merged into, and no later one.
#[test]
fn a_poisoned_micro_batch_refuses_its_update() -> Outcome {
    let updates = Updates::new();
    let (mut numbers, config) = (Numbers(1), BatchNormConfig::keras());
    let (poisoned, healthy) = (
        layer(&config, 2, DType::F64)?.with_updates(&updates),
        layer(&config, 2, DType::F64)?.with_updates(&updates),
    );
    let x = numbers.tensor(&[4, 2]);
    let before = state_bits(&poisoned);
    poisoned.forward_train(&x)?;
    poisoned.forward_train(&(&x * f64::NAN)?)?;
    healthy.forward_train(&x)?;
    updates.commit()?;
    assert_eq!(state_bits(&poisoned), before);
    assert_eq!((poisoned.health()?.refused, healthy.health()?.refused), (1, 0));
    assert_eq!(healthy.health()?.committed, 1);
    poisoned.forward_train(&x)?;
    updates.commit()?;
    assert_eq!((poisoned.health()?.committed, poisoned.health()?.refused), (1, 1));
    Ok(())
}

/// Training that never commits is what users forget; the layer says so.
#[test]
fn training_without_commits_is_reported() -> Outcome {
    let updates = Updates::new();
    let bn = layer(&BatchNormConfig::keras(), 2, DType::F32)?.with_updates(&updates);
    let x = Tensor::randn(0f32, 1.0, (4, 2), &crate::common::device())?;
    for _ in 0..5 {
        bn.forward_train(&x)?;
    }
    let health = bn.health()?;
    assert_eq!((health.committed, health.pending_forwards), (0, 5));
    assert!(health.warnings().iter().any(|w| w.contains("commit")), "{:?}", health.warnings());
    updates.commit()?;
    assert!(bn.health()?.warnings().is_empty(), "{:?}", bn.health()?.warnings());
    bn.forward_eval(&x)?;
    assert!(!bn.health()?.evaluated_before_update);
    let fresh = layer(&BatchNormConfig::keras(), 2, DType::F32)?;
    fresh.forward_eval(&x)?;
    assert!(fresh.health()?.evaluated_before_update);
    Ok(())
}

/// Each switch alone: what is normalized by, and whether anything moves.
#[test]
fn switches_are_apart() -> Outcome {
    let mut numbers = Numbers(8);
    let bn = layer(&BatchNormConfig::keras(), 3, DType::F64)?;
    let x = (numbers.tensor(&[5, 3]) + 2.0)?;
    let by_batch = bn.forward_train(&x)?;
    let before = state_bits(&bn);
    assert_eq!(bits(&bn.forward_with(&x, &Call::batch_statistics())?), bits(&by_batch));
    let by_moving = bn.forward_eval(&x)?;
    let moments = bn_core::Moments::of(&x, Default::default())?;
    assert_close(
        "given",
        &values(&bn.forward_with(&x, &Call::given(&moments))?),
        &values(&by_batch),
        F64,
        F64,
    );
    assert_eq!(state_bits(&bn), before, "none of these updates");
    let twin = layer(&BatchNormConfig::keras(), 3, DType::F64)?;
    twin.forward_train(&x)?;
    twin.forward_train(&x)?;
    let y = bn.forward_with(&x, &Call { update: true, ..Call::eval() })?;
    assert_eq!(bits(&y), bits(&by_moving), "normalized by the averages as they were");
    assert_eq!(state_bits(&bn), state_bits(&twin), "and moved by the batch all the same");
    Ok(())
}
