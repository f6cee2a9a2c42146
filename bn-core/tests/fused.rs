//! The fused path equals the composed one, over shapes, axes, types and options; and its results do not
//! depend on the number of threads.

use bn_core::{
    Activation, BatchNorm, BatchNormConfig, Call, Clipping, DataFormat, Degenerate, Error,
    Implementation, Initializer, Moments, Policy, RenormConfig, RenormVariant, StoredVariance,
    WeightKind, ZeroDebias,
};
use candle::{DType, Device, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use proptest::prelude::*;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn values(len: usize, seed: u64, around: f64, spread: f64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    };
    let mut one = || around + spread * (uniform() + uniform() + uniform());
    (0..len).map(|_| one()).collect()
}

fn tensor(dims: &[usize], seed: u64, around: f64, dtype: DType) -> Result<Tensor> {
    let values = values(dims.iter().product(), seed, around, 2.0);
    Ok(Tensor::from_vec(values, dims, &Device::Cpu)?.to_dtype(dtype)?)
}

fn layer(
    config: &BatchNormConfig,
    channels: usize,
    dtype: DType,
    with: Implementation,
) -> Result<BatchNorm> {
    let kept = if dtype == DType::F64 {
        DType::F64
    } else {
        DType::F32
    };
    let variables = VarMap::new();
    let vb = VarBuilder::from_varmap(&variables, kept, &Device::Cpu);
    Ok(config
        .clone()
        .build(channels, vb)?
        .with_implementation(with))
}

fn seeded(y: &Tensor, dy: &Tensor) -> Result<candle::backprop::GradStore> {
    Ok((y.to_dtype(DType::F64)? * dy.to_dtype(DType::F64)?)?
        .sum_all()?
        .backward()?)
}

/// `|a − b| ≤ tolerance · max(1, largest |b|)`.
fn close(what: &str, a: &Tensor, b: &Tensor, tolerance: f64) -> Result<()> {
    assert_eq!(a.dims(), b.dims(), "{what}");
    assert_eq!(a.dtype(), b.dtype(), "{what}");
    let host = |t: &Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    let (a, b) = (host(a)?, host(b)?);
    let largest = b.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
    for (i, (a, b)) in a.iter().zip(&b).enumerate() {
        assert!(
            (a - b).abs() <= tolerance * largest,
            "{what}[{i}]: fused {a}, composed {b}"
        );
    }
    Ok(())
}

#[derive(Clone, Debug)]
struct Case {
    dims: Vec<usize>,
    config: BatchNormConfig,
    dtype: DType,
    weights: u8,
    residual: bool,
    transposed: bool,
    around: f64,
}

