//! One normalization group: the policies it meets, what each channel is normalized with, and y.

use std::mem::MaybeUninit;

use super::Span;
use super::weights::HostWeights;
use crate::config::{Degenerate, Policy};
use crate::error::{Error, Result};
use crate::host::vector;
use crate::kernel::{Affine, Back, Element, Input, Moment, Real, forward, normalize};
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
    /// Moving (or given) mean and variance.
    pub(super) fixed: [Vec<f64>; 2],
    /// Normalize by the batch, not by `fixed`.
    pub(super) by_batch: bool,
    pub(super) renorm: Option<Reference>,
}

/// A group's result, but for y.
pub(super) struct Group {
    pub(super) backs: Vec<Back>,
    /// Σw, Σw² and the moments; none where the group was not normalized by its own.
    pub(super) moments: Option<(f64, f64, Vec<Moment>)>,
    pub(super) correction: Option<Vec<ChannelCorrection>>,
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
            let backs: Vec<Back> = (0..view.channels).map(|c| self.fixed(c)).collect();
            let affines: Vec<Affine> = backs.iter().map(|back| back.affine).collect();
            normalize(input, &affines, y);
            return Ok(Some(Group {
                backs,
                moments: None,
                correction: None,
            }));
        }
        let (moments, backs): (Vec<Moment>, Vec<Back>) =
            forward(input, |c, moment| self.back(c, moment), y)
                .into_iter()
                .unzip();
        if policy.is_none()
            && self.policies.constant_channel == Policy::Error
            && let Some(channel) = moments.iter().position(|moment| moment.variance == 0.0)
        {
            return Err(Error::ConstantChannel { op: OP, channel });
        }
        let huge = |moment: &Moment| {
            moment.variance > T::Real::LARGE || moment.mean.abs() > T::Real::LARGE
        };
        if moments
            .iter()
            .any(|moment| moment.variance.is_finite() && huge(moment))
        {
            return Ok(None);
        }
        Ok(Some(Group {
            backs,
            correction: self.renorm.as_ref().map(|renorm| {
                let each = moments.iter().enumerate();
                each.map(|(c, moment)| renorm.of(c, moment.mean, moment.variance))
                    .collect()
            }),
            moments: Some((input.total, squares, moments)),
        }))
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
                Policy::Error => Err(Error::OneValue {
                    op: OP,
                    shape: shape(),
                }),
                policy => Ok(Some(policy)),
            };
        }
        Ok(None)
    }

    /// A channel by the batch's moments, or by the moving ones where a policy puts them.
    fn back(&self, c: usize, moment: Moment) -> Back {
        let constant = self.policies.constant_channel == Policy::UseMoving;
        // Not `variance <= 0`: NaN takes the moving statistics too, as in the composed path.
        let through = !constant || moment.variance > 0.0;
        let usable = match through {
            true => moment,
            false => Moment {
                mean: self.fixed[0][c],
                variance: self.fixed[1][c],
            },
        };
        let (r, d) = match &self.renorm {
            Some(renorm) => {
                let correction = renorm.of(c, moment.mean, moment.variance);
                (correction.r, correction.d)
            }
            None => (1.0, 0.0),
        };
        self.with(c, usable, r, d, through)
    }

    /// A channel by the moving (or given) statistics.
    fn fixed(&self, c: usize) -> Back {
        let moment = Moment {
            mean: self.fixed[0][c],
            variance: self.fixed[1][c],
        };
        self.with(c, moment, 1.0, 0.0, false)
    }

    fn with(
        &self,
        c: usize,
        Moment { mean, variance }: Moment,
        r: f64,
        d: f64,
        through: bool,
    ) -> Back {
        let inv_std = (variance + self.epsilon).sqrt().recip();
        let gamma = self.gamma.as_ref().map_or(1.0, |gamma| gamma[c]);
        let beta = self.beta.as_ref().map_or(0.0, |beta| beta[c]);
        Back {
            affine: Affine {
                mean,
                scale: gamma * inv_std * r,
                offset: gamma * d + beta,
            },
            inv_std,
            r,
            d,
            through,
        }
    }
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
