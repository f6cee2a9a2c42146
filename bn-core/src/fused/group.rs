//! One normalization group: the policies it meets, what each channel is normalized with, and y.

use std::mem::MaybeUninit;

use super::span::Span;
use super::weights::HostWeights;
use crate::config::{Degenerate, Policy};
use crate::error::{Error, Result};
use crate::host::vector;
use crate::kernel::{Affine, Back, Element, Found, Input, Moment, Real, forward, normalize};
use crate::layout::ChannelView;
use crate::moments::Moments;
use crate::renorm::{ChannelCorrection, Reference};

const OP: &str = "BatchNorm";

/// What a call makes of a channel's moments.
pub(super) struct Rules {
    pub(super) epsilon: f64,
    pub(super) policies: Degenerate,
    pub(super) gamma: Option<Vec<f64>>,
    pub(super) beta: Option<Vec<f64>>,
    /// Moving (or given) mean and variance; none where no policy can ask for them.
    pub(super) fixed: Option<[Vec<f64>; 2]>,
    /// Normalize by the batch, not by `fixed`.
    pub(super) by_batch: bool,
    pub(super) renorm: Option<Reference>,
}

/// A group's result, but for y.
pub(super) struct Group {
    pub(super) backs: Vec<Back>,
    /// Σw, Σw² and the moments; none where the group was not normalized by its own.
    pub(super) moments: Option<(f64, f64, Vec<Moment>)>,
    /// r and d by channel; empty where renorm is not applied.
    pub(super) corrections: Vec<ChannelCorrection>,
}

impl Rules {
    /// Fills `y`, unless it returns an error, or none: numbers too large for the kernels' type.
    pub(super) fn group<T: Element>(
        &self,
        span: &Span,
        input: &Input<'_, T>,
        weights: Option<&HostWeights<T::Real>>,
        view: &ChannelView,
        y: &mut [MaybeUninit<T>],
    ) -> Result<Option<Group>> {
        let count = (span.outer.len() * span.inner) as f64;
        let squares = weights.map_or(count, |w| w.total(span).squares);
        let shape = || {
            let mut shape = view.dims().to_vec();
            shape[0] = shape[0] * span.outer.len() / view.outer;
            shape
        };
        let policy = match self.by_batch {
            true => self.policy(input.total, squares, shape)?,
            false => Some(Policy::UseMoving),
        };
        if policy == Some(Policy::UseMoving) {
            let Some(fixed) = &self.fixed else {
                return Ok(None);
            };
            let by_fixed = |c: usize| {
                let moment = channel(fixed, c);
                self.with(c, moment.mean, self.stddev(&moment), 1.0, 0.0, false)
            };
            let backs: Vec<Back> = (0..view.channels).map(by_fixed).collect();
            let affines: Vec<Affine> = backs.iter().map(|back| back.affine).collect();
            normalize(input, &affines, y);
            return Ok(Some(Group { backs, moments: None, corrections: Vec::new() }));
        }
        let Found { moments, backs, more: corrections } =
            forward(input, |first, moments| self.backs(first, moments), y);
        if policy.is_none()
            && self.policies.constant_channel == Policy::Error
            && let Some(channel) = moments.iter().position(|moment| moment.variance == 0.0)
        {
            return Err(Error::ConstantChannel { op: OP, channel });
        }
        let huge = |moment: &Moment| {
            moment.variance > T::Real::LARGE || moment.mean.abs() > T::Real::LARGE
        };
        if moments.iter().any(|moment| moment.variance.is_finite() && huge(moment)) {
            return Ok(None);
        }
        Ok(Some(Group { backs, corrections, moments: Some((input.total, squares, moments)) }))
    }

