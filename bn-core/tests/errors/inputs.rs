//! Tensors that do not fit a layer, a function or each other.

use crate::common::{Numbers, Outcome, state_bits, tensor};
use crate::{built, keras, zeros};
use bn_core::{
    BatchNormConfig, Call, DataFormat, ErrorKind, Moments, batch_normalization, moments,
    weighted_moments,
};
use candle::{DType, Tensor};

#[test]
fn inputs() -> Outcome {
    let bn = built(BatchNormConfig { data_format: DataFormat::Nchw, ..keras() })?;
    let before = state_bits(&bn);
    for call in [Call::train(), Call::eval(), Call::batch_statistics()] {
        let run = |x: &Tensor| bn.forward_with(x, &call);
        assert_error!(run(&zeros(&[3])), ErrorKind::Shape { .. }, "batch norm", "2 or more", "[3]");
        assert_error!(run(&zeros(&[])), ErrorKind::Shape { .. }, "batch norm", "2 or more", "[]");
        assert_error!(
            run(&zeros(&[2, 4, 3])),
            ErrorKind::Shape { .. },
            "batch norm",
            "3 channels",
            "axis 1",
            "[2, 4, 3]"
        );
        let integers = zeros(&[2, 3]).to_dtype(DType::I64)?;
        assert_error!(
            run(&integers),
            ErrorKind::DType { .. },
            "batch norm",
            "`x`",
            "f16, bf16, f32 or f64",
            "I64"
        );
        assert_error!(run(&zeros(&[2, 3]).to_dtype(DType::U8)?), ErrorKind::DType { .. }, "U8");
    }
    let far = built(BatchNormConfig { data_format: DataFormat::Axis(4), ..keras() })?;
    assert_error!(
        far.forward_train(&zeros(&[2, 3])),
        ErrorKind::Axis { .. },
        "batch norm",
        "axis 4",
        "2 axes"
    );
    assert_eq!(state_bits(&bn), before);

    let x = tensor(&Numbers(1).normals(12), &[4, 3], DType::F32);
    assert_error!(moments(&x, &[2], false), ErrorKind::Axis { .. }, "moments", "axis 2", "2 axes");
    assert_error!(moments(&x, &[0, 0], false), ErrorKind::Axis { .. }, "moments", "axis 0");
    assert_error!(
        moments(&x.to_dtype(DType::U32)?, &[0], false),
        ErrorKind::DType { .. },
        "moments",
        "`x`",
        "U32"
    );
    assert_error!(
        Moments::of(&zeros(&[3]), DataFormat::Nchw),
        ErrorKind::Shape { .. },
        "Moments",
        "[3]"
    );
    let (m, v) = moments(&x, &[0], false)?;
    let normalize = |m: &Tensor, epsilon| batch_normalization(&x, m, &v, None, None, epsilon);
    assert_error!(
        normalize(&zeros(&[4]), 1e-3),
        ErrorKind::Shape { .. },
        "batch_normalization",
        "`mean`",
        "[4, 3]",
        "[4]"
    );
    assert_error!(normalize(&m, 0.0), ErrorKind::Value { .. }, "epsilon", "> 0", "0");
    assert_error!(
        normalize(&m.to_dtype(DType::I64)?, 1e-3),
        ErrorKind::DType { .. },
        "`mean`",
        "I64"
    );
    Ok(())
}

#[test]
fn tensors_of_a_call() -> Outcome {
    let bn = built(BatchNormConfig { data_format: DataFormat::Nchw, ..keras() })?;
    let x = tensor(&Numbers(1).normals(2 * 3 * 4), &[2, 3, 4], DType::F32);
    let before = state_bits(&bn);
    let weighted = |w: &Tensor| bn.forward_with(&x, &Call::train().with_weights(w));
    for dims in [&[3][..], &[3, 1], &[2, 3, 4], &[1, 3, 1], &[2, 1, 5], &[1, 2, 1, 4], &[0]] {
        let got = format!("{dims:?}");
        assert_error!(
            weighted(&zeros(dims)),
            ErrorKind::Shape { .. },
            "batch norm",
            "`weights`",
            "[N = 2]",
            "[2, 1, 4]",
            &got
        );
    }
    for bad in [-1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1e-30] {
        let got = format!("{}", bad as f32 as f64);
        let w = tensor(&[1.0, bad], &[2], DType::F32);
        assert_error!(
            weighted(&w),
            ErrorKind::Weight { index: 1, .. },
            "batch norm",
            "finite and not negative",
            &got,
            "index 1"
        );
        // Elsewhere it would have to wait for the device.
        if x.device().is_cpu() {
            let rows = tensor(&[1.0, bad], &[2, 1, 1], DType::F32);
            assert_error!(
                weighted_moments(&x, &[0], &rows, false),
                ErrorKind::Weight { index: 1, .. },
                "weighted_moments",
                &got
            );
        }
    }
    let rows = zeros(&[3]);
    assert_error!(
        weighted_moments(&x, &[0], &rows, false),
        ErrorKind::Shape { .. },
        "weighted_moments",
        "`weights`",
        "[2, 3, 4]",
        "[3]"
    );
    assert_error!(
        bn.forward_with(&x, &Call::train().with_residual(&zeros(&[2, 3]))),
        ErrorKind::Shape { .. },
        "`residual`",
        "[2, 3, 4]",
        "[2, 3]"
    );
    let integers = x.to_dtype(DType::I64)?;
    assert_error!(
        bn.forward_with(&x, &Call::train().with_residual(&integers)),
        ErrorKind::DType { .. },
        "`residual`",
        "I64"
    );
    for dims in [&[2][..], &[4, 3], &[1, 3], &[2, 3, 4], &[]] {
        let got = format!("{dims:?}");
        let wrong = zeros(dims);
        assert_error!(
            bn.forward_with(&x, &Call { gamma: Some(&wrong), ..Call::train() }),
            ErrorKind::Shape { .. },
            "`gamma`",
            "[C = 3]",
            "[N = 2, C]",
            &got
        );
        assert_error!(
            bn.forward_with(&x, &Call { beta: Some(&wrong), ..Call::eval() }),
            ErrorKind::Shape { .. },
            "`beta`",
            "[C = 3]",
            &got
        );
    }
    // A residual meets the same checks where gamma is one per example.
    let (gamma, integers) = (zeros(&[2, 3]), x.zeros_like()?.to_dtype(DType::U32)?);
    assert_error!(
        bn.forward_with(
            &x,
            &Call { gamma: Some(&gamma), residual: Some(&integers), ..Call::eval() }
        ),
        ErrorKind::DType { .. },
        "`residual`",
        "f16"
    );
    let other = Moments::of(&zeros(&[2, 4]), DataFormat::Nhwc)?;
    assert_error!(
        bn.forward_with(&x, &Call::given(&other)),
        ErrorKind::Shape { .. },
        "`given statistics`",
        "[C = 3]",
        "[4]"
    );
    assert_error!(
        other.merge(&Moments::of(&zeros(&[2, 3]), DataFormat::Nhwc)?),
        ErrorKind::Shape { .. },
        "merge",
        "[C = 4]",
        "[3]"
    );
    assert_error!(
        Moments::new(&zeros(&[2]), &zeros(&[3]), &zeros(&[3])),
        ErrorKind::Shape { .. },
        "`weight`",
        "[C = 3]",
        "[2]"
    );
    assert_eq!(state_bits(&bn), before, "an error changes nothing");
    assert_eq!((bn.step(), bn.health()?.pending_forwards), (0, 0));
    Ok(())
}
