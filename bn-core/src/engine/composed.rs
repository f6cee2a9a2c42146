//! The passes in plain tensor ops, in f64, on any device that candle has.
//!
//! Sums are taken on the device. Their `[C]` results are copied to the host, and those of the formulas back.

use std::ops::Range;

use candle::{DType, Tensor};

use super::{ByGroup, Engine, Operands};
use crate::activation::Activation;
use crate::channel::{Channel, GradientTerms, Moment, Totals, Weight};
use crate::error::Result;
use crate::layout::ChannelView;
use crate::moments::{channel_moments, total_weight};
use crate::tensors::{Value, values, vector};
use crate::weights::flat_weights;

/// One normalization group: flattened around the channel axis, in f64.
struct Group {
    view: ChannelView,
    x: Tensor,
    weights: Option<Tensor>,
    residual: Option<Tensor>,
}

pub(super) struct Composed {
    groups: Vec<Group>,
    weights: Vec<Weight>,
    activation: Activation,
    dtype: DType,
    dims: Vec<usize>,
}

impl Composed {
    pub(super) fn new(operands: &Operands) -> Result<Self> {
        let Operands { view, .. } = operands;
        let wide = |t: &Tensor| view.flatten(&t.to_dtype(DType::F64)?);
        let weights = operands.weights.as_ref().map(|w| flat_weights("batch norm", w, view));
        let all = Group {
            x: wide(&operands.x)?,
            weights: weights.transpose()?,
            residual: operands.residual.as_ref().map(wide).transpose()?,
            view: view.clone(),
        };
        let groups = view.groups(operands.group).into_iter();
        let groups = groups.map(|examples| all.rows(examples)).collect::<Result<Vec<_>>>()?;
        let weights = groups.iter().map(|group| total_weight(&group.view, group.weights.as_ref()));
        Ok(Self {
            weights: weights.collect::<Result<_>>()?,
            groups,
            activation: operands.activation,
            dtype: operands.x.dtype(),
            dims: operands.x.dims().to_vec(),
        })
    }

    /// The groups' flattened tensors as one of x's shape and type.
    fn join(&self, parts: &[Tensor]) -> Result<Value> {
        let flat = if let [one] = parts { one.clone() } else { Tensor::cat(parts, 0)? };
        Ok(Value::of(&flat.to_dtype(self.dtype)?.reshape(self.dims.as_slice())?)?)
    }

    /// Each group with its channels and its dv, the gradient before the activation.
    fn backward<'a>(
        &'a self,
        channels: &'a ByGroup<Channel>,
        dy: &Tensor,
    ) -> Result<Vec<(&'a Group, &'a [Channel], Tensor)>> {
        let dy = dy.detach().to_dtype(DType::F64)?;
        let (mut start, mut parts) = (0, Vec::with_capacity(self.groups.len()));
        for (group, channels) in self.groups.iter().zip(channels) {
            let examples = group.view.dims()[0];
            let mut dv = group.view.flatten(&dy.narrow(0, start, examples)?)?;
            start += examples;
            if self.activation != Activation::None {
                dv = self.activation.gradient(&group.normalized(channels)?, &dv)?;
            }
            parts.push((group, channels.as_slice(), dv));
        }
        Ok(parts)
    }
}

impl Group {
    /// Examples of axis 0: contiguous runs of the flattened outer axis.
    fn rows(&self, examples: Range<usize>) -> Result<Self> {
        let all = self.view.dims()[0];
        let per_example = self.view.outer / all.max(1);
        let narrow = |t: &Tensor| {
            if examples.len() == all {
                return Ok(t.clone());
            }
            t.narrow(0, examples.start * per_example, examples.len() * per_example)
        };
        Ok(Self {
            x: narrow(&self.x)?,
            weights: self.weights.as_ref().map(narrow).transpose()?,
            residual: self.residual.as_ref().map(narrow).transpose()?,
            view: self.view.rows(examples.len()),
        })
    }

