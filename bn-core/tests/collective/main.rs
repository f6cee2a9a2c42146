//! Ranks that train together: uneven, even empty, they equal one big batch; what cannot go on is an error.

#[path = "../common/mod.rs"]
mod common;
mod policies;

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use bn_core::{
    BatchNorm, BatchNormConfig, Call, Collective, DataFormat, Initializer, RenormConfig,
    RenormVariant, Threads, ZeroDebias,
};
use candle::{DType, Tensor, Var};
use common::{Numbers, Outcome, assert_close, bits, gradients, layer, state_bits, tensor, values};
use proptest::prelude::*;

/// 8 roundings of sums of 300 values of up to 30 stddevs; 1/stddev is up to 1/√1e-3.
const F64: f64 = 1e-11 * 32.0;

/// What one rank's steps came to; plain numbers, to be compared bit by bit.
#[derive(Clone, Debug, PartialEq)]
struct Steps {
    y: Vec<Vec<f64>>,
    dx: Vec<Vec<f64>>,
    dgamma: Vec<Vec<f64>>,
    dbeta: Vec<Vec<f64>>,
    r: Vec<Vec<f64>>,
    state: Vec<(String, Vec<u64>)>,
}

/// A step's x, dy and weights.
type Step = (Tensor, Tensor, Option<Tensor>);

/// Runs each rank in a thread of its own. A rank that still waits after ten seconds waits for ever.
fn on_ranks<T: Send + 'static>(
    size: usize,
    work: impl Fn(Arc<dyn Collective>) -> T + Clone + Send + 'static,
) -> Vec<T> {
    let (send, results) = mpsc::channel();
    for rank in Threads::group(size) {
        let (send, work) = (send.clone(), work.clone());
        std::thread::spawn(move || {
            let at = rank.rank();
            let result = work(Arc::new(rank));
            // The test may have given up already.
            let _ = send.send((at, result));
        });
    }
    drop(send);
    let mut done: Vec<(usize, T)> = Vec::new();
    for _ in 0..size {
        let next = results.recv_timeout(Duration::from_secs(10));
        done.push(next.unwrap_or_else(|error| {
            panic!("ranks hang or panicked: {error}; {} of {size} are done", done.len())
        }));
    }
    done.sort_by_key(|(rank, _)| *rank);
    done.into_iter().map(|(_, result)| result).collect()
}

fn train(bn: &BatchNorm, steps: &[Step]) -> Outcome<Steps> {
    let mut out =
        Steps { y: vec![], dx: vec![], dgamma: vec![], dbeta: vec![], r: vec![], state: vec![] };
    for (x, dy, w) in steps {
        let x = Var::from_tensor(x)?;
        let y = bn.forward_with(&x, &Call { weights: w.as_ref(), ..Call::train() })?;
        let grads = gradients(&y, dy)?;
        let of = |v: Option<&Var>| v.and_then(|v| grads.get(v)).map(values).ok_or("no gradient");
        out.dx.push(of(Some(&x))?);
        out.dgamma.push(of(bn.gamma())?);
        out.dbeta.push(of(bn.beta())?);
        out.y.push(values(&y));
        out.r.extend(bn.last_correction().map(|c| values(c.r())));
    }
    out.state = state_bits(bn);
    Ok(out)
}

fn as_numbers(state: &[(String, Vec<u64>)]) -> Vec<(&str, Vec<f64>)> {
    state
        .iter()
        .map(|(name, bits)| (name.as_str(), bits.iter().map(|b| f64::from_bits(*b)).collect()))
        .collect()
}

