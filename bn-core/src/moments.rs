//! [`Moments`]: weight, mean and variance per channel, as one value that merges in any split; and the
//! functions over any axes ([`moments`], [`weighted_moments`]).
//!
//! Everything is summed in f64, about a value of the batch: `E[x²] − E[x]²` loses every digit once mean²
//! is much larger than the variance, and a constant must have variance 0 exactly.

use candle::{DType, Tensor};

use crate::channel::{Moment, Weight, WeightKind, unbiased_variance};
use crate::error::{Error, Result};
use crate::layout::{ChannelView, DataFormat, require_device, require_float, statistics_dtype};
use crate::tensors::values;
use crate::weights::{self, flat_weights};

/// Total weight, mean and biased variance of each channel, in f64.
///
/// Unweighted values count 1 each. The moments of no values at all are zero weight, zero mean and zero
/// variance: the identity of [`Moments::merge`]. The numbers lie on the host, and outside candle's graph:
/// [`moments`] and [`weighted_moments`] are differentiable.
///
/// ```
/// use bn_core::{DataFormat, Moments};
/// use candle::{Device, Tensor};
/// let x = Tensor::new(&[[1f32, 5.], [3., 5.], [8., 5.]], &Device::Cpu)?;
/// let whole = Moments::of(&x, DataFormat::Nhwc)?;
/// let parts = Moments::of(&x.narrow(0, 0, 2)?, DataFormat::Nhwc)?
///     .merge(&Moments::of(&x.narrow(0, 2, 1)?, DataFormat::Nhwc)?)?;
/// assert_eq!(whole.mean().to_vec1::<f64>()?, [4., 5.]);
/// assert_eq!(parts.mean().to_vec1::<f64>()?, [4., 5.]);
/// # Ok::<(), bn_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// One for all channels, or one for each.
    weight: Vec<Weight>,
    moments: Vec<Moment>,
}

impl Moments {
    /// Moments of each channel of `x` (rank 2 or more, channels where `format` has them).
    ///
    /// An `x` without elements has the moments of no values. Waits for the device.
    /// # Errors
    /// [`Error::Rank`], [`Error::Axis`] or [`Error::DType`] for an `x` that cannot be read so.
    pub fn of(x: &Tensor, format: DataFormat) -> Result<Self> {
        Self::measure(x, None, format)
    }

    /// Weighted moments; `weights` is `[N]`, or broadcasts to `x` with 1 at the channel axis.
    /// # Errors
    /// As [`Moments::of`]; [`Error::Shape`] or [`Error::Weight`] for weights that do not fit.
    pub fn weighted(x: &Tensor, weights: &Tensor, format: DataFormat) -> Result<Self> {
        Self::measure(x, Some(weights), format)
    }

    fn measure(x: &Tensor, w: Option<&Tensor>, format: DataFormat) -> Result<Self> {
        const OP: &str = "Moments";
        require_float(OP, "x", x)?;
        let view = ChannelView::new(OP, x.dims(), format)?;
        let w = match w {
            Some(w) => {
                require_device(OP, "weights", w, x.device())?;
                Some(flat_weights(OP, w, &view)?)
            }
            None => None,
        };
        let flat = view.flatten(&x.detach().to_dtype(DType::F64)?)?;
        let weight = total_weight(&view, w.as_ref())?;
        Ok(Self::from_parts(weight, channel_moments(&flat, &view, w.as_ref())?))
    }

    /// Moments given from elsewhere: `[C]` tensors, taken as f64. `Σw²` is taken as the weight, as for
    /// values that counted 1 each; see [`Moments::with_squared_weight`].
    /// # Errors
    /// [`Error::Shape`] unless all are `[C]`; [`Error::Value`] for a negative weight or variance.
    pub fn new(weight: &Tensor, mean: &Tensor, variance: &Tensor) -> Result<Self> {
        for (name, t) in [("weight", weight), ("mean", mean), ("variance", variance)] {
            if t.rank() != 1 || t.dims() != mean.dims() {
                let expected = format!("[C = {}]", mean.elem_count());
                return Err(Error::shape("Moments", name, expected, t.dims()));
            }
        }
        let (weight, means, variances) = (values(weight)?, values(mean)?, values(variance)?);
        for (name, of) in [("weight", &weight), ("variance", &variances)] {
            if let Some(negative) = of.iter().find(|v| **v < 0.0) {
                return Err(Error::value(name, "values of 0 or more", negative));
            }
        }
        let each = means.into_iter().zip(variances);
        Ok(Self {
            weight: weight.into_iter().map(|w| Weight { sum: w, squares: w }).collect(),
            moments: each.map(|(mean, variance)| Moment { mean, variance }).collect(),
        })
    }

