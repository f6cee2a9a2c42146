//! Folding a trained batch norm into the layer before it, for inference: one operation instead of two.
//!
//! `W' = W · k`, `b' = (b − moving_mean) · k + beta` with `k = gamma / √(moving_variance + ε)` per output
//! channel. The result contains the measured error.

use candle::{DType, Tensor};

use crate::activation::Activation;
use crate::batch_norm::BatchNorm;
use crate::error::{Error, Result, require};
use crate::layout::ChannelView;

/// How a convolution is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Zeros added on both sides. Default 0.
    pub padding: usize,
    /// Added to one side of the output of a transposed convolution. Default 0.
    pub output_padding: usize,
    /// Default 1.
    pub stride: usize,
    /// Default 1.
    pub dilation: usize,
    /// Number of independent groups that channels are split into. Default 1.
    pub groups: usize,
}

impl Default for Convolution {
    fn default() -> Self {
        Self { padding: 0, output_padding: 0, stride: 1, dilation: 1, groups: 1 }
    }
}

/// The layer before the batch norm, with the shape of its weight; `g` is the number of groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `[out, in]`, applied as `x · Wᵀ + b`.
    Linear,
    /// `[out, in / g, k]`.
    Conv1d(Convolution),
    /// `[out, in / g, k, k]`.
    Conv2d(Convolution),
    /// `[in, out / g, k]`.
    ConvTranspose1d(Convolution),
    /// `[in, out / g, k, k]`.
    ConvTranspose2d(Convolution),
}

/// Weight and bias of one layer that replaces both.
#[derive(Clone, Debug)]
pub struct Folded {
    /// Of the operator's weight shape and type.
    pub weight: Tensor,
    /// `[out]`.
    pub bias: Tensor,
    /// The largest absolute difference between the folded layer and the two layers on the probe, before the
    /// batch norm's activation.
    pub largest_error: f64,
}

/// Folds a batch norm's evaluation into the operator before it, and measures the error on `probe`.
///
/// The activation is not folded: apply it after the folded layer
/// ([`Activation::apply`](crate::Activation::apply)).
///
/// ```
/// use bn_core::{BatchNormConfig, Operator, fold};
/// use candle::{DType, Device, Tensor};
/// use candle_nn::{VarBuilder, VarMap};
/// # let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
/// let bn = BatchNormConfig::torch().build(3, vb)?;
/// let weight = Tensor::randn(0f32, 1., (3, 4), &Device::Cpu)?;
/// let probe = Tensor::randn(0f32, 1., (5, 4), &Device::Cpu)?;
/// let folded = fold(Operator::Linear, &weight, None, &bn, &probe)?;
/// assert!(folded.largest_error < 1e-5);
/// # Ok::<(), bn_core::Error>(())
/// ```
/// # Errors
/// [`Shape`](crate::ErrorKind::Shape) if weight, bias or probe do not fit the operator or the batch norm;
/// [`Contradiction`](crate::ErrorKind::Contradiction) if the batch norm's channels are not on axis 1, where operators put theirs;
/// [`Value`](crate::ErrorKind::Value) for a parameter of the convolution out of range.
pub fn fold(
    operator: Operator,
    weight: &Tensor,
    bias: Option<&Tensor>,
    bn: &BatchNorm,
    probe: &Tensor,
) -> Result<Folded> {
    const OP: &str = "fold";
    operator.check(weight, bn.channels())?;
    operator.check_probe(weight, probe)?;
    if let Some(bias) = bias
        && bias.dims() != [bn.channels()]
    {
        return Err(Error::shape(OP, "bias", format!("[out = {}]", bn.channels()), bias.dims()));
    }
    let wide = |t: &Tensor| t.detach().to_dtype(DType::F64);
    let mut k = (wide(&bn.moving_variance()?)? + bn.config().epsilon)?.sqrt()?.recip()?;
    if let Some(gamma) = bn.gamma() {
        k = (k * wide(gamma)?)?;
    }
    let mut offset = wide(&bn.moving_mean()?)?.neg()?;
    if let Some(bias) = bias {
        offset = (offset + wide(bias)?)?;
    }
    offset = (offset * &k)?;
    if let Some(beta) = bn.beta() {
        offset = (offset + wide(beta)?)?;
    }
    let scaled = operator.scale(&wide(weight)?, &k)?.to_dtype(weight.dtype())?;
    let folded = offset.to_dtype(weight.dtype())?;

    let before = operator.apply(probe, weight, bias)?;
    let view = ChannelView::new(OP, before.dims(), bn.config().data_format)?;
    if view.axis() != 1 {
        let reason = "linear layers and convolutions put their channels on axis 1";
        let error = Error::contradiction("folding", "channels on another axis than 1", reason);
        return Err(error.at(OP));
    }
    let mut plain = bn.clone();
    plain.layer.config.activation = Activation::None;
    let want = plain.forward_eval(&before)?;
    let got = operator.apply(probe, &scaled, Some(&folded))?;
    let errors = (wide(&want)? - wide(&got)?)?.abs()?.flatten_all()?.to_vec1::<f64>()?;
    // Not `max`, which would make 0 of NaN.
    let larger = |a: f64, b: f64| if b > a || b.is_nan() { b } else { a };
    let largest_error = errors.into_iter().fold(0.0, larger);
    Ok(Folded { weight: scaled, bias: folded, largest_error })
}

