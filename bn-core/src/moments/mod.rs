//! Means and variances: over any axes ([`moments`], [`weighted_moments`]) and per channel, as a value
//! that merges ([`Moments`]).
//!
//! Everything is summed in f64 and in two passes: `E[x²] − E[x]²` loses every digit once mean² is much
//! larger than the variance, and sums of 2²⁰ values in f32 lose the mean's last digits.

mod value;

use candle::{DType, Tensor};

pub(crate) use value::channel_moments;
pub use value::{Moments, WeightKind};

use crate::error::{Error, Result};
use crate::layout::{require_device, require_float, statistics_dtype};
use crate::weights;

/// Mean and biased variance over `axes`: `variance = Σ(x − mean)² / count`.
///
/// Shapes: `x` is anything; the results lose `axes`, or keep them with size 1 with `keep_dims`.
/// They have `x`'s type, or f32 where `x` is f16 or bf16. Gradients flow to `x`.
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
/// [`Error::DType`] for integers; [`Error::Axis`] for an axis that does not exist or is named twice;
/// [`Error::Empty`] when there is no value to average.
///
/// Source: `tf.nn.moments`.
pub fn moments(x: &Tensor, axes: &[usize], keep_dims: bool) -> Result<(Tensor, Tensor)> {
    const OP: &str = "moments";
    check(OP, x, axes)?;
    let count: usize = axes.iter().map(|&axis| x.dims()[axis]).product();
    let wide = x.to_dtype(DType::F64)?;
    let mean = (wide.sum_keepdim(axes)? / count as f64)?;
    let centred = wide.broadcast_sub(&mean)?;
    let variance = (centred.sqr()?.sum_keepdim(axes)? / count as f64)?;
    finish(x, mean, variance, axes, keep_dims)
}

/// Weighted mean and variance over `axes`: `mean = Σwx / Σw`, `variance = Σw(x − mean)² / Σw`.
///
/// Shapes: `weights` broadcasts to `x` (aligned at the last axis, as NumPy does); results as in
/// [`moments`]. Gradients flow to `x` and to `weights`. No correction for the degrees of freedom:
/// [`Moments::unbiased_variance`] has both kinds.
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
/// As [`moments`]; [`Error::Shape`] for weights that do not broadcast to `x`; on the CPU
/// [`Error::Weight`] for one that is negative or not finite and [`Error::ZeroWeight`] where they sum to
/// zero (on other devices reading them would stall the device: such a mean and variance are 0).
///
/// Source: `tf.nn.weighted_moments`.
pub fn weighted_moments(
    x: &Tensor,
    axes: &[usize],
    weights: &Tensor,
    keep_dims: bool,
) -> Result<(Tensor, Tensor)> {
    const OP: &str = "weighted_moments";
    check(OP, x, axes)?;
    require_device(OP, "weights", weights, x.device())?;
    weights::require_values(OP, weights)?;
    let Ok(w) = weights.to_dtype(DType::F64)?.broadcast_as(x.dims()) else {
        let expected = format!("that broadcasts to {:?}", x.dims());
        return Err(Error::shape(OP, "weights", expected, weights.dims()));
    };
    let total = w.sum_keepdim(axes)?;
    weights::require_positive_total(OP, &total)?;
    let total = weights::divisor(&total)?;
    let wide = x.to_dtype(DType::F64)?;
    let mean = (&w * &wide)?.sum_keepdim(axes)?.div(&total)?;
    let centred = wide.broadcast_sub(&mean)?;
    let variance = (&w * centred.sqr()?)?.sum_keepdim(axes)?.div(&total)?;
    finish(x, mean, variance, axes, keep_dims)
}

fn check(op: &'static str, x: &Tensor, axes: &[usize]) -> Result<()> {
    require_float(op, "x", x)?;
    for (i, &axis) in axes.iter().enumerate() {
        if axis >= x.rank() || axes[..i].contains(&axis) {
            let rank = x.rank();
            return Err(Error::Axis { op, axis, rank });
        }
    }
    if x.elem_count() == 0 {
        let shape = x.dims().to_vec();
        return Err(Error::Empty { op, shape });
    }
    Ok(())
}

fn finish(
    x: &Tensor,
    mean: Tensor,
    variance: Tensor,
    axes: &[usize],
    keep_dims: bool,
) -> Result<(Tensor, Tensor)> {
    let dtype = statistics_dtype(x.dtype());
    let shaped = |t: Tensor| -> Result<Tensor> {
        let t = t.to_dtype(dtype)?;
        if keep_dims {
            return Ok(t);
        }
        let kept = |(axis, &size)| (!axes.contains(&axis)).then_some(size);
        let dims: Vec<usize> = x.dims().iter().enumerate().filter_map(kept).collect();
        Ok(t.reshape(dims)?)
    };
    Ok((shaped(mean)?, shaped(variance)?))
}