    /// The same with another `Σw²`, `[C]`: for values that did not count 1 each.
    /// # Errors
    /// [`Error::Shape`] unless it is `[C]`; [`Error::Value`] for a negative one.
    pub fn with_squared_weight(mut self, squared_weight: &Tensor) -> Result<Self> {
        let channels = self.moments.len();
        if squared_weight.dims() != [channels] {
            let expected = format!("[C = {channels}]");
            let got = squared_weight.dims();
            return Err(Error::shape("Moments", "squared_weight", expected, got));
        }
        let squares = values(squared_weight)?;
        if let Some(negative) = squares.iter().find(|v| **v < 0.0) {
            return Err(Error::value("squared_weight", "values of 0 or more", negative));
        }
        let each = squares.into_iter().enumerate();
        let weight = |(c, squares)| Weight { squares, ..self.channel_weight(c) };
        self.weight = each.map(weight).collect();
        Ok(self)
    }

    /// All channels of one weight.
    pub(crate) fn from_parts(weight: Weight, moments: Vec<Moment>) -> Self {
        Self { weight: vec![weight], moments }
    }

    /// The moments of no values: the identity of [`Moments::merge`].
    pub(crate) fn nothing(channels: usize) -> Self {
        Self::from_parts(Weight::default(), vec![Moment::default(); channels])
    }

    pub(crate) fn channels(&self) -> &[Moment] {
        &self.moments
    }

    pub(crate) fn channel_weight(&self, channel: usize) -> Weight {
        self.weight.get(channel).or(self.weight.first()).copied().unwrap_or_default()
    }

    /// The weight of a layer's batch, which all of its channels share.
    pub(crate) fn common_weight(&self) -> Weight {
        self.channel_weight(0)
    }

    pub(crate) fn means(&self) -> Vec<f64> {
        self.moments.iter().map(|moment| moment.mean).collect()
    }

    pub(crate) fn variances(&self) -> Vec<f64> {
        self.moments.iter().map(|moment| moment.variance).collect()
    }

    fn column(&self, value: impl Fn(Weight, Moment) -> f64) -> Tensor {
        let each = self.moments.iter().enumerate();
        let column: Vec<f64> = each.map(|(c, m)| value(self.channel_weight(c), *m)).collect();
        let channels = column.len();
        crate::tensors::from_values(column, channels)
    }

    /// Total weight `Σw` of each channel, `[C]`.
    pub fn weight(&self) -> Tensor {
        self.column(|weight, _| weight.sum)
    }

    /// `Σw²` of each channel, `[C]`: with the weight it says how many values the weights are worth.
    pub fn squared_weight(&self) -> Tensor {
        self.column(|weight, _| weight.squares)
    }

    /// Mean `Σwx / Σw` of each channel, `[C]`.
    pub fn mean(&self) -> Tensor {
        self.column(|_, moment| moment.mean)
    }

    /// Biased variance `Σw(x − mean)² / Σw` of each channel, `[C]`.
    pub fn variance(&self) -> Tensor {
        self.column(|_, moment| moment.variance)
    }

    /// Variance corrected for the degree of freedom that the mean took, `[C]`.
    ///
    /// `variance · W / (W − 1)` for [`WeightKind::Frequency`], `variance · W / (W − Σw²/W)` for
    /// [`WeightKind::Reliability`]. Where that divisor is not positive (one value) the variance stays as it is.
    pub fn unbiased_variance(&self, kind: WeightKind) -> Tensor {
        self.column(|w, moment| unbiased_variance(moment.variance, w.sum, w.freedom(kind)))
    }

    /// The moments of both sets of values together.
    ///
    /// With `δ = mean₂ − mean₁`: `W = W₁ + W₂`, `mean = mean₁ + δ·W₂/W`,
    /// `variance = (W₁·variance₁ + W₂·variance₂)/W + δ²·W₁W₂/W²`. Associative up to rounding.
    /// Source: Chan, Golub & LeVeque 1979.
    /// # Errors
    /// [`Error::Shape`] when the numbers of channels differ.
    pub fn merge(&self, other: &Self) -> Result<Self> {
        if self.moments.len() != other.moments.len() {
            let expected = format!("[C = {}]", self.moments.len());
            return Err(Error::shape("Moments::merge", "other", expected, &[other.moments.len()]));
        }
        let mut merged = self.clone();
        merged.absorb(other);
        Ok(merged)
    }

