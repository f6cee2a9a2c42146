//! The layer's arithmetic in plain tensor ops: the composed path, on any device candle has.
//!
//! Everything is computed in f64 and turned into x's type at the end: this path is the reference that
//! the fused one is compared with, and serves what that does not cover. Order: groups, their moments (over
//! ranks), renorm's (r, d), x̂, gamma and beta, residual, activation.

mod degenerate;
mod finish;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use candle::{DType, Tensor};

use crate::batch_norm::BatchNorm;
use crate::call::{Call, Statistics};
use crate::collective::{Collective, merge_over_ranks};
use crate::config::Policy;
use crate::error::{Error, Result};
use crate::layout::{ChannelView, require_device, require_float};
use crate::moments::{Moments, channel_moments};
use crate::renorm::{Correction, LastCorrection};
use crate::weights;

const OP: &str = "BatchNorm";

/// What a forward pass comes to; nothing of the layer has changed yet.
pub(crate) struct Forward {
    pub(crate) y: Tensor,
    /// Moments to move the averages by; none where a policy says so, or nobody asked.
    pub(crate) update: Option<Moments>,
    pub(crate) correction: Option<LastCorrection>,
}

/// A checked input: flattened around the channel axis, in f64.
struct Input {
    flat: Tensor,
    view: ChannelView,
    weights: Option<Tensor>,
}

/// One normalization group's share of the result.
struct Group {
    x_hat: Tensor,
    moments: Option<Moments>,
    correction: Option<Correction>,
}

impl BatchNorm {
    pub(crate) fn compose(&self, x: &Tensor, call: &Call<'_>) -> Result<Forward> {
        let input = self.check(x, call)?;
        let by_batch = matches!(call.statistics, Statistics::Batch);
        let groups = match by_batch || call.update {
            true => self.groups(&input, call)?,
            false => Vec::new(),
        };
        let x_hat = match call.statistics {
            Statistics::Batch => join(groups.iter().map(|group| &group.x_hat))?,
            Statistics::Moving => {
                self.note_evaluation()?;
                let (mean, variance) = self.moving()?;
                self.standardize(&input, &mean, &variance)?
            }
            Statistics::Given(given) => {
                for (name, t) in [("mean", given.mean()), ("variance", given.variance())] {
                    self.require_per_channel(name, t)?;
                }
                let given = given.detach();
                self.standardize(&input, given.mean(), given.variance())?
            }
        };
        let y = match (self.synchronized(), x.elem_count()) {
            (Some(ranks), 0) if by_batch => self.finish_empty(x, call, ranks)?,
            _ => self.finish(x, &input, &x_hat, call)?,
        };
        let moments: Vec<Moments> =
            groups.iter().filter_map(|group| group.moments.clone()).collect();
        let update = match call.update {
            true => self.pooled_over_ranks(Moments::merge_all(&moments)?)?,
            false => None,
        };
        let corrections: Vec<Correction> =
            groups.into_iter().filter_map(|group| group.correction).collect();
        let correction = match corrections.is_empty() {
            true => None,
            false => Some(LastCorrection::Tensors(Correction::stack(&corrections)?)),
        };
        Ok(Forward { y, update, correction })
    }

    fn check(&self, x: &Tensor, call: &Call<'_>) -> Result<Input> {
        require_float(OP, "x", x)?;
        require_device(OP, "x", x, &self.device)?;
        let view = ChannelView::new(OP, x.dims(), self.config.data_format)?;
        if view.channels != self.channels {
            return Err(Error::Channels {
                op: OP,
                expected: self.channels,
                axis: view.axis(),
                shape: x.dims().to_vec(),
            });
        }
        let weights = match call.weights {
            Some(w) => {
                weights::require_same_device(OP, w, x)?;
                Some(weights::flat_weights(OP, w, &view)?)
            }
            None => None,
        };
        if let Some(residual) = call.residual
            && residual.dims() != x.dims()
        {
            return Err(Error::shape(OP, "residual", format!("{:?}", x.dims()), residual.dims()));
        }
        let flat = view.flatten(&x.to_dtype(DType::F64)?)?;
        Ok(Input { flat, view, weights })
    }

    /// Batch statistics, group by group.
    fn groups(&self, input: &Input, call: &Call<'_>) -> Result<Vec<Group>> {
        let examples = input.view.dims()[0];
        let size = match self.config.normalization_batch {
            Some(size) if size < examples => size,
            _ => return Ok(vec![self.group(input, call)?]),
        };
        let starts = (0..examples).step_by(size);
        let group =
            |start: usize| self.group(&input.rows(start, size.min(examples - start))?, call);
        starts.map(group).collect()
    }

