//! The stateless function: [`batch_normalization`].

use candle::{DType, Tensor};

use crate::error::{Error, Result, require};
use crate::layout::{require_device, require_float};

/// `y = (x − mean) / √(variance + ε) · scale + offset`, with everything given.
///
/// Shapes: `mean`, `variance`, `offset` and `scale` broadcast to `x`, aligned at the last axis: `[C]` for
/// channels last, or the shapes that [`crate::moments`] with `keep_dims` returns. `y` has x's shape and
/// type. Gradients flow to all of them. The mean is taken off before scaling (TensorFlow folds it into the
/// offset, which cancels where |mean| is much larger than the stddev).
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
/// [`Error::Value`] for epsilon <= 0; [`Error::Shape`], [`Error::DType`] or [`Error::Device`] for a tensor
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