    /// [`Moments::merge`] in place, for the same number of channels.
    pub(crate) fn absorb(&mut self, other: &Self) {
        for (c, (moment, of_other)) in self.moments.iter_mut().zip(&other.moments).enumerate() {
            let own = self.weight.get(c).or(self.weight.first()).copied().unwrap_or_default();
            *moment = moment.merge(own.sum, *of_other, other.channel_weight(c).sum);
        }
        if self.weight.len() < other.weight.len() {
            self.weight = vec![self.common_weight(); other.weight.len()];
        }
        for (c, weight) in self.weight.iter_mut().enumerate() {
            *weight = weight.plus(other.channel_weight(c));
        }
    }

    /// All of them merged from left to right; none for an empty list.
    /// # Errors
    /// [`Error::Shape`] when the numbers of channels differ.
    pub fn merge_all(parts: &[Self]) -> Result<Option<Self>> {
        let Some((first, rest)) = parts.split_first() else {
            return Ok(None);
        };
        rest.iter().try_fold(first.clone(), |all, part| all.merge(part)).map(Some)
    }
}

/// `Σw` and `Σw²` over everything but the channels. Reads the weights.
pub(crate) fn total_weight(view: &ChannelView, w: Option<&Tensor>) -> Result<Weight> {
    let Some(w) = w else {
        return Ok(Weight::of_count(view.values_per_channel()));
    };
    let w = values(w)?;
    Ok(Weight { sum: w.iter().sum(), squares: w.iter().map(|w| w * w).sum() })
}

/// Moments of the channels of a flattened f64 tensor; `w` as [`flat_weights`] has it.
pub(crate) fn channel_moments(
    flat: &Tensor,
    view: &ChannelView,
    w: Option<&Tensor>,
) -> Result<Vec<Moment>> {
    if view.values_per_channel() == 0 || view.channels == 0 {
        return Ok(vec![Moment::default(); view.channels]);
    }
    let axes: &[usize] = if view.inner == 1 { &[0] } else { &[0, 2] };
    let w = w.map(|w| w.broadcast_as(flat.dims())).transpose()?;
    let (mean, variance) = mean_and_variance(flat, axes, w.as_ref())?;
    let each = values(&mean)?.into_iter().zip(values(&variance)?);
    Ok(each.map(|(mean, variance)| Moment { mean, variance }).collect())
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

/// Mean and biased variance of an f64 tensor over `axes`, which keep size 1. On the graph.
fn mean_and_variance(x: &Tensor, axes: &[usize], w: Option<&Tensor>) -> Result<(Tensor, Tensor)> {
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
    let (mean, variance) = mean_and_variance(&x.to_dtype(DType::F64)?, axes, None)?;
    finish(x, mean, variance, axes, keep_dims)
}

/// Weighted mean and variance over `axes`: `mean = Σwx / Σw`, `variance = Σw(x − mean)² / Σw`.
///
/// Shapes: `weights` broadcasts to `x` (aligned at the last axis, as NumPy does); results as in
/// [`moments`]. Gradients flow to `x` and to `weights`. No correction for the degrees of freedom:
/// [`Moments::unbiased_variance`] has both kinds. Where the weights sum to 0, mean, variance and their
/// gradients are 0, as in TensorFlow.
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
/// [`Error::Weight`] for one that is negative or not finite (elsewhere reading them would stall the device).
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
        let expected = format!("a shape that broadcasts to {:?}", x.dims());
        return Err(Error::shape(OP, "weights", expected, weights.dims()));
    };
    let (mean, variance) = mean_and_variance(&x.to_dtype(DType::F64)?, axes, Some(&w))?;
    finish(x, mean, variance, axes, keep_dims)
}

fn check(op: &'static str, x: &Tensor, axes: &[usize]) -> Result<()> {
    require_float(op, "x", x)?;
    for (i, &axis) in axes.iter().enumerate() {
        if axis >= x.rank() || axes[..i].contains(&axis) {
            let rank = x.rank();
            return Err(Error::Axis { op: op.into(), axis, rank });
        }
    }
    if x.elem_count() == 0 {
        let shape = x.dims().to_vec();
        return Err(Error::Empty { op: op.into(), shape });
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
