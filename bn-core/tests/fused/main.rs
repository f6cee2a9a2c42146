//! The fused path equals the composed one, over shapes, axes, types and options; and its results do not
//! depend on the number of threads.

mod case;
#[path = "../common/mod.rs"]
mod common;

/// Aligns large tensors to pages, as the system's allocator does not: large outputs are written past the
/// caches then.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use bn_core::{
    Activation, BatchNormConfig, Call, Clipping, DataFormat, Degenerate, Error, ErrorKind,
    Implementation, Initializer, Moments, Policy, RenormConfig, RenormVariant,
};
use candle::{DType, Tensor, Var};
use proptest::prelude::*;

use case::{Case, Result, cases, close, layer, run, seeded, tensor, values};

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn fused_equals_composed(case in cases()) {
        run(&case).map_err(|error| TestCaseError::fail(error.to_string()))?;
    }
}

/// Shapes above the size that one task does alone: each of the four layouts, channels cut into parts, and the
/// last three written past the caches.
const LARGE: [(&[usize], DataFormat); 10] = [
    (&[8, 12, 32, 32], DataFormat::Nchw),
    (&[16, 40, 9, 11], DataFormat::Nchw),
    (&[3, 2, 150, 151], DataFormat::Nchw),
    (&[40, 30, 40, 3], DataFormat::Nhwc),
    (&[50, 33, 20], DataFormat::Nhwc),
    (&[256, 512], DataFormat::Nhwc),
    (&[9_000, 100], DataFormat::Nhwc),
    (&[45, 35, 32, 32], DataFormat::Nchw),
    (&[3, 4, 512, 272], DataFormat::Nchw),
    (&[45, 24, 32, 48], DataFormat::Nhwc),
];

#[test]
fn the_number_of_threads_changes_no_bit() -> Result<()> {
    for (dims, data_format) in LARGE {
        let config = BatchNormConfig {
            data_format,
            activation: Activation::Relu,
            ..BatchNormConfig::keras()
        };
        let channels = match data_format {
            DataFormat::Nchw => dims[1],
            _ => dims[dims.len() - 1],
        };
        let x = tensor(dims, 1, 3.0, DType::F32)?;
        let dy = tensor(dims, 2, 0.0, DType::F32)?;
        let weights = tensor(&dims[..1], 3, 3.0, DType::F32)?.relu()?;
        let bits = |threads: Option<usize>| -> Result<Vec<u32>> {
            let bn = layer(&config, channels, DType::F32, Implementation::Fused)?;
            let work = || -> candle::Result<Vec<Tensor>> {
                let call = Call::train().with_weights(&weights);
                let (y, saved) = bn.forward_with_saved(&x, &call)?;
                let (dx, dgamma, dbeta) = saved.backward(&dy)?;
                let eval = bn.forward_eval(&x)?;
                let found =
                    [Some(y), Some(dx), dgamma, dbeta, Some(eval), Some(bn.moving_variance()?)];
                Ok(found.into_iter().flatten().collect())
            };
            let tensors = match threads {
                Some(threads) => {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                    pool.build()?.install(work)?
                }
                None => work()?, // on candle's threads
            };
            let mut bits = Vec::new();
            for t in tensors {
                bits.extend(t.flatten_all()?.to_vec1::<f32>()?.iter().map(|v| v.to_bits()));
            }
            Ok(bits)
        };
        let one = bits(Some(1))?;
        for threads in [Some(2), Some(3), None] {
            assert!(one == bits(threads)?, "{dims:?} {threads:?}");
        }
    }
    Ok(())
}

#[test]
fn large_shapes_equal_the_composed_path() -> Result<()> {
    for (dims, data_format) in LARGE {
        let axis = match data_format {
            DataFormat::Nchw => 1,
            _ => dims.len() - 1,
        };
        let case = Case {
            dims: dims.to_vec(),
            config: BatchNormConfig {
                data_format: DataFormat::Axis(axis),
                activation: Activation::Tanh,
                // Unlike each other, so that a channel that takes another's is seen.
                gamma_initializer: Initializer::Values(values(dims[axis], 4, 1.0, 0.5)),
                beta_initializer: Initializer::Values(values(dims[axis], 5, 0.0, 1.0)),
                ..BatchNormConfig::keras()
            },
            dtype: DType::F32,
            weights: 2,
            residual: true,
            transposed: false,
            around: 2.0,
        };
        run(&case)?;
        for variant in [RenormVariant::Tf1, RenormVariant::Keras] {
            let config = BatchNormConfig {
                activation: Activation::None,
                renorm: Some(RenormConfig::new(variant)),
                moving_mean_initializer: Initializer::Values(values(dims[axis], 6, 2.0, 0.5)),
                ..case.config.clone()
            };
            run(&Case { config, residual: false, ..case.clone() })?;
        }
    }
    Ok(())
}

