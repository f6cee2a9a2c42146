//! Where ranks differ: degenerate batches, poison, calls that do not match, ranks that leave.

use crate::common::{Numbers, Outcome, assert_close, gradients, layer, state_bits, tensor, values};
use crate::{F64, as_numbers, on_ranks};
use bn_core::{BatchNormConfig, Collective as _, Degenerate, ErrorKind, Policy, Threads, Updates};
use candle::{DType, Tensor, Var};

/// Ghost batches stay in their rank; the one update is of all ranks, also where one of them has nothing
/// to say: no examples, or moving statistics by policy.
#[test]
fn ghost_batches_update_together() -> Outcome {
    let degenerate = Degenerate {
        one_value: Policy::UseMoving,
        empty: Policy::UseMoving,
        zero_weight: Policy::UseMoving,
        ..Degenerate::default()
    };
    let config =
        BatchNormConfig { normalization_batch: Some(2), degenerate, ..BatchNormConfig::keras() };
    let x = Numbers(9).tensor(&[8, 3]);
    for sizes in [[4usize, 4], [8, 0], [7, 1], [0, 8], [1, 7]] {
        // A rank of one value takes no part; of seven, the last is a group of one and takes none either.
        let counted: Vec<u32> = match sizes {
            [7, 1] => (0..6).collect(),
            [1, 7] => (1..7).collect(),
            _ => (0..8).collect(),
        };
        let plain =
            layer(&BatchNormConfig { normalization_batch: None, ..config.clone() }, 3, DType::F64)?;
        plain.forward_train(&x.index_select(&Tensor::new(counted, x.device())?, 0)?)?;
        let (x, config) = (x.clone(), config.clone());
        let states = on_ranks(2, move |ranks| {
            let start = if ranks.rank() == 0 { 0 } else { sizes[0] };
            let rows = x.narrow(0, start, sizes[ranks.rank()]).expect("rows");
            let bn = layer(&config, 3, DType::F64).expect("valid").with_collective(ranks);
            bn.forward_train(&rows).map(|_| state_bits(&bn)).map_err(|e| e.to_string())
        });
        for state in states {
            let state = state.map_err(|error| format!("{sizes:?}: {error}"))?;
            for ((name, got), (_, want)) in
                as_numbers(&state).iter().zip(as_numbers(&state_bits(&plain)))
            {
                assert_close(&format!("{name} {sizes:?}"), got, &want, F64, F64);
            }
        }
    }
    Ok(())
}

/// A NaN on one rank is refused on all of them; deferred updates work as they do alone.
#[test]
fn poison_on_one_rank_is_refused_on_all() {
    let states = on_ranks(3, |ranks| {
        let updates = Updates::new();
        let rank = ranks.rank();
        let bn = layer(&BatchNormConfig::keras(), 2, DType::F64)
            .expect("valid")
            .with_collective(ranks)
            .with_updates(&updates);
        let x = Numbers(rank as u64).tensor(&[4, 2]);
        let before = state_bits(&bn);
        let poison = if rank == 1 { f64::NAN } else { 1.0 };
        bn.forward_train(&(&x * poison).expect("scales")).expect("trains");
        assert_eq!(state_bits(&bn), before, "pending");
        updates.commit().expect("commits");
        assert_eq!(state_bits(&bn), before, "refused");
        bn.forward_train(&x).expect("trains");
        updates.commit().expect("commits");
        let health = bn.health().expect("readable");
        (state_bits(&bn), health.committed, health.refused)
    });
    for state in &states {
        assert_eq!(*state, states[0]);
        assert_eq!((state.1, state.2), (1, 1));
    }
}

