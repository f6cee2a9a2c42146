//! [`Moments`]: weight, mean and variance per channel, as one value that merges in any split.
//!
//! Ghost batches, micro-batches, ranks and population statistics all use this one type.

use candle::{DType, Tensor};

use crate::error::{Error, Result};
use crate::layout::{ChannelView, DataFormat, require_float};
use crate::weights;

/// What a weight stands for, which decides the correction of an unbiased variance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WeightKind {
    /// A weight counts repetitions: weight 2 equals the row twice. Correction `W / (W − 1)`.
    #[default]
    Frequency,
    /// A weight says how reliable a row is; only ratios matter. Correction `W / (W − Σw²/W)`.
    Reliability,
}

/// Total weight, mean and biased variance of each channel; `[C]` each, in f64.
///
/// Unweighted values count 1 each. The moments of no values at all are zero weight, zero mean and zero
/// variance: the identity of [`Moments::merge`].
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
#[derive(Clone, Debug)]
pub struct Moments {
    weight: Tensor,
    squared_weight: Tensor,
    mean: Tensor,
    variance: Tensor,
}

impl Moments {
    /// Moments of each channel of `x` (rank 2 or more, channels where `format` has them).
    ///
    /// An `x` without elements has the moments of no values. Gradients flow to `x`.
    /// # Errors
    /// [`Error::Rank`], [`Error::Axis`] or [`Error::DType`] for an `x` that cannot be read so.
    pub fn of(x: &Tensor, format: DataFormat) -> Result<Self> {
        Self::measure(x, None, format)
    }

    /// Weighted moments; `weights` is `[N]`, or broadcasts to `x` with 1 at the channel axis.
    ///
    /// Gradients flow to `x`, not to the weights.
    /// # Errors
    /// As [`Moments::of`]; [`Error::Shape`] or [`Error::Weight`] for weights that do not fit.
    pub fn weighted(x: &Tensor, weights: &Tensor, format: DataFormat) -> Result<Self> {
        Self::measure(x, Some(weights), format)
    }

    fn measure(x: &Tensor, weights: Option<&Tensor>, format: DataFormat) -> Result<Self> {
        const OP: &str = "Moments";
        require_float(OP, "x", x)?;
        let view = ChannelView::new(OP, x.dims(), format)?;
        let w = match weights {
            Some(w) => {
                weights::require_same_device(OP, w, x)?;
                Some(weights::flat_weights(OP, w, &view)?)
            }
            None => None,
        };
        let wide = x.to_dtype(DType::F64)?;
        Ok(channel_moments(&view.flatten(&wide)?, &view, w.as_ref())?)
    }

    /// Moments given from elsewhere: `[C]` tensors, taken as f64; `Σw²` is taken as the weight, as for
    /// values that counted 1 each.
    /// # Errors
    /// [`Error::Shape`] unless all are `[C]`.
    pub fn new(weight: &Tensor, mean: &Tensor, variance: &Tensor) -> Result<Self> {
        for (name, t) in [("weight", weight), ("mean", mean), ("variance", variance)] {
            if t.rank() != 1 || t.dims() != mean.dims() {
                let expected = format!("[C = {}]", mean.elem_count());
                return Err(Error::shape("Moments", name, expected, t.dims()));
            }
        }
        let weight = weight.to_dtype(DType::F64)?;
        Ok(Self {
            squared_weight: weight.clone(),
            weight,
            mean: mean.to_dtype(DType::F64)?,
            variance: variance.to_dtype(DType::F64)?,
        })
    }

    /// The moments of no values: the identity of [`Moments::merge`].
    pub(crate) fn nothing(channels: usize, device: &candle::Device) -> candle::Result<Self> {
        let zero = Tensor::zeros(channels, DType::F64, device)?;
        Ok(Self::from_parts(zero.clone(), zero.clone(), zero.clone(), zero))
    }

    pub(crate) fn from_parts(
        weight: Tensor,
        squared_weight: Tensor,
        mean: Tensor,
        variance: Tensor,
    ) -> Self {
        Self { weight, squared_weight, mean, variance }
    }

    /// Total weight `Σw` of each channel, `[C]`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// `Σw²` of each channel, `[C]`: with the weight it says how many values the weights are worth.
    pub fn squared_weight(&self) -> &Tensor {
        &self.squared_weight
    }

    /// Mean `Σwx / Σw` of each channel, `[C]`.
    pub fn mean(&self) -> &Tensor {
        &self.mean
    }