fn cases() -> impl Strategy<Value = Case> {
    let dims = prop_oneof![
        prop::collection::vec(1..40_usize, 2),
        prop::collection::vec(1..9_usize, 3),
        prop::collection::vec(1..7_usize, 4),
        (1..4_usize, 1..20_usize, 15..70_usize).prop_map(|(n, c, i)| vec![n, c, i]),
    ];
    let dtype = prop_oneof![
        Just(DType::F32),
        Just(DType::F64),
        Just(DType::F16),
        Just(DType::BF16)
    ];
    let activation = prop_oneof![
        Just(Activation::None),
        Just(Activation::Relu),
        Just(Activation::LeakyRelu(0.2)),
        Just(Activation::Sigmoid),
        Just(Activation::Tanh),
    ];
    let debias = prop_oneof![
        Just(ZeroDebias::None),
        Just(ZeroDebias::Mean),
        Just(ZeroDebias::Variance),
        Just(ZeroDebias::Both)
    ];
    let renorm = prop_oneof![
        2 => Just(None),
        1 => Just(Some(RenormVariant::Tf1)),
        1 => Just(Some(RenormVariant::Keras)),
        1 => Just(Some(RenormVariant::Paper)),
    ];
    let switches = (
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    );
    let rest = (
        activation,
        debias,
        renorm,
        prop::option::of(1..5_usize),
        0..4_u8,
        0..3_usize,
        prop_oneof![Just(0.0), Just(5.0)],
    );
    (dims, dtype, switches, rest).prop_map(
        |(
            dims,
            dtype,
            (center, scale, unbiased, residual, transposed, reliability),
            (activation, debias, renorm, group, weights, axis, around),
        )| {
            let axis = axis.min(dims.len() - 1);
            let channels = dims[axis];
            let zero_debias = match renorm {
                Some(RenormVariant::Keras | RenormVariant::Paper) => ZeroDebias::None,
                _ => debias,
            };
            let config = BatchNormConfig {
                data_format: DataFormat::Axis(axis),
                center,
                scale,
                activation,
                zero_debias,
                stored_variance: match unbiased && renorm.is_none() {
                    true => StoredVariance::Unbiased,
                    false => StoredVariance::Biased,
                },
                weight_kind: match reliability {
                    true => WeightKind::Reliability,
                    false => WeightKind::Frequency,
                },
                renorm: renorm.map(|variant| RenormConfig {
                    clipping: Clipping::constant(Some(0.4), Some(2.5), Some(1.5)),
                    ..RenormConfig::new(variant)
                }),
                normalization_batch: group.filter(|_| axis > 0),
                gamma_initializer: Initializer::Values(values(channels, 5, 1.0, 0.5)),
                beta_initializer: Initializer::Values(values(channels, 6, 0.3, 1.0)),
                epsilon: 1e-2,
                ..BatchNormConfig::tf_layers()
            };
            Case {
                dims,
                config,
                dtype,
                weights,
                residual,
                transposed,
                around,
            }
        },
    )
}

