//! Any shapes, types, values and options at all.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::common::{Numbers, Outcome, layer, tensor};
use bn_core::interchange::{Import, export, import};
use bn_core::{
    BatchNormConfig, Call, Convolution, DataFormat, Decay, Degenerate, Moments, Names, Operator,
    Policy, RenormConfig, RenormVariant, StoredVariance, ZeroDebias, batch_normalization, fold,
    moments, weighted_moments,
};
use candle::{DType, Tensor};
use proptest::prelude::*;

/// A shape, an element type, and whether the values are sound.
type Any = (Vec<usize>, u8, u8);

fn anything() -> impl Strategy<Value = Any> {
    (prop::collection::vec(0usize..4, 0..5), 0u8..6, 0u8..16)
}

fn made((dims, dtype, values): &Any) -> Tensor {
    let n: usize = dims.iter().product();
    let bad = [f64::NAN, f64::INFINITY, -1.0, 1e300, 0.0];
    let value = |i: usize| match bad.get(*values as usize) {
        Some(bad) if i == 0 => *bad,
        _ => Numbers(i as u64).normal().abs(),
    };
    let dtypes = [DType::F32, DType::F64, DType::F16, DType::BF16, DType::I64, DType::U8];
    tensor(&(0..n).map(value).collect::<Vec<_>>(), dims, dtypes[*dtype as usize])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4000) })]

    /// Any shapes, types, values and options at all: a result or an error, and a state without NaN.
    #[test]
    fn never_a_panic(
        (x, w, gamma, residual) in (anything(), prop::option::of(anything()), prop::option::of(anything()), prop::option::of(anything())),
        (axis, channels, like_x) in (0usize..6, 0usize..4, prop::collection::vec(prop::bool::weighted(0.85), 4)),
        (epsilon, decay, ghost, renorm, debias) in (-0.01..1.0f64, -0.01..1.01f64, prop::option::of(0usize..4), 0u8..6, 0u8..6),
        (policies, groups, unbiased) in ((0usize..4, 0usize..4, 0usize..4), 0usize..4, any::<bool>()),
    ) {
        let axis = if like_x[1] { axis % x.0.len().max(1) } else { axis };
        let policy = |i: usize| [Policy::Accept, Policy::Error, Policy::UseMoving, Policy::SkipVarianceUpdate][i];
        let mut config = BatchNormConfig {
            data_format: DataFormat::Axis(axis),
            epsilon,
            decay: Decay::Constant(decay),
            normalization_batch: ghost,
            zero_debias: [ZeroDebias::None, ZeroDebias::Mean, ZeroDebias::Variance, ZeroDebias::Both][debias.saturating_sub(2) as usize],
            degenerate: Degenerate { one_value: policy(policies.0), empty: policy(1 + policies.1 % 2), zero_weight: policy(1 + policies.2 % 2), constant_channel: policy(policies.0) },
            ..BatchNormConfig::keras()
        };
        let variants = [RenormVariant::Tf1, RenormVariant::Keras, RenormVariant::Paper];
        config.renorm = variants.get(renorm as usize).map(|v| RenormConfig::new(*v));
        config.stored_variance = if unbiased && (config.renorm.is_none() || !like_x[3]) { StoredVariance::Unbiased } else { StoredVariance::Biased };
        // Shapes drawn apart seldom fit: some take x's, so that the call goes on behind the checks.
        let x_dims = x.0.clone();
        let fit = |bit: usize, any: Option<Any>, dims: Vec<usize>| any.map(|a| if like_x[bit] { (dims, a.1 % 4, a.2) } else { a });
        let x = if like_x[0] { (x.0, x.1 % 4, x.2) } else { x };
        let channels = if like_x[1] { x.0.get(axis).copied().unwrap_or(channels) } else { channels };
        let w = fit(2, w, x_dims.iter().take(1).copied().collect());
        let (gamma, residual) = (fit(1, gamma, vec![channels]), fit(3, residual, x_dims));
        let run = || -> Outcome {
            let (x, w) = (made(&x), w.as_ref().map(made));
            let (gamma, residual) = (gamma.as_ref().map(made), residual.as_ref().map(made));
            let axes = [axis, groups];
            let _ = moments(&x, &axes, true);
            let _ = Moments::of(&x, DataFormat::Axis(axis));
            if let Some(w) = &w {
                let _ = weighted_moments(&x, &axes[..1], w, false);
                let _ = Moments::weighted(&x, w, DataFormat::Axis(axis));
                let _ = batch_normalization(&x, w, w, Some(w), None, epsilon);
            }
            let bn = layer(&config, channels, DType::F32)?;
            for call in [Call::train(), Call::train(), Call::eval(), Call::batch_statistics()] {
                let x = candle::Var::from_tensor(&x)?;
                let call = Call { weights: w.as_ref(), gamma: gamma.as_ref(), residual: residual.as_ref(), ..call };
                if let Ok(y) = bn.forward_with(&x, &call) {
                    assert_eq!((y.dims(), y.dtype()), (x.dims(), x.dtype()));
                    y.sum_all()?.backward()?;
                }
                for (name, var) in bn.statistics() {
                    assert!(crate::common::values(var.as_tensor()).iter().all(|v| v.is_finite()), "{name} is not finite");
                }
                bn.health()?.warnings();
            }
            for system in [Names::Torch, Names::Haiku, Names::TfSlim, Names::Keras] {
                let named = export(&bn, system, "p", Some(1.0 + epsilon))?;
                import(&bn, system, &named, &Import { prefix: "p".into(), ..Import::default() })?;
            }
            let c = Convolution { groups, stride: 1 + axis % 2, ..Convolution::default() };
            for operator in [Operator::Linear, Operator::Conv1d(c), Operator::Conv2d(c), Operator::ConvTranspose1d(c), Operator::ConvTranspose2d(c)] {
                let weight = gamma.as_ref().or(w.as_ref()).unwrap_or(&x);
                let _ = fold(operator, weight, None, &bn, &x);
            }
            Ok(())
        };
        prop_assert!(catch_unwind(AssertUnwindSafe(run)).is_ok(), "a panic, see above");
    }
}