    /// Biased variance `Σw(x − mean)² / Σw` of each channel, `[C]`.
    pub fn variance(&self) -> &Tensor {
        &self.variance
    }

    /// Variance corrected for the degree of freedom that the mean took, `[C]`.
    ///
    /// `variance · W / (W − 1)` for [`WeightKind::Frequency`], `variance · W / (W − Σw²/W)` for
    /// [`WeightKind::Reliability`]. Where that divisor is not positive (one value) the variance stays as it is.
    pub fn unbiased_variance(&self, kind: WeightKind) -> Result<Tensor> {
        let taken = match kind {
            WeightKind::Frequency => self.weight.ones_like()?,
            WeightKind::Reliability => (&self.squared_weight / weights::divisor(&self.weight)?)?,
        };
        let freedom = (&self.weight - taken)?;
        let corrected = (&self.variance * &self.weight)?.div(&weights::divisor(&freedom)?)?;
        Ok(freedom.gt(0.0)?.where_cond(&corrected, &self.variance)?)
    }

    /// The moments of both sets of values together.
    ///
    /// With `δ = mean₂ − mean₁`: `W = W₁ + W₂`, `mean = mean₁ + δ·W₂/W`,
    /// `variance = (W₁·variance₁ + W₂·variance₂)/W + δ²·W₁W₂/W²`. Associative up to rounding.
    /// Source: Chan, Golub & LeVeque 1979.
    /// # Errors
    /// [`Error::Shape`] when the numbers of channels differ.
    pub fn merge(&self, other: &Self) -> Result<Self> {
        if self.mean.dims() != other.mean.dims() {
            let expected = format!("[C = {}]", self.mean.elem_count());
            return Err(Error::shape("Moments::merge", "other", expected, other.mean.dims()));
        }
        let weight = (&self.weight + &other.weight)?;
        let total = weights::divisor(&weight)?;
        let (share, others) = ((&self.weight / &total)?, (&other.weight / &total)?);
        let delta = (&other.mean - &self.mean)?;
        let within = ((&share * &self.variance)? + (&others * &other.variance)?)?;
        Ok(Self {
            squared_weight: (&self.squared_weight + &other.squared_weight)?,
            mean: (&self.mean + (&delta * &others)?)?,
            variance: (within + (delta.sqr()? * (share * others)?)?)?,
            weight,
        })
    }

    /// All of them merged from left to right; none for an empty list.
    pub fn merge_all(parts: &[Self]) -> Result<Option<Self>> {
        let Some((first, rest)) = parts.split_first() else {
            return Ok(None);
        };
        let merged = rest.iter().try_fold(first.clone(), |all, part| all.merge(part))?;
        Ok(Some(merged))
    }

    /// The same values outside the graph.
    pub fn detach(&self) -> Self {
        Self {
            weight: self.weight.detach(),
            squared_weight: self.squared_weight.detach(),
            mean: self.mean.detach(),
            variance: self.variance.detach(),
        }
    }
}

/// Moments of a flattened f64 tensor, on the graph; `w` as [`weights::flat_weights`] has it.
pub(crate) fn channel_moments(
    flat: &Tensor,
    view: &ChannelView,
    w: Option<&Tensor>,
) -> candle::Result<Moments> {
    let device = flat.device();
    let count = view.values_per_channel();
    if count == 0 || view.channels == 0 {
        return Moments::nothing(view.channels, device);
    }
    let Some(w) = w else {
        let n = count as f64;
        let mean = (view.sum(flat)? / n)?;
        let centred = flat.broadcast_sub(&view.per_channel(&mean)?)?;
        let variance = (view.sum(&centred.sqr()?)? / n)?;
        let weight = Tensor::full(n, view.channels, device)?;
        return Ok(Moments::from_parts(weight.clone(), weight, mean, variance));
    };
    let total = w.sum_all()?.reshape(1)?;
    let divisor = weights::divisor(&total)?;
    let mean = view.sum(&flat.broadcast_mul(w)?)?.broadcast_div(&divisor)?;
    let centred = flat.broadcast_sub(&view.per_channel(&mean)?)?;
    let variance = view.sum(&centred.sqr()?.broadcast_mul(w)?)?.broadcast_div(&divisor)?;
    let each = |t: &Tensor| t.broadcast_as(view.channels)?.contiguous();
    Ok(Moments::from_parts(each(&total)?, each(&w.sqr()?.sum_all()?.reshape(1)?)?, mean, variance))
}
