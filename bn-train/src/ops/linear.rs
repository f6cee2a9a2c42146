//! The products of dense layers, for tensors: by kernels for f32 on the CPU, and by candle's elsewhere.

use super::buffer::{Numbers, is_plain, tensor};
use super::channels::plus_bias;
use super::in_f32_on_cpu;
use super::matmul::Matrix;
use candle::{Result, Tensor};

/// `x · wᵀ + bias` for a contiguous x of `[N, inputs]`, and w of `[outputs, inputs]` in the type of x.
///
/// # Errors
/// The shapes do not fit together.
pub(crate) fn forward(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let ((examples, inputs), (outputs, _)) = (x.dims2()?, weight.dims2()?);
    if !is_plain(x) {
        return plus_bias(in_f32_on_cpu(x, &weight.t()?, Tensor::matmul)?, bias);
    }
    let (x, weight) = (Numbers::of(x)?, Numbers::of(weight)?);
    let weight = Matrix::new(&weight, (outputs, inputs)).transposed();
    let bias = bias.map(Numbers::of).transpose()?;
    let y = Matrix::new(&x, (examples, inputs)).times(weight).plus(bias.as_deref()).computed();
    tensor(y, (examples, outputs))
}

/// `dyᵀ · x`.
pub(crate) fn weight_gradient(dy: &Tensor, x: &Tensor) -> Result<Tensor> {
    let ((examples, outputs), inputs) = (dy.dims2()?, x.dims()[1]);
    if !is_plain(x) {
        return in_f32_on_cpu(&dy.t()?, x, Tensor::matmul);
    }
    let (dy, x) = (Numbers::of(dy)?, Numbers::of(x)?);
    let dy = Matrix::new(&dy, (examples, outputs)).transposed();
    tensor(dy.times(Matrix::new(&x, (examples, inputs))).computed(), (outputs, inputs))
}

/// `dy · w`.
pub(crate) fn input_gradient(dy: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let ((examples, outputs), inputs) = (dy.dims2()?, weight.dims()[1]);
    if !is_plain(dy) {
        return in_f32_on_cpu(dy, weight, Tensor::matmul);
    }
    let (dy, weight) = (Numbers::of(dy)?, Numbers::of(weight)?);
    let weight = Matrix::new(&weight, (outputs, inputs));
    tensor(Matrix::new(&dy, (examples, outputs)).times(weight).computed(), (examples, inputs))
}
