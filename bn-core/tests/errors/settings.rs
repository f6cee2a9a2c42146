//! Settings outside their range, and those that exclude each other.

use crate::common::layer;
use crate::{built, keras, zeros};
use bn_core::{
    Activation, BatchNormConfig, Clipping, DataFormat, Decay, Degenerate, ErrorKind, Initializer,
    MovingAverage, Policy, RMin, Regularizer, RenormConfig, RenormVariant, Schedule,
    StoredVariance, ZeroDebias,
};
use candle::DType;

#[test]
fn settings() {
    let value = |config: BatchNormConfig, name: &str, wanted: &str, got: &str| {
        assert_error!(built(config), ErrorKind::Value { .. }, name, wanted, got);
    };
    for epsilon in [0.0, -1e-3, f64::NAN, f64::INFINITY] {
        value(
            BatchNormConfig { epsilon, ..keras() },
            "epsilon",
            "epsilon > 0",
            &epsilon.to_string(),
        );
    }
    let two = |v| Schedule::piecewise([(0, 0.5), (10, v)]).expect("finite");
    for bad in [1.0, -0.1, 1.5] {
        for decay in [Decay::Constant(bad), Decay::Schedule(two(bad))] {
            value(
                BatchNormConfig { decay, ..keras() },
                "decay",
                "0 <= decay < 1",
                &bad.to_string(),
            );
        }
        assert_error!(
            MovingAverage::new(&zeros(&[1]), bad, false),
            ErrorKind::Value { .. },
            "decay",
            &bad.to_string()
        );
    }
    value(
        BatchNormConfig { decay: Decay::Constant(f64::NAN), ..keras() },
        "decay",
        "0 <= decay < 1",
        "NaN",
    );
    let renorm = |clipping: Clipping, decay| BatchNormConfig {
        renorm: Some(RenormConfig { decay, clipping, variant: RenormVariant::Tf1 }),
        ..keras()
    };
    for bad in [1.0, -0.1, f64::NAN] {
        value(renorm(Clipping::none(), bad), "renorm decay", "0 <= decay < 1", &bad.to_string());
    }
    for bad in [-0.1, 1.1, f64::NAN] {
        value(
            renorm(Clipping::constant(Some(bad), None, None), 0.9),
            "r_min",
            "0 <= r_min <= 1",
            &bad.to_string(),
        );
    }
    for bad in [0.9, -3.0, f64::NAN] {
        value(
            renorm(Clipping::constant(None, Some(bad), None), 0.9),
            "r_max",
            "r_max >= 1",
            &bad.to_string(),
        );
    }
    for bad in [-0.1, f64::NAN] {
        value(
            renorm(Clipping::constant(None, None, Some(bad)), 0.9),
            "d_max",
            "d_max >= 0",
            &bad.to_string(),
        );
    }
    value(
        renorm(Clipping { r_max: Some(two(3.0)), ..Clipping::none() }, 0.9),
        "r_max",
        "r_max >= 1",
        "0.5",
    );
    value(
        BatchNormConfig { normalization_batch: Some(0), ..keras() },
        "normalization_batch",
        "1 example",
        "0",
    );
    value(
        BatchNormConfig { activation: Activation::LeakyRelu(f64::NAN), ..keras() },
        "slope",
        "finite",
        "NaN",
    );
    for scale in [-1.0, f64::INFINITY] {
        value(
            BatchNormConfig { gamma_regularizer: Some(Regularizer::L2(scale)), ..keras() },
            "gamma_regularizer",
            "0 or more",
            &scale.to_string(),
        );
    }
    let minus = Initializer::Values(vec![1.0, -1.0, 1.0]);
    value(
        BatchNormConfig { moving_variance_initializer: minus, ..keras() },
        "moving_variance_initializer",
        "0 or more",
        "-1",
    );
    let nan = Initializer::Constant(f64::NAN);
    value(
        BatchNormConfig { beta_initializer: nan, ..keras() },
        "beta_initializer",
        "finite",
        "NaN",
    );
    let short = Initializer::Values(vec![1.0; 2]);
    assert_error!(
        built(BatchNormConfig { gamma_initializer: short, ..keras() }),
        ErrorKind::Shape { .. },
        "gamma_initializer",
        "3 channels",
        "[2]"
    );
    assert_error!(
        layer(&keras(), 0, DType::F32),
        ErrorKind::Value { .. },
        "channels",
        "1 or more",
        "0"
    );
    for policy in [Policy::Accept, Policy::SkipVarianceUpdate] {
        let got = format!("{policy:?}");
        let empty = Degenerate { empty: policy, ..Degenerate::default() };
        value(
            BatchNormConfig { degenerate: empty, ..keras() },
            "degenerate.empty",
            "Error or UseMoving",
            &got,
        );
        let weightless = Degenerate { zero_weight: policy, ..Degenerate::default() };
        value(
            BatchNormConfig { degenerate: weightless, ..keras() },
            "degenerate.zero_weight",
            "Error or UseMoving",
            &got,
        );
    }
    assert_error!(
        Schedule::piecewise([]),
        ErrorKind::Value { .. },
        "schedule",
        "one (step, value) point or more",
        "none"
    );
    assert_error!(
        Schedule::piecewise([(5, 1.0), (4, 1.0)]),
        ErrorKind::Value { .. },
        "schedule",
        "do not go back",
        "4 after 5"
    );
    assert_error!(
        Schedule::piecewise([(5, f64::NAN)]),
        ErrorKind::Value { .. },
        "schedule",
        "finite",
        "NaN at step 5"
    );
}

#[test]
fn contradictions() {
    let refuse = |config: BatchNormConfig, first: &str, second: &str| {
        assert_error!(
            built(config),
            ErrorKind::Contradiction { .. },
            first,
            second,
            "exclude each other"
        );
    };
    let renorm = |variant| BatchNormConfig { renorm: Some(RenormConfig::new(variant)), ..keras() };
    for variant in [RenormVariant::Tf1, RenormVariant::Keras, RenormVariant::Paper] {
        refuse(
            BatchNormConfig { stored_variance: StoredVariance::Unbiased, ..renorm(variant) },
            "renorm",
            "unbiased",
        );
        for zero_debias in [ZeroDebias::Mean, ZeroDebias::Variance, ZeroDebias::Both] {
            let both = BatchNormConfig { zero_debias, ..renorm(variant) };
            match variant {
                RenormVariant::Tf1 => assert!(built(both).is_ok()),
                _ => refuse(both, "zero_debias", "renorm variant"),
            }
        }
    }
    let inverse = Clipping { r_min: Some(RMin::InverseOfRMax), ..Clipping::none() };
    let inverse = RenormConfig { clipping: inverse, ..RenormConfig::new(RenormVariant::Paper) };
    refuse(BatchNormConfig { renorm: Some(inverse), ..keras() }, "r_min", "r_max");
    let penalty = Some(Regularizer::L1(0.1));
    refuse(
        BatchNormConfig { scale: false, gamma_regularizer: penalty, ..keras() },
        "gamma_regularizer",
        "scale = false",
    );
    refuse(
        BatchNormConfig { center: false, beta_regularizer: penalty, ..keras() },
        "beta_regularizer",
        "center = false",
    );
    let first = BatchNormConfig {
        data_format: DataFormat::Axis(0),
        normalization_batch: Some(2),
        ..keras()
    };
    refuse(first, "normalization_batch", "axis 0");
}