fn configs(dims: &[usize]) -> Vec<BatchNormConfig> {
    let plain = BatchNormConfig {
        data_format: DataFormat::Nchw,
        gamma_initializer: Initializer::Values((0..dims[1]).map(|c| 0.5 + c as f64).collect()),
        beta_initializer: Initializer::Constant(0.3),
        epsilon: 1e-3,
        ..BatchNormConfig::candle()
    };
    let renorm = |variant| BatchNormConfig {
        stored_variance: Default::default(),
        renorm: Some(RenormConfig {
            clipping: bn_core::Clipping::constant(None, Some(1.5), Some(0.5)),
            ..RenormConfig::new(variant)
        }),
        ..plain.clone()
    };
    vec![
        BatchNormConfig { zero_debias: ZeroDebias::Both, ..plain.clone() },
        BatchNormConfig { zero_debias: ZeroDebias::Mean, ..renorm(RenormVariant::Tf1) },
        renorm(RenormVariant::Keras),
        renorm(RenormVariant::Paper),
        plain,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(30) })]

    #[test]
    fn any_split_is_one_big_batch(
        rest in prop::collection::vec(1usize..4, 1..4),
        sizes in prop::collection::vec(0usize..4, 1..5),
        weighted in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let n: usize = sizes.iter().sum();
        prop_assume!(n >= 2);
        let mut dims = vec![n];
        dims.extend(rest);
        let mut numbers = Numbers(seed);
        let whole: Vec<Step> = (0..3).map(|_| {
            let w: Vec<f64> = (0..n).map(|_| numbers.between(0.5, 2.0)).collect();
            (numbers.tensor(&dims), numbers.tensor(&dims), weighted.then(|| tensor(&w, &[n], DType::F64)))
        }).collect();
        let starts: Vec<usize> = sizes.iter().scan(0, |at, size| { *at += size; Some(*at - size) }).collect();
        for config in configs(&dims) {
            let single = train(&layer(&config, dims[1], DType::F64).expect("valid"), &whole).expect("one batch trains");
            let work = {
                let (whole, config, sizes, starts, channels) = (whole.clone(), config.clone(), sizes.clone(), starts.clone(), dims[1]);
                move |ranks: Arc<dyn Collective>| -> Result<Steps, String> {
                    let at = ranks.rank();
                    let part = |t: &Tensor| t.narrow(0, starts[at], sizes[at]).expect("a part");
                    let steps: Vec<Step> = whole.iter().map(|(x, dy, w)| (part(x), part(dy), w.as_ref().map(part))).collect();
                    let bn = layer(&config, channels, DType::F64).map_err(|e| e.to_string())?;
                    train(&bn.with_collective(ranks), &steps).map_err(|e| e.to_string())
                }
            };
            let ranks: Vec<Steps> = on_ranks(sizes.len(), work.clone()).into_iter().collect::<Result<_, _>>().map_err(TestCaseError::fail)?;
            for step in 0..3 {
                let joined = |of: &dyn Fn(&Steps) -> &Vec<f64>| ranks.iter().flat_map(|rank| of(rank).clone()).collect::<Vec<f64>>();
                let summed = |of: &dyn Fn(&Steps) -> &Vec<f64>| (0..dims[1]).map(|c| ranks.iter().map(|rank| of(rank)[c]).sum()).collect::<Vec<f64>>();
                assert_close("y", &joined(&|s| &s.y[step]), &single.y[step], F64, F64);
                assert_close("dx", &joined(&|s| &s.dx[step]), &single.dx[step], F64, F64 * 32.0);
                assert_close("dgamma", &summed(&|s| &s.dgamma[step]), &single.dgamma[step], F64, F64);
                assert_close("dbeta", &summed(&|s| &s.dbeta[step]), &single.dbeta[step], F64, F64);
                if config.renorm.is_some() {
                    assert_close("r", &ranks[0].r[step], &single.r[step], F64, F64);
                }
            }
            for rank in &ranks {
                assert_eq!(rank.state, ranks[0].state, "all ranks hold the same bits");
                for ((name, got), (_, want)) in as_numbers(&rank.state).iter().zip(as_numbers(&single.state)) {
                    assert_close(name, got, &want, F64, F64);
                }
            }
            // The same number of ranks repeats bit for bit, whichever thread comes first.
            let again: Vec<Steps> = on_ranks(sizes.len(), work).into_iter().collect::<Result<_, _>>().map_err(TestCaseError::fail)?;
            prop_assert_eq!(ranks, again);
        }
    }
}