fn run(case: &Case) -> Result<()> {
    let Case {
        dims,
        config,
        dtype,
        ..
    } = case;
    let tolerance = match dtype {
        DType::F64 => 1e-11,
        DType::F32 => 2e-5,
        DType::F16 => 4e-3,
        _ => 3e-2,
    };
    let DataFormat::Axis(axis) = config.data_format else {
        unreachable!()
    };
    let fused = layer(config, dims[axis], *dtype, Implementation::Fused)?;
    let composed = layer(config, dims[axis], *dtype, Implementation::Composed)?;
    for step in 0..3 {
        let last = dims.len() - 1;
        let turned = |t: &Tensor| match case.transposed {
            true => t.transpose(0, last),
            false => Ok(t.clone()),
        };
        let x = tensor(dims, 100 + step, case.around, *dtype)?;
        let x = Var::from_tensor(&turned(&x)?.contiguous()?)?;
        let input = turned(&x)?;
        let mut of_weights = dims.clone();
        of_weights[axis] = 1;
        let weights = match case.weights {
            1 if axis > 0 => Some(tensor(&dims[..1], 7 + step, 3.0, DType::F64)?),
            2 => Some(tensor(&of_weights, 8 + step, 3.0, DType::F32)?),
            _ => None,
        };
        let weights = weights.map(|w| w.relu()).transpose()?;
        let residual = Var::from_tensor(&tensor(dims, 9 + step, 0.0, *dtype)?)?;
        let call = Call {
            weights: weights.as_ref(),
            residual: case.residual.then_some(residual.as_tensor()),
            ..Call::train()
        };
        let dy = tensor(dims, 200 + step, 0.1, *dtype)?;
        let before = fused.step();
        let (y, want) = (
            fused.forward_with(&input, &call)?,
            composed.forward_with(&input, &call)?,
        );
        assert_eq!(fused.step(), before + 1);
        close("y", &y, &want, tolerance)?;
        // At the kink of a relu the two paths' rounding may fall on different sides, each with its own right
        // gradient: such elements (their y agree, so both are next to 0) take no part in the gradients.
        let kinked = matches!(
            config.activation,
            Activation::Relu | Activation::LeakyRelu(_)
        );
        let dy = match kinked {
            true => (dy * y.gt(0.0)?.eq(&want.gt(0.0)?)?.to_dtype(*dtype)?)?,
            false => dy,
        };
        let (got, want) = (seeded(&y, &dy)?, seeded(&want, &dy)?);
        let pairs = [
            ("dx", Some(&x), Some(&x)),
            ("dgamma", fused.gamma(), composed.gamma()),
            ("dbeta", fused.beta(), composed.beta()),
            (
                "dresidual",
                case.residual.then_some(&residual),
                case.residual.then_some(&residual),
            ),
        ];
        for (name, ours, theirs) in pairs {
            if let (Some(ours), Some(theirs)) = (ours, theirs) {
                let (got, want) = (got.get(ours), want.get(theirs));
                let (got, want) = (got.expect("a gradient"), want.expect("a gradient"));
                close(name, got, want, tolerance * 4.0)?;
            }
        }
        for ((name, ours), (_, theirs)) in fused.statistics().iter().zip(composed.statistics()) {
            close(name, ours, &theirs, tolerance.min(1e-4))?;
        }
        match (fused.last_correction(), composed.last_correction()) {
            (None, None) => {}
            (Some(ours), Some(theirs)) => {
                close("r", ours.r(), theirs.r(), tolerance.min(1e-4))?;
                close("d", ours.d(), theirs.d(), tolerance.min(1e-4))?;
                assert!((ours.clipped_r()? - theirs.clipped_r()?).abs() < 0.51);
            }
            _ => panic!("one path has a correction, the other has none"),
        }

        // Outside the graph: the same kernels, so the same bits.
        let fresh = layer(config, dims[axis], *dtype, Implementation::Fused)?;
        let again = layer(config, dims[axis], *dtype, Implementation::Fused)?;
        let (y, saved) = fresh.forward_with_saved(&input, &call)?;
        let in_graph = again.forward_with(&input, &call)?;
        close("saved y", &y, &in_graph, 0.0)?;
        let (found, want) = (saved.gradients(&dy)?, seeded(&in_graph, &dy)?);
        let dx = turned(want.get(&x).expect("a gradient"))?;
        close("saved dx", &found.x, &dx, 0.0)?;
        if let (Some(ours), Some(var)) = (&found.gamma, again.gamma()) {
            close(
                "saved dgamma",
                ours,
                want.get(var).expect("a gradient"),
                0.0,
            )?;
        }
        if let Some(ours) = &found.residual {
            close(
                "saved dresidual",
                ours,
                want.get(&residual).expect("a gradient"),
                0.0,
            )?;
        }
    }
    let x = tensor(dims, 300, case.around, *dtype)?;
    close(
        "eval",
        &fused.forward_eval(&x)?,
        &composed.forward_eval(&x)?,
        tolerance * 4.0,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn fused_equals_composed(case in cases()) {
        run(&case).map_err(|error| TestCaseError::fail(error.to_string()))?;
    }
}

/// Shapes above the size that one task does alone: each of the four layouts, and channels cut into parts.
const LARGE: [(&[usize], DataFormat); 7] = [
    (&[8, 12, 32, 32], DataFormat::Nchw),
    (&[16, 40, 9, 11], DataFormat::Nchw),
    (&[3, 2, 150, 151], DataFormat::Nchw),
    (&[40, 30, 40, 3], DataFormat::Nhwc),
    (&[50, 33, 20], DataFormat::Nhwc),
    (&[256, 512], DataFormat::Nhwc),
    (&[9_000, 100], DataFormat::Nhwc),
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
        let bits = |threads: usize| -> Result<Vec<u32>> {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()?;
            let bn = layer(&config, channels, DType::F32, Implementation::Fused)?;
            let tensors = pool.install(|| -> candle::Result<Vec<Tensor>> {
                let call = Call::train().with_weights(&weights);
                let (y, saved) = bn.forward_with_saved(&x, &call)?;
                let (dx, dgamma, dbeta) = saved.backward(&dy)?;
                let eval = bn.forward_eval(&x)?;
                let found = [
                    Some(y),
                    Some(dx),
                    dgamma,
                    dbeta,
                    Some(eval),
                    Some(bn.moving_variance()),
                ];
                Ok(found.into_iter().flatten().collect())
            })?;
            let mut bits = Vec::new();
            for t in tensors {
                bits.extend(
                    t.flatten_all()?
                        .to_vec1::<f32>()?
                        .iter()
                        .map(|v| v.to_bits()),
                );
            }
            Ok(bits)
        };
        let one = bits(1)?;
        assert!(one == bits(2)? && one == bits(3)?, "{dims:?}");
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
                ..BatchNormConfig::keras()
            },
            dtype: DType::F32,
            weights: 2,
            residual: true,
            transposed: false,
            around: 2.0,
        };
        run(&case)?;
    }
    Ok(())
}

