//! The convolution by tensor operations, for devices and types without kernels of this crate: matrix products of unfolded
//! images. candle's own gradient by the images is a plain loop on a GPU.

use super::ConvShape;
use candle::{Result, Tensor};

/// `y = x ∗ w`.
pub(super) fn forward(shape: &ConvShape, x: &Tensor, weights: &Tensor) -> Result<Tensor> {
    x.conv2d(weights, shape.padding, shape.stride, 1, 1)
}

/// The gradient by x: a convolution of dy, spread by the stride, with the turned kernels.
pub(super) fn input_gradient(shape: &ConvShape, dy: &Tensor, weights: &Tensor) -> Result<Tensor> {
    let (rows, columns) = shape.kernel;
    let turned = turned(&turned(weights, 2)?, 3)?.transpose(0, 1)?.contiguous()?;
    // A whole convolution of this many rows has one result for each of the image's.
    let before = |kernel: usize| kernel as isize - 1 - shape.padding as isize;
    let dy = spread(&spread(dy, 2, shape.stride)?, 3, shape.stride)?;
    let dy = moved(&dy, 2, before(rows), shape.height + rows - 1)?;
    let dy = moved(&dy, 3, before(columns), shape.width + columns - 1)?;
    dy.contiguous()?.conv2d(&turned, 0, 1, 1, 1)
}

/// The gradient by the weights: a convolution of the images with dy, in which images are channels.
pub(super) fn weight_gradient(shape: &ConvShape, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let (x, dy) = (x.transpose(0, 1)?.contiguous()?, dy.transpose(0, 1)?.contiguous()?);
    let dw = x.conv2d(&dy, shape.padding, 1, shape.stride, 1)?.transpose(0, 1)?;
    // With a stride, the last rows and columns belong to no weight.
    dw.narrow(2, 0, shape.kernel.0)?.narrow(3, 0, shape.kernel.1)?.contiguous()
}

/// The elements of an axis in reverse order.
fn turned(t: &Tensor, axis: usize) -> Result<Tensor> {
    let reversed: Vec<u32> = (0..t.dim(axis)? as u32).rev().collect();
    t.contiguous()?.index_select(&Tensor::new(reversed, t.device())?, axis)
}

/// `stride − 1` zeros behind each element of an axis.
fn spread(t: &Tensor, axis: usize, stride: usize) -> Result<Tensor> {
    if stride == 1 {
        return Ok(t.clone());
    }
    let mut dims = t.dims().to_vec();
    dims[axis] *= stride;
    t.unsqueeze(axis + 1)?.pad_with_zeros(axis + 1, 0, stride - 1)?.reshape(dims)
}

/// An axis of `length`, with the elements moved by `before`: zeros are added or elements cut off on both sides.
fn moved(t: &Tensor, axis: usize, before: isize, length: usize) -> Result<Tensor> {
    let cut = before.min(0).unsigned_abs().min(t.dim(axis)?);
    let zeros = before.max(0).unsigned_abs().min(length);
    let kept = (t.dim(axis)? - cut).min(length - zeros);
    t.narrow(axis, cut, kept)?.pad_with_zeros(axis, zeros, length - zeros - kept)
}