/// Channels of value 3 behind the first task's, which policies give the moving statistics.
#[test]
fn a_constant_channel_of_any_task_takes_its_own_moving_statistics() -> Result<()> {
    for (dims, axis) in [(vec![8, 12, 32, 32], 1), (vec![256, 512], 1)] {
        let channels = dims[axis];
        let inner: usize = dims[axis + 1..].iter().product();
        let mut x = values(dims.iter().product(), 1, 0.0, 1.0);
        for (i, x) in x.iter_mut().enumerate() {
            if i / inner % channels % 5 == 4 {
                *x = 3.0;
            }
        }
        let x =
            Tensor::new(x, &common::device())?.reshape(dims.as_slice())?.to_dtype(DType::F32)?;
        let config = BatchNormConfig {
            data_format: DataFormat::Axis(axis),
            degenerate: Degenerate { constant_channel: Policy::UseMoving, ..Degenerate::default() },
            moving_mean_initializer: Initializer::Values(values(channels, 6, 2.0, 0.5)),
            beta_initializer: Initializer::Values(values(channels, 7, 0.0, 1.0)),
            ..BatchNormConfig::keras()
        };
        let y = |code| -> Result<Tensor> {
            Ok(layer(&config, channels, DType::F32, code)?.forward_train(&x)?)
        };
        let (ours, theirs) = (y(Implementation::Fused)?, y(Implementation::Composed)?);
        close("y", &ours, &theirs, 1e-5)?;
    }
    Ok(())
}

#[test]
fn renorms_bounds_leave_nan_as_it_is() -> Result<()> {
    let x = Tensor::new(&[[1f32, f32::NAN], [3., 5.], [8., 5.]], &common::device())?;
    for clipping in [Clipping::none(), Clipping::constant(Some(0.5), Some(2.0), Some(1.0))] {
        let config = BatchNormConfig {
            renorm: Some(RenormConfig { clipping, ..RenormConfig::new(RenormVariant::Keras) }),
            ..BatchNormConfig::keras()
        };
        let corrections = |code| -> Result<Vec<f64>> {
            let bn = layer(&config, 2, DType::F32, code)?;
            bn.forward_train(&x)?;
            let found = bn.last_correction().ok_or("no correction")?;
            let rows = [found.r().to_vec2::<f64>()?, found.d().to_vec2::<f64>()?].concat();
            Ok(rows.concat())
        };
        let ours = corrections(Implementation::Fused)?;
        let theirs = corrections(Implementation::Composed)?;
        assert!(ours[1].is_nan() && ours[3].is_nan(), "{ours:?}");
        for (a, b) in ours.iter().zip(&theirs) {
            let close = (a - b).abs() <= 1e-5 * b.abs().max(1.0);
            assert!(close || (a.is_nan() && b.is_nan()), "{ours:?} {theirs:?}");
        }
    }
    Ok(())
}