/// Policies look at all ranks' values: one value altogether is one value on each rank.
#[test]
fn policies_are_of_the_whole_batch() {
    for (policy, fails) in [(Policy::Error, true), (Policy::SkipVarianceUpdate, false)] {
        let results = on_ranks(2, move |ranks| {
            let degenerate = Degenerate { one_value: policy, ..Degenerate::default() };
            let config = BatchNormConfig { degenerate, ..BatchNormConfig::keras() };
            let x = Numbers(1)
                .tensor(&[1, 2])
                .narrow(0, 0, 1 - ranks.rank())
                .expect("one row, or none");
            let bn = layer(&config, 2, DType::F64).expect("valid").with_collective(ranks);
            bn.forward_train(&x).is_err_and(|e| matches!(e.kind, ErrorKind::OneValue { .. }))
        });
        assert_eq!(results, [fails, fails]);
        // One value on each rank is two values.
        let results = on_ranks(2, move |ranks| {
            let degenerate = Degenerate { one_value: Policy::Error, ..Degenerate::default() };
            let config = BatchNormConfig { degenerate, ..BatchNormConfig::keras() };
            let x = Numbers(ranks.rank() as u64).tensor(&[1, 2]);
            layer(&config, 2, DType::F64)
                .expect("valid")
                .with_collective(ranks)
                .forward_train(&x)
                .is_ok()
        });
        assert_eq!(results, [true, true]);
    }
    let results = on_ranks(2, |ranks| {
        let x = tensor(&[], &[0, 2], DType::F64);
        let bn =
            layer(&BatchNormConfig::keras(), 2, DType::F64).expect("valid").with_collective(ranks);
        bn.forward_train(&x).is_err_and(|e| matches!(e.kind, ErrorKind::Empty { .. }))
    });
    assert_eq!(results, [true, true], "nobody has a value");
}

/// Calls that do not match, a rank that leaves, a rank that panics: errors on the others, within seconds.
#[test]
fn nobody_waits_for_ever() {
    let messages = on_ranks(3, |ranks| {
        let mut values = vec![0.0; 1 + ranks.rank() / 2];
        ranks.all_reduce_sum_f64(&mut values).expect_err("lengths 1, 1, 2").to_string()
    });
    for message in messages {
        assert!(message.contains("Threads") && message.contains("[1, 1, 2]"), "{message}");
    }
    let results = on_ranks(2, |ranks| {
        let bn = layer(&BatchNormConfig::keras(), 2 + ranks.rank(), DType::F64).expect("valid");
        let x = Numbers(1).tensor(&[4, 2 + ranks.rank()]);
        bn.with_collective(ranks).forward_train(&x).expect_err("2 channels and 3").to_string()
    });
    assert!(results.iter().all(|message| message.contains("[9, 11]")), "{results:?}");
    let results = on_ranks(3, |ranks| match ranks.rank() {
        1 => String::new(), // leaves without a word
        _ => ranks.barrier().expect_err("rank 1 is gone").to_string(),
    });
    assert!(
        results[0].contains("rank 1 has left") && results[2].contains("rank 1 has left"),
        "{results:?}"
    );
    let results = on_ranks(2, |ranks| {
        let bn = layer(&BatchNormConfig::keras(), 2, DType::F64)
            .expect("valid")
            .with_collective(ranks.clone());
        let x = Numbers(1).tensor(&[4, 2 + ranks.rank()]); // the second rank's has a channel too many
        bn.forward_train(&x).expect_err("an error on both").to_string()
    });
    assert!(results[1].contains("2 channels on axis 1"), "{results:?}");
    assert!(results[0].contains("rank 1 has returned an error"), "{results:?}");
    // A panic drops the rank as well.
    let group = Threads::group(2);
    let results: Vec<bool> = std::thread::scope(|scope| {
        let work = |rank: Threads| {
            scope.spawn(move || {
                assert!(rank.rank() == 0, "a panic that this test is about");
                rank.barrier().is_err()
            })
        };
        let threads: Vec<_> = group.into_iter().map(work).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(true)).collect()
    });
    assert_eq!(results, [true, true]);
}