    /// The policy that a batch without enough values meets; errors where that says so.
    fn policy(
        &self,
        weight: f64,
        squares: f64,
        shape: impl Fn() -> Vec<usize>,
    ) -> Result<Option<Policy>> {
        if weight == 0.0 {
            return match self.policies.zero_weight {
                Policy::Error => Err(Error::ZeroWeight { op: OP }),
                _ => Ok(Some(Policy::UseMoving)),
            };
        }
        if weight * weight <= squares * (1.0 + 1e-12) {
            return match self.policies.one_value {
                Policy::Error => Err(Error::OneValue { op: OP, shape: shape() }),
                policy => Ok(Some(policy)),
            };
        }
        Ok(None)
    }

    /// Channels from `first` on by the batch's moments, or by the moving ones where a policy puts them; and
    /// their corrections.
    fn backs(&self, first: usize, moments: &[Moment]) -> (Vec<Back>, Vec<ChannelCorrection>) {
        let constant = self.policies.constant_channel == Policy::UseMoving;
        let fixed = self.fixed.as_ref().filter(|_| constant);
        let back = |c: usize, moment: &Moment, stddev: f64, r: f64, d: f64| match fixed {
            // NaN takes the moving statistics too, as in the composed path.
            Some(fixed) if moment.variance <= 0.0 || moment.variance.is_nan() => {
                let moment = channel(fixed, c);
                self.with(c, moment.mean, self.stddev(&moment), r, d, false)
            }
            _ => self.with(c, moment.mean, stddev, r, d, true),
        };
        let Some(renorm) = &self.renorm else {
            let each = moments.iter().enumerate();
            let backs = each.map(|(k, moment)| {
                let stddev = self.stddev(moment);
                back(first + k, moment, stddev, 1.0, 0.0)
            });
            return (backs.collect(), Vec::new());
        };
        let stddevs: Vec<f64> = moments.iter().map(|moment| self.stddev(moment)).collect();
        let pairs = moments.iter().map(|moment| moment.mean).zip(&stddevs);
        let corrections = renorm.of(first, pairs);
        let each = moments.iter().zip(&stddevs).zip(&corrections).enumerate();
        let backs = each.map(|(k, ((moment, stddev), correction))| {
            back(first + k, moment, *stddev, correction.r, correction.d)
        });
        (backs.collect(), corrections)
    }

    #[inline(always)]
    fn stddev(&self, moment: &Moment) -> f64 {
        (moment.variance + self.epsilon).sqrt()
    }

    #[inline(always)]
    fn with(&self, c: usize, mean: f64, stddev: f64, r: f64, d: f64, through: bool) -> Back {
        let inv_std = stddev.recip();
        let gamma = self.gamma.as_ref().map_or(1.0, |gamma| gamma[c]);
        let beta = self.beta.as_ref().map_or(0.0, |beta| beta[c]);
        Back {
            affine: Affine { mean, scale: gamma * inv_std * r, offset: gamma * d + beta },
            inv_std,
            r,
            d,
            through,
        }
    }
}

fn channel([mean, variance]: &[Vec<f64>; 2], c: usize) -> Moment {
    Moment { mean: mean[c], variance: variance[c] }
}

/// The moments of all groups that have them, as [`Moments::merge`] has it.
pub(super) fn pooled(groups: &[Group]) -> Option<Moments> {
    let mut parts = groups.iter().filter_map(|group| group.moments.as_ref());
    let (weight, squares, first) = parts.next()?;
    let (mut weight, mut squares, mut pooled) = (*weight, *squares, first.clone());
    for (other_weight, other_squares, others) in parts {
        let total = weight + other_weight;
        let (share, other_share) = (weight / total, other_weight / total);
        for (moment, other) in pooled.iter_mut().zip(others) {
            let delta = other.mean - moment.mean;
            let within = share * moment.variance + other_share * other.variance;
            *moment = Moment {
                mean: moment.mean + delta * other_share,
                variance: within + delta * delta * (share * other_share),
            };
        }
        weight = total;
        squares += other_squares;
    }
    let each = |f: fn(&Moment) -> f64| vector(pooled.iter().map(f).collect());
    let channels = pooled.len();
    Some(Moments::from_parts(
        vector(vec![weight; channels]),
        vector(vec![squares; channels]),
        each(|moment| moment.mean),
        each(|moment| moment.variance),
    ))
}
