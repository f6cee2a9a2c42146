//! The stateless functions over any axes, in candle's graph: [`moments`], [`weighted_moments`] and
//! [`batch_normalization`].
//!
//! Everything is summed in f64, about a value of the batch: `E[x²] − E[x]²` loses every digit once mean²
//! is much larger than the variance, and a constant must have variance 0 exactly.

use candle::{DType, Tensor};

use crate::error::{Error, ErrorKind, Result, require};
use crate::layout::{require_device, require_float, statistics_dtype};
use crate::weights::require_values;

/// Mean and biased variance over `axes`: `variance = Σ(x − mean)² / count`.
///
/// Shapes: `x` has any shape; the results do not have `axes`, or with `keep_dims` have them with size 1.
/// They have `x`'s type, or f32 for f16 and bf16. Gradients flow to `x`.
///
/// ```
/// use candle::{Device, Tensor};
/// let x = Tensor::new(&[[1f64, 2.], [3., 6.]], &Device::Cpu)?;
/// let (mean, variance) = bn_core::moments(&x, &[0], false)?;
/// assert_eq!(mean.to_vec1::<f64>()?, [2., 4.]);
/// assert_eq!(variance.to_vec1::<f64>()?, [1., 4.]);
/// # Ok::<(), bn_core::Error>(())
/// ```
/// # Errors
/// [`ErrorKind::DType`] for integers; [`ErrorKind::Axis`] for an axis that does not exist or is listed twice;
/// [`ErrorKind::Empty`] for an `x` without elements.
///
/// Source: `tf.nn.moments`.
pub fn moments(x: &Tensor, axes: &[usize], keep_dims: bool) -> Result<(Tensor, Tensor)> {
    over_axes("moments", x, axes, None, keep_dims)
}

/// Weighted mean and variance over `axes`: `mean = Σwx / Σw`, `variance = Σw(x − mean)² / Σw`.
///
/// Shapes: `weights` broadcasts to `x`, aligned at the last axis as in NumPy; results as in [`moments`].
/// Gradients flow to `x` and `weights`. The variance is biased;
/// [`Moments::unbiased_variance`](crate::Moments::unbiased_variance) corrects it. If the weights sum to 0, mean,
/// variance and their gradients are 0, as in TensorFlow.
///
/// ```
/// use candle::{Device, Tensor};
/// let x = Tensor::new(&[[1f64], [4.]], &Device::Cpu)?;
/// let weights = Tensor::new(&[[2f64], [1.]], &Device::Cpu)?; // the first row counts twice
/// let (mean, variance) = bn_core::weighted_moments(&x, &[0], &weights, false)?;
/// assert_eq!(mean.to_vec1::<f64>()?, [2.]);
/// assert_eq!(variance.to_vec1::<f64>()?, [2.]);
/// # Ok::<(), bn_core::Error>(())
/// ```
/// # Errors
/// Those of [`moments`]; [`ErrorKind::Shape`] for weights that do not broadcast to `x`; on the CPU
/// [`ErrorKind::Weight`] for a negative or non-finite weight (on other devices, reading them would be slow).
///
/// Source: `tf.nn.weighted_moments`.
pub fn weighted_moments(
    x: &Tensor,
    axes: &[usize],
    weights: &Tensor,
    keep_dims: bool,
) -> Result<(Tensor, Tensor)> {
    const OP: &str = "weighted_moments";
    require_device(OP, "weights", weights, x.device())?;
    require_values(OP, weights)?;
    let Ok(w) = weights.to_dtype(DType::F64)?.broadcast_as(x.dims()) else {
        let expected = format!("a shape that broadcasts to {:?}", x.dims());
        return Err(Error::shape(OP, "weights", expected, weights.dims()));
    };
    over_axes(OP, x, axes, Some(&w), keep_dims)
}