    /// A value of each channel in the shape that broadcasts to x.
    fn column<T>(&self, of: &[T], value: impl Fn(&T) -> f64) -> candle::Result<Tensor> {
        let column: Vec<f64> = of.iter().map(value).collect();
        self.view.per_channel(&vector(&column, DType::F64, self.x.device())?)
    }

    /// The sum over each channel.
    fn sum(&self, flat: &Tensor) -> candle::Result<Vec<f64>> {
        values(&flat.sum(self.view.flat_axes())?)
    }

    /// Centred first: a mean that is folded into an offset cancels where it is much larger than the stddev.
    fn centred(&self, channels: &[Channel]) -> candle::Result<Tensor> {
        self.x.broadcast_sub(&self.column(channels, |c| c.affine.mean)?)
    }

    /// The argument of the activation.
    fn normalized(&self, channels: &[Channel]) -> candle::Result<Tensor> {
        let scale = self.column(channels, |c| c.affine.scale)?;
        let offset = self.column(channels, |c| c.affine.offset)?;
        let v = self.centred(channels)?.broadcast_mul(&scale)?.broadcast_add(&offset)?;
        if let Some(residual) = &self.residual { v + residual } else { Ok(v) }
    }
}

impl Engine for Composed {
    fn weights(&self) -> &[Weight] {
        &self.weights
    }

    fn limit(&self) -> f64 {
        f64::INFINITY
    }

    fn reads_value(&self) -> bool {
        false
    }

    fn moments(&self) -> Result<ByGroup<Moment>> {
        let moments = |g: &Group| channel_moments(&g.x, &g.view, g.weights.as_ref());
        self.groups.iter().map(moments).collect()
    }

    fn normalize(&self, channels: &ByGroup<Channel>) -> Result<Value> {
        let groups = self.groups.iter().zip(channels);
        let parts =
            groups.map(|(group, channels)| self.activation.apply(&group.normalized(channels)?));
        self.join(&parts.collect::<candle::Result<Vec<_>>>()?)
    }

    fn gradient_sums(
        &self,
        channels: &ByGroup<Channel>,
        _: Option<&Tensor>,
        dy: &Tensor,
    ) -> Result<ByGroup<Totals>> {
        let mut totals = Vec::with_capacity(self.groups.len());
        for (group, channels, dv) in self.backward(channels, dy)? {
            let (sums, centred) = (group.sum(&dv)?, group.sum(&(dv * group.centred(channels)?)?)?);
            let each = channels.iter().zip(sums.iter().zip(centred));
            let each =
                each.map(|(channel, (dv, m))| Totals { dv: *dv, dv_x_hat: channel.inv_std * m });
            totals.push(each.collect());
        }
        Ok(totals)
    }

    fn input_gradient(
        &self,
        channels: &ByGroup<Channel>,
        terms: &ByGroup<GradientTerms>,
        _: Option<&Tensor>,
        dy: &Tensor,
    ) -> Result<(Value, Option<Value>)> {
        let (mut dxs, mut dvs) = (Vec::new(), Vec::new());
        for ((group, channels, dv), terms) in self.backward(channels, dy)?.into_iter().zip(terms) {
            let (p, q) = (group.column(terms, |t| t.p)?, group.column(terms, |t| t.q)?);
            let mut through = group.centred(channels)?.broadcast_mul(&q)?.broadcast_add(&p)?;
            if let Some(w) = &group.weights {
                through = through.broadcast_mul(w)?;
            }
            let scale = group.column(channels, |c| c.affine.scale)?;
            dxs.push((dv.broadcast_mul(&scale)? - through)?);
            dvs.push(dv);
        }
        let with_dv = self.activation != Activation::None
            && self.groups.iter().any(|group| group.residual.is_some());
        Ok((self.join(&dxs)?, with_dv.then(|| self.join(&dvs)).transpose()?))
    }
}