    /// One group: its moments, what renorm makes of them, and x̂.
    fn group(&self, input: &Input, call: &Call<'_>) -> Result<Group> {
        let local = channel_moments(&input.flat, &input.view, input.weights.as_ref())?;
        let moments = match self.synchronized() {
            Some(ranks) => merge_over_ranks(&local, ranks)?,
            None => local,
        };
        let by_moving = || {
            let (mean, variance) = self.moving()?;
            let x_hat = self.standardize(input, &mean, &variance)?;
            Ok(Group { x_hat, moments: None, correction: None })
        };
        if let Some(policy) = self.degenerate(&moments, input)?
            && policy == Policy::UseMoving
        {
            return by_moving();
        }
        let (mean, variance) = self.usable(&moments, input)?;
        let mut x_hat = self.standardize(input, &mean, &variance)?;
        let mut correction = None;
        if let Some(renorm) = &self.state.renorm
            && call.renorm
        {
            let clipping = self.config.renorm.as_ref().map(|renorm| &renorm.clipping);
            let bounds = clipping.map(|clipping| clipping.at(self.step())).unwrap_or_default();
            let rd = renorm.correction(&moments.detach(), bounds)?;
            let view = &input.view;
            let scaled = x_hat.broadcast_mul(&view.per_channel(&rd.r)?)?;
            x_hat = scaled.broadcast_add(&view.per_channel(&rd.d)?)?;
            correction = Some(rd);
        }
        let moments = Some(moments.detach());
        Ok(Group { x_hat, moments, correction })
    }

    /// `(x − mean) / √(variance + ε)` of a flattened input; centred first, because folding the mean into
    /// an offset cancels where it is much larger than the stddev.
    fn standardize(&self, input: &Input, mean: &Tensor, variance: &Tensor) -> Result<Tensor> {
        let view = &input.view;
        let inv_std = (variance + self.config.epsilon)?.sqrt()?.recip()?;
        let centred = input.flat.broadcast_sub(&view.per_channel(mean)?)?;
        Ok(centred.broadcast_mul(&view.per_channel(&inv_std)?)?)
    }

    /// The moments that the update takes: of all ranks, where groups did not already see all ranks.
    fn pooled_over_ranks(&self, pooled: Option<Moments>) -> Result<Option<Moments>> {
        let ranks = self.ranks.as_ref().filter(|_| self.synchronized().is_none());
        let Some(ranks) = ranks else {
            return Ok(pooled);
        };
        // A rank that has nothing to say takes part all the same: the others wait for it.
        let local = match pooled {
            Some(pooled) => pooled,
            None => Moments::nothing(self.channels, &self.device)?,
        };
        let merged = merge_over_ranks(&local, ranks)?.detach();
        Ok((first(merged.weight())? > 0.0).then_some(merged))
    }

    /// The ranks that batch statistics are taken over. Ghost batches stay within their rank.
    fn synchronized(&self) -> Option<&Arc<dyn Collective>> {
        self.ranks.as_ref().filter(|_| self.config.normalization_batch.is_none())
    }

    /// Moving mean and variance in f64.
    pub(crate) fn moving(&self) -> Result<(Tensor, Tensor)> {
        let mean = self.moving_mean().to_dtype(DType::F64)?;
        let variance = self.moving_variance().to_dtype(DType::F64)?;
        Ok((mean, variance))
    }

    pub(crate) fn note_evaluation(&self) -> Result<()> {
        let noted = &self.state.evaluated_before_update;
        if !noted.load(Relaxed) && self.state.is_fresh()? {
            noted.store(true, Relaxed);
        }
        Ok(())
    }

    fn require_per_channel(&self, name: &str, t: &Tensor) -> Result<()> {
        require_device(OP, name, t, &self.device)?;
        if t.dims() == [self.channels] {
            return Ok(());
        }
        Err(Error::shape(OP, name, format!("[C = {}]", self.channels), t.dims()))
    }
}

impl Input {
    /// Examples `start .. start + len`.
    fn rows(&self, start: usize, len: usize) -> Result<Self> {
        let view = self.view.rows(len);
        // Rows of axis 0 are contiguous runs of the flattened outer axis.
        let per_example = self.view.outer / self.view.dims()[0];
        let narrow = |t: &Tensor| t.narrow(0, start * per_example, len * per_example);
        Ok(Self {
            flat: narrow(&self.flat)?,
            weights: self.weights.as_ref().map(narrow).transpose()?,
            view,
        })
    }
}

/// The groups' results, one after the other.
fn join<'a>(parts: impl Iterator<Item = &'a Tensor>) -> Result<Tensor> {
    let parts: Vec<&Tensor> = parts.collect();
    match parts.as_slice() {
        [one] => Ok((*one).clone()),
        several => Ok(Tensor::cat(several, 0)?),
    }
}

fn first(t: &Tensor) -> candle::Result<f64> {
    t.detach().get(0)?.to_scalar::<f64>()
}