#[test]
fn policies_are_those_of_the_composed_path() -> Result<()> {
    let x = Tensor::new(&[[1f32, 5.], [3., 5.], [8., 5.]], &Device::Cpu)?;
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
            for weights in [
                None,
                Some([0f32, 0., 0.]),
                Some([0., 2., 0.]),
                Some([1., -1., 1.]),
            ] {
                let fused = layer(&config, 2, DType::F32, Implementation::Fused)?;
                let composed = layer(&config, 2, DType::F32, Implementation::Composed)?;
                let x = Var::from_tensor(&x.narrow(0, 0, rows)?)?;
                let weights = weights
                    .map(|w| Tensor::new(&w[..rows], &Device::Cpu))
                    .transpose()?;
                let call = Call {
                    weights: weights.as_ref(),
                    ..Call::train()
                };
                match (
                    fused.forward_with(&x, &call),
                    composed.forward_with(&x, &call),
                ) {
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
    let x = Tensor::from_vec(values, (400, 100), &Device::Cpu)?.to_dtype(DType::F32)?;
    let bn = layer(
        &BatchNormConfig::keras(),
        100,
        DType::F32,
        Implementation::Fused,
    )?;
    bn.forward_train(&x)?;
    let health = bn.health()?;
    assert_eq!((health.committed, health.refused), (0, 1));
    assert_eq!(bn.moving_mean().to_vec1::<f32>()?, vec![0.0; 100]);
    Ok(())
}

#[test]
fn given_statistics_and_calls_that_kernels_do_not_take() -> Result<()> {
    let dims = [6, 4, 5];
    let config = BatchNormConfig {
        activation: Activation::Sigmoid,
        ..BatchNormConfig::torch()
    };
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
        Call {
            update: true,
            ..Call::eval()
        },
        Call {
            gamma: Some(&conditional),
            ..Call::train()
        },
    ];
    for call in calls {
        let (ours, theirs) = (
            fused.forward_with(&x, &call)?,
            composed.forward_with(&x, &call)?,
        );
        close("y", &ours, &theirs, 1e-6)?;
        let (a, b) = (seeded(&ours, &dy)?, seeded(&theirs, &dy)?);
        close("dx", a.get(&x).expect("dx"), b.get(&x).expect("dx"), 1e-5)?;
        let (_, saved) = fused.forward_with_saved(&x, &call)?;
        let b = seeded(&composed.forward_with(&x, &call)?, &dy)?;
        close(
            "saved dx",
            &saved.backward(&dy)?.0,
            b.get(&x).expect("dx"),
            1e-5,
        )?;
    }
    let (_, saved) = fused.forward_train_saved(&x)?;
    assert!(matches!(
        saved.backward(&dy.narrow(0, 0, 3)?),
        Err(Error::Shape { .. })
    ));
    assert!(matches!(
        saved.backward(&dy.to_dtype(DType::F64)?),
        Err(Error::DType { .. })
    ));
    Ok(())
}
