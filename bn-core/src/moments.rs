//! [`Moments`]: weight, mean and variance per channel, as one value that merges in any split.

use std::borrow::Cow;

use candle::{DType, Device, Tensor};

use crate::channel::{Moment, Weight, WeightKind, unbiased_variance};
use crate::error::{Error, Result};
use crate::functions::mean_and_variance;
use crate::layout::{ChannelView, DataFormat, require_device, require_float};
use crate::tensors::{from_values, values};
use crate::weights::flat_weights;

/// Total weight, mean and biased variance of each channel, in f64.
///
/// Unweighted values have weight 1 each. Without values, all three are zero: the identity of
/// [`Moments::merge`]. The numbers lie on the host, outside candle's graph;
/// [`moments`](crate::moments) and [`weighted_moments`](crate::weighted_moments) are differentiable. Those of a training
/// pass on a GPU are fetched when they are asked for; they are NaN if the GPU cannot be read.
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
    /// One for each channel.
    weight: Vec<Weight>,
    moments: Held,
}

#[derive(Clone, Debug)]
enum Held {
    Host(Vec<Moment>),
    /// Means, then variances: `[2, C]` in f64.
    Device(Tensor),
}

impl PartialEq for Moments {
    fn eq(&self, other: &Self) -> bool {
        self.weight == other.weight && self.channels() == other.channels()
    }
}