/// Two synchronized layers in a row: the second one's backward goes through the first one's.
#[test]
fn stacked_layers() -> Outcome {
    let sizes = [3usize, 0, 2, 1];
    let mut numbers = Numbers(71);
    let (x, dy, mixing) =
        (numbers.tensor(&[6, 3]), numbers.tensor(&[6, 4]), numbers.tensor(&[3, 4]));
    let run = move |ranks: Option<Arc<dyn Collective>>, x: Tensor, dy: Tensor| -> Outcome<Steps> {
        let config =
            BatchNormConfig { activation: bn_core::Activation::Tanh, ..BatchNormConfig::keras() };
        let (mut first, mut second) =
            (layer(&config, 3, DType::F64)?, layer(&config, 4, DType::F64)?);
        if let Some(ranks) = ranks {
            first = first.with_collective(ranks.clone());
            second = second.with_collective(ranks);
        }
        let x = Var::from_tensor(&x)?;
        let hidden = first.forward_train(&x)?;
        // candle multiplies no empty matrices: elementwise it does, and keeps the graph.
        let mixed = match x.elem_count() {
            0 => Tensor::cat(&[&hidden, &hidden.narrow(1, 0, 1)?], 1)?,
            _ => hidden.matmul(&mixing)?,
        };
        let y = second.forward_train(&mixed)?;
        let grads = gradients(&y, &dy)?;
        let of = |v: Option<&Var>| v.and_then(|v| grads.get(v)).map(values).unwrap_or_default();
        let mut state = state_bits(&first);
        state.extend(state_bits(&second));
        Ok(Steps {
            y: vec![values(&y)],
            dx: vec![of(Some(&x))],
            dgamma: vec![of(first.gamma()), of(second.gamma())],
            dbeta: vec![of(first.beta()), of(second.beta())],
            r: vec![],
            state,
        })
    };
    let single = run(None, x.clone(), dy.clone())?;
    let ranks = on_ranks(4, move |ranks| {
        let (start, len) = (sizes[..ranks.rank()].iter().sum(), sizes[ranks.rank()]);
        let part = |t: &Tensor| t.narrow(0, start, len).expect("a part");
        run(Some(ranks), part(&x), part(&dy)).map_err(|e| e.to_string())
    });
    let ranks: Vec<Steps> = ranks.into_iter().collect::<Result<_, _>>()?;
    let joined = |of: &dyn Fn(&Steps) -> &Vec<f64>| {
        ranks.iter().flat_map(|rank| of(rank).clone()).collect::<Vec<f64>>()
    };
    assert_close("y", &joined(&|s| &s.y[0]), &single.y[0], F64, F64);
    assert_close("dx", &joined(&|s| &s.dx[0]), &single.dx[0], F64, F64);
    for at in 0..2 {
        let sum = |of: &dyn Fn(&Steps) -> &Vec<f64>, c: usize| {
            ranks.iter().map(|rank| of(rank).get(c).copied().unwrap_or(0.0)).sum::<f64>()
        };
        let gamma: Vec<f64> =
            (0..single.dgamma[at].len()).map(|c| sum(&|s| &s.dgamma[at], c)).collect();
        let beta: Vec<f64> =
            (0..single.dbeta[at].len()).map(|c| sum(&|s| &s.dbeta[at], c)).collect();
        assert_close("dgamma", &gamma, &single.dgamma[at], F64, F64);
        assert_close("dbeta", &beta, &single.dbeta[at], F64, F64);
    }
    for rank in &ranks {
        for ((name, got), (_, want)) in
            as_numbers(&rank.state).iter().zip(as_numbers(&single.state))
        {
            assert_close(name, got, &want, F64, F64);
        }
    }
    Ok(())
}

/// The trait's own operations, in f64 and f32, and what one rank alone makes of them.
#[test]
fn sums_broadcasts_and_barriers() -> Outcome {
    let results = on_ranks(4, |ranks| {
        let rank = ranks.rank() as f64;
        let mut sum = [rank, 0.1];
        ranks.all_reduce_sum_f64(&mut sum).expect("sums");
        let mut narrow = [rank as f32 + 0.5];
        ranks.all_reduce_sum_f32(&mut narrow).expect("sums");
        let mut sent = [rank, -rank];
        ranks.broadcast(2, &mut sent).expect("sends");
        ranks.barrier().expect("meets");
        let outside = ranks.broadcast(4, &mut sent).is_err();
        (
            sum,
            narrow,
            sent,
            ranks.all_gather(&[rank, rank]).expect("gathers"),
            ranks.size(),
            outside,
        )
    });
    for result in results {
        let all = vec![0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0];
        assert_eq!(result, ([6.0, 0.1 + 0.1 + 0.1 + 0.1], [8.0], [2.0, -2.0], all, 4, true));
    }
    let alone = layer(&BatchNormConfig::keras(), 2, DType::F64)?;
    let single =
        layer(&BatchNormConfig::keras(), 2, DType::F64)?.with_collective(Arc::new(bn_core::Single));
    let x = Numbers(1).tensor(&[5, 2]);
    assert_eq!(bits(&alone.forward_train(&x)?), bits(&single.forward_train(&x)?));
    assert_eq!(state_bits(&alone), state_bits(&single));
    Ok(())
}
