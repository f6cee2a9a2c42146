//! The convolution as an operation of candle's graph.

use super::{ConvShape, forward, input_gradient, weight_gradient};
use crate::ops::buffer::{Numbers, is_plain, tensor};
use candle::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

/// Convolution of `x`, `[N, inputs, height, width]`, with `weights`, `[outputs, inputs, rows, columns]`, with gradients by
/// both. Uses this crate's kernels for f32 on the CPU, and candle's otherwise.
///
/// # Errors
/// The shapes do not fit together, or the kernel does not fit into the image.
pub fn conv2d(x: &Tensor, weights: &Tensor, padding: usize, stride: usize) -> Result<Tensor> {
    if !is_plain(x) || !is_plain(weights) {
        return x.conv2d(weights, padding, stride, 1, 1);
    }
    let op = Conv2d { shape: conv_shape(x.dims4()?, weights.dims4()?, padding, stride)? };
    x.contiguous()?.apply_op2(&weights.contiguous()?, op)
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
            "conv2d: images {x:?}, weights {weights:?}, padding {padding}, stride {stride} do not fit together"
        );
    }
    Ok(shape)
}

struct Conv2d {
    shape: ConvShape,
}

impl CustomOp2 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weights: &CpuStorage,
        weights_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let range = |layout: &Layout| match layout.contiguous_offsets() {
            Some((start, end)) => Ok(start..end),
            None => candle::bail!("conv2d: expected a contiguous tensor, got {layout:?}"),
        };
        let x = &x.as_slice::<f32>()?[range(x_layout)?];
        let weights = &weights.as_slice::<f32>()?[range(weights_layout)?];
        let y = forward(&self.shape, x, weights);
        Ok((CpuStorage::F32(y), self.shape.output_dims().into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weights: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let dy = Numbers::of(&dy)?;
        let dx = input_gradient(&self.shape, &dy, &Numbers::of(weights)?);
        let dw = weight_gradient(&self.shape, &Numbers::of(x)?, &dy);
        Ok((Some(tensor(dx, x.dims())?), Some(tensor(dw, weights.dims())?)))
    }
}