/// `y = (x − mean) / √(variance + ε) · scale + offset`, with everything given.
///
/// Shapes: `mean`, `variance`, `offset` and `scale` broadcast to `x`, aligned at the last axis: `[C]` for
/// channels last, or the shapes that [`crate::moments`] with `keep_dims` returns. `y` has x's shape and
/// type. Gradients flow to all of them. The mean is subtracted before scaling (TensorFlow folds it into the
/// offset, which loses digits if |mean| is much larger than the stddev).
///
/// ```
/// use candle::{Device, Tensor};
/// let x = Tensor::new(&[[1f64, 2.], [3., 6.]], &Device::Cpu)?;
/// let (mean, variance) = bn_core::moments(&x, &[0], false)?;
/// let y = bn_core::batch_normalization(&x, &mean, &variance, None, None, 1e-12)?;
/// assert_eq!(y.round()?.to_vec2::<f64>()?, [[-1., -1.], [1., 1.]]);
/// # Ok::<(), bn_core::Error>(())
/// ```
/// # Errors
/// [`ErrorKind::Value`] for epsilon <= 0; [`ErrorKind::Shape`], [`ErrorKind::DType`] or [`ErrorKind::Device`] for a tensor
/// that does not fit x.
///
/// Source: `tf.nn.batch_normalization`.
pub fn batch_normalization(
    x: &Tensor,
    mean: &Tensor,
    variance: &Tensor,
    offset: Option<&Tensor>,
    scale: Option<&Tensor>,
    epsilon: f64,
) -> Result<Tensor> {
    const OP: &str = "batch_normalization";
    let positive = epsilon.is_finite() && epsilon > 0.0;
    require(positive, "epsilon", "epsilon > 0", epsilon)?;
    require_float(OP, "x", x)?;
    let wide = |name: &str, t: &Tensor| -> Result<Tensor> {
        require_float(OP, name, t)?;
        require_device(OP, name, t, x.device())?;
        if t.broadcast_as(x.dims()).is_err() {
            let expected = format!("that broadcasts to {:?}", x.dims());
            return Err(Error::shape(OP, name, expected, t.dims()));
        }
        Ok(t.to_dtype(DType::F64)?)
    };
    let inv_std = (wide("variance", variance)? + epsilon)?.sqrt()?.recip()?;
    let centred = x.to_dtype(DType::F64)?.broadcast_sub(&wide("mean", mean)?)?;
    let mut y = centred.broadcast_mul(&inv_std)?;
    if let Some(scale) = scale {
        y = y.broadcast_mul(&wide("scale", scale)?)?;
    }
    if let Some(offset) = offset {
        y = y.broadcast_add(&wide("offset", offset)?)?;
    }
    Ok(y.to_dtype(x.dtype())?)
}

fn over_axes(
    op: &'static str,
    x: &Tensor,
    axes: &[usize],
    w: Option<&Tensor>,
    keep_dims: bool,
) -> Result<(Tensor, Tensor)> {
    require_float(op, "x", x)?;
    for (i, &axis) in axes.iter().enumerate() {
        if axis >= x.rank() || axes[..i].contains(&axis) {
            return Err(ErrorKind::Axis { axis, rank: x.rank() }.at(op));
        }
    }
    if x.elem_count() == 0 {
        return Err(ErrorKind::Empty(x.dims().to_vec()).at(op));
    }
    let (mean, variance) = mean_and_variance(&x.to_dtype(DType::F64)?, axes, w)?;
    let kept =
        |(axis, &size)| if axes.contains(&axis) { keep_dims.then_some(1) } else { Some(size) };
    let dims: Vec<usize> = x.dims().iter().enumerate().filter_map(kept).collect();
    let dtype = statistics_dtype(x.dtype());
    let shaped = |t: Tensor| t.to_dtype(dtype)?.reshape(dims.as_slice());
    Ok((shaped(mean)?, shaped(variance)?))
}

/// Mean and biased variance of an f64 tensor over `axes`, which keep size 1. On the graph.
pub(crate) fn mean_and_variance(
    x: &Tensor,
    axes: &[usize],
    w: Option<&Tensor>,
) -> Result<(Tensor, Tensor)> {
    let pivot = pivot(&x.detach(), axes, w)?;
    let deviations = x.broadcast_sub(&pivot)?;
    let Some(w) = w else {
        let count: usize = axes.iter().map(|&axis| x.dims()[axis]).product();
        let offset = (deviations.sum_keepdim(axes)? / count as f64)?;
        let centred = deviations.broadcast_sub(&offset)?;
        let variance = (centred.sqr()?.sum_keepdim(axes)? / count as f64)?;
        return Ok((pivot.add(&offset)?, variance));
    };
    let total = w.sum_keepdim(axes)?;
    let some = total.gt(0.0)?;
    // No weight, no moments: 0, and so are their gradients (TensorFlow divides 0 by 0 to 0 here).
    let divisor = some.where_cond(&total, &total.ones_like()?)?;
    let offset = (w * &deviations)?.sum_keepdim(axes)?.div(&divisor)?;
    let centred = deviations.broadcast_sub(&offset)?;
    let variance = (w * centred.sqr()?)?.sum_keepdim(axes)?.div(&divisor)?;
    let zero = total.zeros_like()?;
    let defined = |t: &Tensor| some.where_cond(t, &zero);
    Ok((defined(&pivot.add(&offset)?)?, defined(&variance)?))
}

/// A value of each channel that counts: deviations of a constant from it are 0, and so is their mean. One of
/// weight 0 may be anything.
fn pivot(x: &Tensor, axes: &[usize], w: Option<&Tensor>) -> Result<Tensor> {
    let mut pivot = x.clone();
    if let Some(w) = w {
        let none = x.zeros_like()?.affine(0.0, f64::NEG_INFINITY)?;
        pivot = w.gt(0.0)?.where_cond(x, &none)?;
        for &axis in axes {
            pivot = pivot.max_keepdim(axis)?;
        }
        return Ok(pivot.gt(f64::NEG_INFINITY)?.where_cond(&pivot, &pivot.zeros_like()?)?);
    }
    for &axis in axes {
        pivot = pivot.narrow(axis, 0, 1)?;
    }
    Ok(pivot)
}
