//! A drawn layer and call, and the comparison of its two implementations.

use bn_core::{
    Activation, BatchNorm, BatchNormConfig, Call, Clipping, DataFormat, Implementation,
    Initializer, RenormConfig, RenormVariant, StoredVariance, WeightKind, ZeroDebias,
};
use candle::{DType, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use proptest::prelude::*;

use crate::common::device;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

pub(crate) fn values(len: usize, seed: u64, around: f64, spread: f64) -> Vec<f64> {
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

pub(crate) fn tensor(dims: &[usize], seed: u64, around: f64, dtype: DType) -> Result<Tensor> {
    let values = values(dims.iter().product(), seed, around, 2.0);
    Ok(Tensor::from_vec(values, dims, &device())?.to_dtype(dtype)?)
}

pub(crate) fn layer(
    config: &BatchNormConfig,
    channels: usize,
    dtype: DType,
    with: Implementation,
) -> Result<BatchNorm> {
    let kept = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let variables = VarMap::new();
    let vb = VarBuilder::from_varmap(&variables, kept, &device());
    Ok(config.clone().build(channels, vb)?.with_implementation(with))
}

pub(crate) fn seeded(y: &Tensor, dy: &Tensor) -> Result<candle::backprop::GradStore> {
    Ok((y.to_dtype(DType::F64)? * dy.to_dtype(DType::F64)?)?.sum_all()?.backward()?)
}

/// `|a − b| ≤ tolerance · max(1, largest |b|)`.
pub(crate) fn close(what: &str, a: &Tensor, b: &Tensor, tolerance: f64) -> Result<()> {
    assert_eq!(a.dims(), b.dims(), "{what}");
    assert_eq!(a.dtype(), b.dtype(), "{what}");
    let host = |t: &Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    let (a, b) = (host(a)?, host(b)?);
    let largest = b.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
    for (i, (a, b)) in a.iter().zip(&b).enumerate() {
        assert!((a - b).abs() <= tolerance * largest, "{what}[{i}]: fused {a}, composed {b}");
    }
    Ok(())
}

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) dims: Vec<usize>,
    pub(crate) config: BatchNormConfig,
    pub(crate) dtype: DType,
    pub(crate) weights: u8,
    pub(crate) residual: bool,
    pub(crate) transposed: bool,
    pub(crate) around: f64,
}

pub(crate) fn cases() -> impl Strategy<Value = Case> {
    let dims = prop_oneof![
        prop::collection::vec(1..40_usize, 2),
        prop::collection::vec(1..9_usize, 3),
        prop::collection::vec(1..7_usize, 4),
        (1..4_usize, 1..20_usize, 15..70_usize).prop_map(|(n, c, i)| vec![n, c, i]),
    ];
    let dtype =
        prop_oneof![Just(DType::F32), Just(DType::F64), Just(DType::F16), Just(DType::BF16)];
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
    let switches =
        (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
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
            Case { dims, config, dtype, weights, residual, transposed, around }
        },
    )
}

pub(crate) fn run(case: &Case) -> Result<()> {
    let Case { dims, config, dtype, .. } = case;
    let tolerance = match dtype {
        DType::F64 => 1e-11,
        DType::F32 => 2e-5,
        DType::F16 => 4e-3,
        _ => 3e-2,
    };
    let DataFormat::Axis(axis) = config.data_format else { unreachable!() };
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
        let (y, want) = (fused.forward_with(&input, &call)?, composed.forward_with(&input, &call)?);
        assert_eq!(fused.step(), before + 1);
        close("y", &y, &want, tolerance)?;
        // At the kink of a relu the two paths' rounding may fall on different sides, each with its own right
        // gradient: such elements (their y agree, so both are next to 0) take no part in the gradients.
        let kinked = matches!(config.activation, Activation::Relu | Activation::LeakyRelu(_));
        let dy = match kinked {
            true => (dy * y.gt(0.0)?.eq(&want.gt(0.0)?)?.to_dtype(*dtype)?)?,
            false => dy,
        };
        let (got, want) = (seeded(&y, &dy)?, seeded(&want, &dy)?);
        let pairs = [
            ("dx", Some(&x), Some(&x)),
            ("dgamma", fused.gamma(), composed.gamma()),
            ("dbeta", fused.beta(), composed.beta()),
            ("dresidual", case.residual.then_some(&residual), case.residual.then_some(&residual)),
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
                assert!((ours.clipped_r() - theirs.clipped_r()).abs() < 0.51);
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
            close("saved dgamma", ours, want.get(var).expect("a gradient"), 0.0)?;
        }
        if let Some(ours) = &found.residual {
            close("saved dresidual", ours, want.get(&residual).expect("a gradient"), 0.0)?;
        }
    }
    let x = tensor(dims, 300, case.around, *dtype)?;
    close("eval", &fused.forward_eval(&x)?, &composed.forward_eval(&x)?, tolerance * 4.0)
}
