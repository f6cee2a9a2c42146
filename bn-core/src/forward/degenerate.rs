//! Batches without enough values: which policy they meet, and what is normalized with instead.

use candle::Tensor;

use super::{Input, OP, first};
use crate::batch_norm::BatchNorm;
use crate::config::Policy;
use crate::error::{Error, Result};
use crate::moments::Moments;

impl BatchNorm {
    /// The policy that a batch without enough values meets; errors where that says so.
    pub(super) fn degenerate(&self, moments: &Moments, input: &Input) -> Result<Option<Policy>> {
        let policies = self.config.degenerate;
        let shape = || input.view.dims().to_vec();
        let known = self.device.is_cpu() || (input.weights.is_none() && self.ranks.is_none());
        if !known {
            return Ok(None);
        }
        if self.ranks.is_some()
            && self.synchronized().is_none()
            && input.view.values_per_channel() == 0
        {
            return Ok(None); // the other ranks have examples
        }
        let (weight, squared) = match input.weights.is_none() && self.ranks.is_none() {
            true => {
                (input.view.values_per_channel() as f64, input.view.values_per_channel() as f64)
            }
            false => (first(moments.weight())?, first(moments.squared_weight())?),
        };
        if weight == 0.0 {
            let (policy, error) =
                match input.weights.is_some() && input.view.values_per_channel() > 0 {
                    true => (policies.zero_weight, Error::ZeroWeight { op: OP }),
                    false => (policies.empty, Error::Empty { op: OP, shape: shape() }),
                };
            return if policy == Policy::Error { Err(error) } else { Ok(Some(Policy::UseMoving)) };
        }
        if weight * weight <= squared * (1.0 + 1e-12) {
            return match policies.one_value {
                Policy::Error => Err(Error::OneValue { op: OP, shape: shape() }),
                policy => Ok(Some(policy)),
            };
        }
        if policies.constant_channel == Policy::Error {
            let variances = moments.variance().detach().to_vec1::<f64>()?;
            if let Some(channel) = variances.iter().position(|v| *v == 0.0) {
                return Err(Error::ConstantChannel { op: OP, channel });
            }
        }
        Ok(None)
    }

    /// The batch's mean and variance, with the moving ones where a policy puts them.
    pub(super) fn usable(&self, moments: &Moments, input: &Input) -> Result<(Tensor, Tensor)> {
        let (mean, variance) = (moments.mean().clone(), moments.variance().clone());
        let constant = self.config.degenerate.constant_channel == Policy::UseMoving;
        // Elsewhere than on the CPU a zero total weight is not read, but selected away.
        let unread = !self.device.is_cpu() && input.weights.is_some();
        let usable = match (constant, unread) {
            (true, _) => variance.gt(0.0)?,
            (false, true) => moments.weight().gt(0.0)?,
            (false, false) => return Ok((mean, variance)),
        };
        let (moving_mean, moving_variance) = self.moving()?;
        Ok((
            usable.where_cond(&mean, &moving_mean)?,
            usable.where_cond(&variance, &moving_variance)?,
        ))
    }
}