impl Moments {
    /// Moments of each channel of `x`, of rank 2 or more; `format` names the channel axis. Waits for the device.
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape), [`Axis`](crate::ErrorKind::Axis) or [`DType`](crate::ErrorKind::DType) for an unsuitable `x`.
    pub fn of(x: &Tensor, format: DataFormat) -> Result<Self> {
        Self::measure(x, None, format)
    }

    /// Weighted moments. `weights` is `[N]`, or broadcasts to `x` with 1 at the channel axis.
    /// # Errors
    /// Those of [`Moments::of`]; [`Shape`](crate::ErrorKind::Shape), [`Device`](crate::ErrorKind::Device) or [`Weight`](crate::ErrorKind::Weight) for unsuitable weights.
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

    /// Moments from `[C]` tensors, converted to f64. `Σw²` is set to the weight, as for values of weight 1;
    /// [`Moments::with_squared_weight`] changes it.
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) unless all are `[C]`; [`Value`](crate::ErrorKind::Value) for a negative weight or variance.
    pub fn new(weight: &Tensor, mean: &Tensor, variance: &Tensor) -> Result<Self> {
        let channels = mean.elem_count();
        let weight = column("weight", weight, channels, 0.0)?.into_iter();
        let mean = column("mean", mean, channels, f64::NEG_INFINITY)?;
        let variance = column("variance", variance, channels, 0.0)?;
        let weight = weight.map(|w| Weight { sum: w, squares: w }).collect();
        Ok(Self { weight, moments: Held::Host(Moment::zip(&mean, &variance)) })
    }

    /// Sets `Σw²`, `[C]`, for values whose weights were not 1.
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) unless it is `[C]`; [`Value`](crate::ErrorKind::Value) for a negative value.
    pub fn with_squared_weight(mut self, squared_weight: &Tensor) -> Result<Self> {
        let squares = column("squared_weight", squared_weight, self.weight.len(), 0.0)?;
        for (weight, squares) in self.weight.iter_mut().zip(squares) {
            weight.squares = squares;
        }
        Ok(self)
    }

    /// Channels that share one weight.
    pub(crate) fn from_parts(weight: Weight, moments: Vec<Moment>) -> Self {
        Self { weight: vec![weight; moments.len()], moments: Held::Host(moments) }
    }

    /// The same of means and variances on a device, `[2, C]` in f64.
    pub(crate) fn on_device(weight: Weight, moments: Tensor) -> Self {
        Self { weight: vec![weight; moments.elem_count() / 2], moments: Held::Device(moments) }
    }

    /// The moments without values: the identity of [`Moments::merge`].
    pub(crate) fn nothing(channels: usize) -> Self {
        Self::from_parts(Weight::default(), vec![Moment::default(); channels])
    }

    /// The number of channels.
    pub(crate) fn channel_count(&self) -> usize {
        self.weight.len()
    }

    /// Waits for a device that holds them.
    pub(crate) fn channels(&self) -> Cow<'_, [Moment]> {
        match &self.moments {
            Held::Host(moments) => Cow::Borrowed(moments),
            Held::Device(moments) => {
                let all =
                    values(moments).unwrap_or_else(|_| vec![f64::NAN; 2 * self.channel_count()]);
                let (means, variances) = all.split_at(self.channel_count());
                Cow::Owned(Moment::zip(means, variances))
            }
        }
    }

    /// Means, then variances, `[2, C]` in f64 on a device.
    pub(crate) fn device_tensor(&self, device: &Device) -> candle::Result<Tensor> {
        match &self.moments {
            Held::Device(moments) => Ok(moments.clone()),
            Held::Host(_) => {
                let both = [self.means(), self.variances()].concat();
                Tensor::from_vec(both, (2, self.channel_count()), device)
            }
        }
    }

    /// The weight of a layer's batch, which all its channels share.
    pub(crate) fn common_weight(&self) -> Weight {
        self.weight.first().copied().unwrap_or_default()
    }

    pub(crate) fn means(&self) -> Vec<f64> {
        self.channels().iter().map(|moment| moment.mean).collect()
    }

    pub(crate) fn variances(&self) -> Vec<f64> {
        self.channels().iter().map(|moment| moment.variance).collect()
    }

    fn column(&self, value: impl Fn(Weight, Moment) -> f64) -> Tensor {
        let channels = self.channels();
        let each = self.weight.iter().zip(channels.iter());
        let column: Vec<f64> = each.map(|(weight, moment)| value(*weight, *moment)).collect();
        from_values(column, self.channel_count())
    }

    /// Total weight `Σw` of each channel, `[C]`.
    pub fn weight(&self) -> Tensor {
        self.column(|weight, _| weight.sum)
    }

    /// `Σw²` of each channel, `[C]`; `W² / Σw²` is the effective number of values.
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
    /// [`WeightKind::Reliability`]. Where that divisor is not positive (one value), the variance is not corrected.
    pub fn unbiased_variance(&self, kind: WeightKind) -> Tensor {
        self.column(|w, moment| unbiased_variance(moment.variance, w.sum, w.freedom(kind)))
    }

    /// The moments of the union of both sets of values.
    ///
    /// With `δ = mean₂ − mean₁`: `W = W₁ + W₂`, `mean = mean₁ + δ·W₂/W`,
    /// `variance = (W₁·variance₁ + W₂·variance₂)/W + δ²·W₁W₂/W²`. Associative up to rounding.
    /// Source: Chan, Golub & LeVeque 1979.
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) if the numbers of channels differ.
    pub fn merge(&self, other: &Self) -> Result<Self> {
        if self.channel_count() != other.channel_count() {
            let expected = format!("[C = {}]", self.channel_count());
            return Err(Error::shape(
                "Moments::merge",
                "other",
                expected,
                &[other.channel_count()],
            ));
        }
        let mut merged = self.clone();
        merged.absorb(other);
        Ok(merged)
    }

    /// [`Moments::merge`] in place, for the same number of channels.
    pub(crate) fn absorb(&mut self, other: &Self) {
        if let Held::Device(_) = self.moments {
            self.moments = Held::Host(self.channels().into_owned());
        }
        let Self { weight, moments: Held::Host(moments) } = self else { return };
        let of_other = other.channels();
        let each = moments.iter_mut().zip(weight).zip(of_other.iter().zip(&other.weight));
        for ((moment, weight), (of_other, other)) in each {
            *moment = moment.merge(weight.sum, *of_other, other.sum);
            *weight = weight.plus(*other);
        }
    }

    /// Merges from left to right; `None` for an empty list.
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) if the numbers of channels differ.
    pub fn merge_all(parts: &[Self]) -> Result<Option<Self>> {
        let Some((first, rest)) = parts.split_first() else {
            return Ok(None);
        };
        rest.iter().try_fold(first.clone(), |all, part| all.merge(part)).map(Some)
    }
}

/// The values of a `[C]` tensor of which none is below `least`.
fn column(name: &'static str, t: &Tensor, channels: usize, least: f64) -> Result<Vec<f64>> {
    if t.dims() != [channels] {
        return Err(Error::shape("Moments", name, format!("[C = {channels}]"), t.dims()));
    }
    let values = values(t)?;
    match values.iter().find(|v| **v < least) {
        Some(low) => Err(Error::value(name, "values of 0 or more", low)),
        None => Ok(values),
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
    let w = w.map(|w| w.broadcast_as(flat.dims())).transpose()?;
    let (mean, variance) = mean_and_variance(flat, view.flat_axes(), w.as_ref())?;
    Ok(Moment::zip(&values(&mean)?, &values(&variance)?))
}