impl Operator {
    fn convolution(self) -> Convolution {
        match self {
            Operator::Linear => Convolution::default(),
            Operator::Conv1d(c) | Operator::Conv2d(c) => c,
            Operator::ConvTranspose1d(c) | Operator::ConvTranspose2d(c) => c,
        }
    }

    fn is_transposed(self) -> bool {
        matches!(self, Operator::ConvTranspose1d(_) | Operator::ConvTranspose2d(_))
    }

    fn check(self, weight: &Tensor, channels: usize) -> Result<()> {
        let rank = match self {
            Operator::Linear => 2,
            Operator::Conv1d(_) | Operator::ConvTranspose1d(_) => 3,
            Operator::Conv2d(_) | Operator::ConvTranspose2d(_) => 4,
        };
        let Convolution { groups, stride, dilation, .. } = self.convolution();
        for (name, value) in [("groups", groups), ("stride", stride), ("dilation", dilation)] {
            require(value > 0, name, "1 or more", value)?;
        }
        let fits = weight.rank() == rank && weight.elem_count() > 0 && {
            let (first, second) = (weight.dims()[0], weight.dims()[1]);
            let out = if self.is_transposed() { second * groups } else { first };
            out == channels && first.is_multiple_of(groups)
        };
        if fits {
            return Ok(());
        }
        let expected = format!("rank {rank} with {channels} output channels in {groups} groups");
        Err(Error::shape("fold", "weight", expected, weight.dims()))
    }

    /// candle's convolutions panic where the kernel is larger than what it is applied to.
    fn check_probe(self, weight: &Tensor, probe: &Tensor) -> Result<()> {
        let Convolution { padding, output_padding, stride, dilation, groups } = self.convolution();
        let kernel = weight.dims().iter().skip(2);
        let (inputs, least): (usize, Vec<usize>) = if self.is_transposed() {
            // (l − 1)·stride + dilation·(k − 1) + output_padding + 1 − 2·padding ≥ 1
            let lacks =
                |k: &usize| (2 * padding).saturating_sub(dilation * (k - 1) + output_padding);
            let least = |k| 1 + lacks(k).div_ceil(stride);
            (weight.dims()[0], kernel.map(least).collect())
        } else {
            // l + 2·padding ≥ dilation·(k − 1) + 1
            let least = |k: &usize| (dilation * (k - 1) + 1).saturating_sub(2 * padding).max(1);
            (weight.dims()[1] * groups, kernel.map(least).collect())
        };
        let fits = probe.rank() == weight.rank()
            && probe.dims()[0] > 0
            && probe.dims()[1] == inputs
            && probe.dims()[2..].iter().zip(&least).all(|(l, least)| l >= least);
        if fits {
            return Ok(());
        }
        let expected = format!("[N, {inputs}] and then at least {least:?}");
        Err(Error::shape("fold", "probe", expected, probe.dims()))
    }

    /// Multiplies each output channel's weights by its `k`.
    fn scale(self, weight: &Tensor, k: &Tensor) -> candle::Result<Tensor> {
        if !self.is_transposed() {
            let mut dims = vec![1; weight.rank()];
            dims[0] = k.elem_count();
            return weight.broadcast_mul(&k.reshape(dims)?);
        }
        // [in, out / g, ..] as [g, in / g, out / g, rest]: output channel (g, j) is g · out / g + j.
        let groups = self.convolution().groups;
        let (inputs, outputs) = (weight.dims()[0], weight.dims()[1]);
        let grouped = weight.reshape((groups, inputs / groups, outputs, ()))?;
        grouped.broadcast_mul(&k.reshape((groups, 1, outputs, 1))?)?.reshape(weight.dims())
    }

    fn apply(self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> candle::Result<Tensor> {
        let Convolution { padding, output_padding, stride, dilation, groups } = self.convolution();
        let y = match self {
            Operator::Linear => x.matmul(&weight.t()?)?,
            Operator::Conv1d(_) => x.conv1d(weight, padding, stride, dilation, groups)?,
            Operator::Conv2d(_) => x.conv2d(weight, padding, stride, dilation, groups)?,
            Operator::ConvTranspose1d(_) => by_group(x, weight, groups, |x, weight| {
                x.conv_transpose1d(weight, padding, output_padding, stride, dilation, 1)
            })?,
            Operator::ConvTranspose2d(_) => by_group(x, weight, groups, |x, weight| {
                x.conv_transpose2d(weight, padding, output_padding, stride, dilation)
            })?,
        };
        let Some(bias) = bias else { return Ok(y) };
        let mut dims = vec![1; y.rank()];
        dims[1] = bias.elem_count();
        y.broadcast_add(&bias.reshape(dims)?)
    }
}

/// Applies each group's weights to its channels; candle's transposed convolutions know one group only.
fn by_group(
    x: &Tensor,
    weight: &Tensor,
    groups: usize,
    apply: impl Fn(&Tensor, &Tensor) -> candle::Result<Tensor>,
) -> candle::Result<Tensor> {
    let (xs, weights) = (x.chunk(groups, 1)?, weight.chunk(groups, 0)?);
    let parts = xs.iter().zip(&weights).map(|(x, w)| apply(&x.contiguous()?, &w.contiguous()?));
    Tensor::cat(&parts.collect::<candle::Result<Vec<_>>>()?, 1)
}