#[test]
fn policies_are_those_of_the_composed_path() -> Result<()> {
    let x = Tensor::new(&[[1f32, 5.], [3., 5.], [8., 5.]], &common::device())?;
    let with = |one_value, zero_weight, constant_channel| BatchNormConfig {
        degenerate: Degenerate {
            one_value,
            zero_weight,
            constant_channel,
            ..Degenerate::default()
        },
        ..BatchNormConfig::keras()
    };
    use Policy::{Accept, Error as Refuse, SkipVarianceUpdate, UseMoving};
    for config in [
        with(Accept, UseMoving, Accept),
        with(UseMoving, UseMoving, UseMoving),
        with(SkipVarianceUpdate, UseMoving, SkipVarianceUpdate),
        with(Refuse, Refuse, Refuse),
    ] {
        for rows in [1, 3] {
            for weights in [None, Some([0f32, 0., 0.]), Some([0., 2., 0.]), Some([1., -1., 1.])] {
                let fused = layer(&config, 2, DType::F32, Implementation::Fused)?;
                let composed = layer(&config, 2, DType::F32, Implementation::Composed)?;
                let x = Var::from_tensor(&x.narrow(0, 0, rows)?)?;
                let weights =
                    weights.map(|w| Tensor::new(&w[..rows], &common::device())).transpose()?;
                let call = Call { weights: weights.as_ref(), ..Call::train() };
                match (fused.forward_with(&x, &call), composed.forward_with(&x, &call)) {
                    (Ok(ours), Ok(theirs)) => {
                        close("y", &ours, &theirs, 1e-6)?;
                        let dy = tensor(ours.dims(), 4, 0.0, DType::F32)?;
                        let (a, b) = (seeded(&ours, &dy)?, seeded(&theirs, &dy)?);
                        close("dx", a.get(&x).expect("dx"), b.get(&x).expect("dx"), 1e-5)?;
                    }
                    (Err(ours), Err(theirs)) => assert_eq!(ours.to_string(), theirs.to_string()),
                    (ours, theirs) => panic!("{config:?} {rows} {weights:?}: {ours:?}, {theirs:?}"),
                }
                for ((name, a), (_, b)) in fused.statistics().iter().zip(composed.statistics()) {
                    close(name, a, &b, 1e-6)?;
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_batch_with_nan_is_refused() -> Result<()> {
    let mut values = values(40_000, 1, 0.0, 1.0);
    values[777] = f64::NAN;
    let x = Tensor::from_vec(values, (400, 100), &common::device())?.to_dtype(DType::F32)?;
    let bn = layer(&BatchNormConfig::keras(), 100, DType::F32, Implementation::Fused)?;
    bn.forward_train(&x)?;
    let health = bn.health()?;
    assert_eq!((health.committed, health.refused), (0, 1));
    assert_eq!(bn.moving_mean()?.to_vec1::<f32>()?, vec![0.0; 100]);
    Ok(())
}

#[test]
fn given_statistics_and_calls_that_kernels_do_not_take() -> Result<()> {
    let dims = [6, 4, 5];
    let config = BatchNormConfig { activation: Activation::Sigmoid, ..BatchNormConfig::torch() };
    let fused = layer(&config, 4, DType::F32, Implementation::Fused)?;
    let composed = layer(&config, 4, DType::F32, Implementation::Composed)?;
    let x = Var::from_tensor(&tensor(&dims, 1, 2.0, DType::F32)?)?;
    let dy = tensor(&dims, 2, 0.0, DType::F32)?;
    let moments = Moments::of(&tensor(&dims, 3, 1.0, DType::F64)?, DataFormat::Nchw)?;
    let conditional = tensor(&[6, 4], 4, 1.0, DType::F32)?;
    let calls = [
        Call::given(&moments),
        Call::eval(),
        Call::batch_statistics(),
        Call { update: true, ..Call::eval() },
        Call { gamma: Some(&conditional), ..Call::train() },
    ];
    for call in calls {
        let (ours, theirs) = (fused.forward_with(&x, &call)?, composed.forward_with(&x, &call)?);
        close("y", &ours, &theirs, 1e-6)?;
        let (a, b) = (seeded(&ours, &dy)?, seeded(&theirs, &dy)?);
        close("dx", a.get(&x).expect("dx"), b.get(&x).expect("dx"), 1e-5)?;
        let (_, saved) = fused.forward_with_saved(&x, &call)?;
        let b = seeded(&composed.forward_with(&x, &call)?, &dy)?;
        close("saved dx", &saved.backward(&dy)?.0, b.get(&x).expect("dx"), 1e-5)?;
    }
    let (_, saved) = fused.forward_train_saved(&x)?;
    assert!(matches!(
        saved.backward(&dy.narrow(0, 0, 3)?),
        Err(Error { kind: ErrorKind::Shape { .. }, .. })
    ));
    assert!(matches!(
        saved.backward(&dy.to_dtype(DType::F64)?),
        Err(Error { kind: ErrorKind::DType { .. }, .. })
    ));
    Ok(())
}
