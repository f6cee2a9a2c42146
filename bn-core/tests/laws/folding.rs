//! Folding: one operator that does what the two layers did, with and without each of their parts.

use bn_core::{BatchNormConfig, Convolution, Operator, fold};
use candle::{DType, Tensor};

use crate::common::{Numbers, Outcome, assert_close, layer, values};

/// What the operator does, in candle's words; grouped transposed ones group by group.
fn apply(operator: Operator, x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> candle::Result<Tensor> {
    let y = match operator {
        Operator::Linear => x.matmul(&w.t()?)?,
        Operator::Conv1d(c) => x.conv1d(w, c.padding, c.stride, c.dilation, c.groups)?,
        Operator::Conv2d(c) => x.conv2d(w, c.padding, c.stride, c.dilation, c.groups)?,
        Operator::ConvTranspose1d(c) | Operator::ConvTranspose2d(c) => {
            let (inputs, weights) = (x.chunk(c.groups, 1)?, w.chunk(c.groups, 0)?);
            let parts = inputs.iter().zip(&weights).map(|(x, w)| {
                let (x, w) = (x.contiguous()?, w.contiguous()?);
                match w.rank() {
                    3 => {
                        x.conv_transpose1d(&w, c.padding, c.output_padding, c.stride, c.dilation, 1)
                    }
                    _ => x.conv_transpose2d(&w, c.padding, c.output_padding, c.stride, c.dilation),
                }
            });
            Tensor::cat(&parts.collect::<candle::Result<Vec<_>>>()?, 1)?
        }
    };
    let Some(b) = b else { return Ok(y) };
    let mut dims = vec![1; y.rank()];
    dims[1] = b.elem_count();
    y.broadcast_add(&b.reshape(dims)?)
}

#[test]
fn the_folded_operator_does_the_work_of_both() -> Outcome {
    let with =
        |groups, padding, stride| Convolution { groups, padding, stride, ..Convolution::default() };
    let up = Convolution { output_padding: 1, ..with(2, 1, 2) };
    // Operator, shape of its weight, shape of its input; 6 output channels each.
    let operators = [
        (Operator::Linear, vec![6, 5], vec![7, 5]),
        (Operator::Conv1d(with(1, 1, 1)), vec![6, 4, 3], vec![2, 4, 8]),
        (Operator::Conv1d(with(2, 0, 2)), vec![6, 2, 3], vec![2, 4, 9]),
        (Operator::Conv2d(with(1, 1, 1)), vec![6, 4, 3, 3], vec![2, 4, 5, 6]),
        (Operator::Conv2d(with(3, 0, 2)), vec![6, 2, 3, 3], vec![2, 6, 5, 6]),
        (Operator::Conv2d(with(6, 1, 1)), vec![6, 1, 3, 3], vec![2, 6, 5, 5]), // depthwise
        (Operator::ConvTranspose1d(with(1, 1, 2)), vec![4, 6, 3], vec![2, 4, 5]),
        (Operator::ConvTranspose1d(up), vec![4, 3, 3], vec![2, 4, 5]),
        (Operator::ConvTranspose2d(with(1, 0, 1)), vec![4, 6, 2, 2], vec![2, 4, 4, 5]),
        (Operator::ConvTranspose2d(up), vec![4, 3, 3, 3], vec![2, 4, 4, 5]),
        (Operator::ConvTranspose2d(with(3, 1, 2)), vec![6, 2, 3, 3], vec![2, 6, 4, 5]),
    ];
    let mut numbers = Numbers(55);
    for (operator, weight, input) in operators {
        for case in 0..8 {
            let (scale, center, biased) = (case & 1 == 1, case & 2 == 2, case & 4 == 4);
            let config = BatchNormConfig { scale, center, ..BatchNormConfig::torch() };
            for dtype in [DType::F64, DType::F32] {
                let bn = layer(&config, 6, dtype)?;
                for _ in 0..20 {
                    bn.forward_train(&((numbers.tensor(&[9, 6]) * 2.0)? + 1.0)?.to_dtype(dtype)?)?;
                }
                for (_, var) in bn.affine_variables() {
                    var.set(&numbers.tensor(&[6]).to_dtype(dtype)?)?;
                }
                let w = numbers.tensor(&weight).to_dtype(dtype)?;
                let b = numbers.tensor(&[6]).to_dtype(dtype)?;
                let b = biased.then_some(&b);
                let probe = numbers.tensor(&input).to_dtype(dtype)?;
                let folded = fold(operator, &w, b, &bn, &probe)?;
                assert_eq!((folded.weight.dims(), folded.weight.dtype()), (&weight[..], dtype));
                assert_eq!(folded.bias.dims(), [6]);
                let other = numbers.tensor(&input).to_dtype(dtype)?;
                let want = bn.forward_eval(&apply(operator, &other, &w, b)?)?;
                let got = apply(operator, &other, &folded.weight, Some(&folded.bias))?;
                // Both round sums of up to 40 products of size below 100 once per term.
                let bound = 4.0 * 40.0 * 100.0 * crate::common::epsilon_of(dtype);
                assert_close(
                    &format!("{operator:?} {case}"),
                    &values(&got),
                    &values(&want),
                    0.0,
                    bound,
                );
                assert!(folded.largest_error <= bound);

                // The error is measured: that of the probe itself.
                let want = values(&bn.forward_eval(&apply(operator, &probe, &w, b)?)?);
                let got = values(&apply(operator, &probe, &folded.weight, Some(&folded.bias))?);
                let largest = got.iter().zip(&want).map(|(g, w)| (g - w).abs()).fold(0.0, f64::max);
                assert_eq!(folded.largest_error, largest);
            }
        }
    }
    Ok(())
}

/// An error that is there is seen: f16 weights cannot hold the products.
#[test]
fn the_measured_error_is_not_zero_by_construction() -> Outcome {
    let bn = layer(&BatchNormConfig::torch(), 4, DType::F32)?;
    bn.forward_train(&(Numbers(1).tensor(&[9, 4]) * 3.0)?.to_dtype(DType::F32)?)?;
    let (w, probe) = (
        Numbers(2).tensor(&[4, 8]).to_dtype(DType::F16)?,
        Numbers(3).tensor(&[5, 8]).to_dtype(DType::F16)?,
    );
    let folded = fold(Operator::Linear, &w, None, &bn, &probe)?;
    assert!((1e-5..0.1).contains(&folded.largest_error), "{}", folded.largest_error);
    Ok(())
}