/// Raw inputs, empty ranks, layers without parameters: whatever requires a gradient on which rank, each
/// rank's backward ends, and the gradients are those of one big batch.
#[test]
fn ranks_meet_in_backward_whatever_requires_gradients() -> Outcome {
    let affine = BatchNormConfig::keras();
    let bare = BatchNormConfig { scale: false, center: false, ..BatchNormConfig::keras() };
    for config in [affine, bare] {
        for raw in [[true, false], [false, true], [true, true], [false, false]] {
            for rows in [[4, 0], [0, 4], [3, 2]] {
                let all = Numbers(17).tensor(&[rows[0] + rows[1], 2]);
                let dy = Numbers(23).tensor(&[rows[0] + rows[1], 2]);
                let whole = layer(&config, 2, DType::F64)?;
                let x = Var::from_tensor(&all)?;
                let want = gradients(&whole.forward_train(&x)?, &dy)?;
                let want = values(want.get(&x).ok_or("no dx")?);
                let (config, part_of) = (config.clone(), [all, dy]);
                let got = on_ranks(2, move |ranks| {
                    let (rank, start) = (ranks.rank(), ranks.rank() * rows[0]);
                    let part = |t: &Tensor| t.narrow(0, start, rows[rank]).expect("rows");
                    let bn = layer(&config, 2, DType::F64).expect("valid").with_collective(ranks);
                    let x = Var::from_tensor(&part(&part_of[0]).copy().expect("a copy"))
                        .expect("a variable");
                    let raw_x =
                        if raw[rank] { x.as_detached_tensor() } else { x.as_tensor().clone() };
                    let y = bn.forward_train(&raw_x).expect("a pass");
                    let store = gradients(&y, &part(&part_of[1])).expect("a backward");
                    (!raw[rank]).then(|| store.get(&x).map(values))
                });
                for (rank, got) in got.into_iter().enumerate() {
                    let Some(Some(got)) = got else {
                        assert!(got.is_none() || rows[rank] == 0, "no dx on rank {rank}");
                        continue;
                    };
                    let start = rank * rows[0] * 2;
                    assert_close("dx", &got, &want[start..start + got.len()], 1e-10, 1e-10);
                }
            }
        }
    }
    Ok(())
}

/// Ranks with different numbers of batches, one of which fails: population statistics end on all of them.
#[test]
fn population_over_ranks() -> Outcome {
    let x = Numbers(31).tensor(&[12, 2]);
    let whole = layer(&BatchNormConfig::keras(), 2, DType::F64)?;
    let options = bn_core::PopulationOptions::default();
    bn_core::population_statistics(&[&whole], [x.clone()], &options, |x| {
        whole.forward_eval(&x).map(drop)
    })?;
    let want = [values(whole.moving_mean()?), values(whole.moving_variance()?)];
    for fails in [false, true] {
        let x = x.clone();
        let results = on_ranks(2, move |ranks| {
            let rank = ranks.rank();
            let bn = layer(&BatchNormConfig::keras(), 2, DType::F64)
                .expect("valid")
                .with_collective(ranks.clone());
            // Two layers: a rank that fails must not leave the exchange of the second one open.
            let second = layer(&BatchNormConfig::keras(), 2, DType::F64)
                .expect("valid")
                .with_collective(ranks.clone());
            let batches: &[(usize, usize)] =
                if rank == 0 { &[(0, 2), (2, 3), (5, 1)] } else { &[(6, 6)] };
            let batches =
                batches.iter().map(|(start, len)| x.narrow(0, *start, *len).expect("rows"));
            let options = bn_core::PopulationOptions::default();
            let done = bn_core::population_statistics(&[&bn, &second], batches, &options, |x| {
                if fails && rank == 1 {
                    let reason = "no data".to_owned();
                    return Err(bn_core::ErrorKind::Collective(reason).at("test"));
                }
                second.forward_eval(&x)?;
                bn.forward_eval(&x).map(drop)
            });
            // They are in step still: a rank that failed has taken part in every exchange.
            ranks.barrier().expect("the next collective call is the same on both ranks");
            let state = [bn.moving_mean(), bn.moving_variance()];
            done.map(|_| state.map(|t| values(t.expect("a copy")))).map_err(|e| e.to_string())
        });
        for got in results {
            match got {
                Err(message) => assert!(fails, "{message}"),
                Ok([mean, variance]) => {
                    assert!(!fails);
                    assert_close("mean", &mean, &want[0], 1e-13, 1e-13);
                    assert_close("variance", &variance, &want[1], 1e-13, 1e-13);
                }
            }
        }
    }
    Ok(())
}
