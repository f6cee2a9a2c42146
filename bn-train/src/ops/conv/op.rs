//! The convolution of tensors and its gradients, by what computes them fastest.

#[cfg(feature = "cudnn")]
use super::cudnn;
use super::{ConvShape, forward, input_gradient, tensors, weight_gradient};
use crate::ops::buffer::{Numbers, is_plain, tensor};
use crate::ops::channels::{add_bias, plus_bias};
use crate::ops::in_f32_on_cpu;
use candle::{Result, Tensor};

/// What convolves tensors.
enum By {
    /// This crate's kernels, f32 on the CPU.
    Kernels,
    #[cfg(feature = "cudnn")]
    Cudnn,
    Tensors,
}

fn by(x: &Tensor) -> By {
    #[cfg(feature = "cudnn")]
    if x.device().is_cuda() && cudnn::takes(x.dtype()) {
        return By::Cudnn;
    }
    if is_plain(x) { By::Kernels } else { By::Tensors }
}

/// `x ∗ w + bias` for a contiguous x, and weights in its type.
///
/// # Errors
/// Errors of candle or the device.
pub(crate) fn convolved(
    shape: &ConvShape,
    x: &Tensor,
    weights: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let y = match by(x) {
        By::Kernels => {
            let mut y = forward(shape, &Numbers::of(x)?, &Numbers::of(weights)?);
            if let Some(bias) = bias {
                add_bias(&mut y, &Numbers::of(bias)?, shape.images);
            }
            return tensor(y, shape.output_dims());
        }
        #[cfg(feature = "cudnn")]
        By::Cudnn => cudnn::forward(shape, x, weights)?,
        By::Tensors => in_f32_on_cpu(x, weights, |x, w| tensors::forward(shape, x, w))?,
    };
    plus_bias(y, bias)
}

/// The gradient by x, for a contiguous dy, and weights in its type.
///
/// # Errors
/// Errors of candle or the device.
pub(crate) fn gradient_by_input(
    shape: &ConvShape,
    dy: &Tensor,
    weights: &Tensor,
) -> Result<Tensor> {
    match by(dy) {
        By::Kernels => {
            let dx = input_gradient(shape, &Numbers::of(dy)?, &Numbers::of(weights)?);
            tensor(dx, (shape.images, shape.inputs, shape.height, shape.width))
        }
        #[cfg(feature = "cudnn")]
        By::Cudnn => cudnn::input_gradient(shape, dy, weights),
        By::Tensors => in_f32_on_cpu(dy, weights, |dy, w| tensors::input_gradient(shape, dy, w)),
    }
}

/// The gradient by the weights, for contiguous x and dy.
///
/// # Errors
/// Errors of candle or the device.
pub(crate) fn gradient_by_weights(shape: &ConvShape, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    match by(x) {
        By::Kernels => {
            let dw = weight_gradient(shape, &Numbers::of(x)?, &Numbers::of(dy)?);
            tensor(dw, (shape.outputs, shape.inputs, shape.kernel.0, shape.kernel.1))
        }
        #[cfg(feature = "cudnn")]
        By::Cudnn => cudnn::weight_gradient(shape, x, dy),
        By::Tensors => in_f32_on_cpu(x, dy, |x, dy| tensors::weight_gradient(shape, x, dy)),
    }
}

/// The shape of a convolution of tensors with these dimensions.
///
/// # Errors
/// The dimensions do not fit together.
pub(crate) fn conv_shape(
    x: (usize, usize, usize, usize),
    weights: (usize, usize, usize, usize),
    padding: usize,
    stride: usize,
) -> Result<ConvShape> {
    let shape = ConvShape {
        images: x.0,
        inputs: x.1,
        height: x.2,
        width: x.3,
        outputs: weights.0,
        kernel: (weights.2, weights.3),
        stride,
        padding,
    };
    if weights.1 != x.1 || stride == 0 || shape.output().is_none() || x.1 * weights.0 == 0 {
        candle::bail!(
            "convolution: images {x:?}, weights {weights:?}, padding {padding}, stride {stride} do not fit together"
        );
    }
    Ok(shape)
}
