//! The backward pass: sums over the batch, over ranks where statistics are shared, and the gradients.

use std::sync::Arc;

use candle::{DType, Device, Tensor};

use crate::channel::{Channel, GradientTerms, Totals};
use crate::collective::Collective;
use crate::engine::{ByGroup, Engine, Fields, Gradients, Resident};
use crate::error::Result;
use crate::tensors::{Value, vector};

/// What the backward pass keeps of a forward pass: x, the residual and the weights by reference, and values
/// per channel.
pub(super) enum Backward {
    Host(OnHost),
    /// With the types of gamma's and beta's gradients.
    Device(Box<dyn Resident>, Fields, [DType; 2]),
}

pub(super) struct OnHost {
    /// `None` for an input without elements.
    pub(super) engine: Option<Box<dyn Engine>>,
    pub(super) channels: Arc<ByGroup<Channel>>,
    pub(super) channel_count: usize,
    pub(super) shared: Option<Shared>,
}

/// The ranks whose common statistics a pass normalized by, and their total weight.
pub(super) type Shared = (Arc<dyn Collective>, f64);

/// A number of each channel, on the host or on a device.
pub(super) enum Column {
    Host(Vec<f64>),
    Device(Tensor),
}

impl Column {
    /// A `[C]` tensor of this type.
    pub(super) fn tensor(&self, dtype: DType, device: &Device) -> candle::Result<Tensor> {
        match self {
            Self::Host(values) => vector(values, dtype, device),
            Self::Device(tensor) => tensor.to_dtype(dtype),
        }
    }

    /// Both as one of `[2 · C]`.
    pub(super) fn joined(
        &self,
        other: &Self,
        dtype: DType,
        device: &Device,
    ) -> candle::Result<Tensor> {
        if let (Self::Host(a), Self::Host(b)) = (self, other) {
            return vector(&[&a[..], &b[..]].concat(), dtype, device);
        }
        Tensor::cat(&[self.tensor(dtype, device)?, other.tensor(dtype, device)?], 0)
    }
}

/// The gradients of one forward pass.
pub(super) struct Found {
    pub(super) gamma: Column,
    pub(super) beta: Column,
    /// `None` where it was not asked for.
    pub(super) dx: Option<Value>,
    /// Of the residual; `None` if it equals dy.
    pub(super) dv: Option<Value>,
}

impl Backward {
    /// Whether the gradients are cheaper with y than without.
    pub(super) fn reads_value(&self) -> bool {
        match self {
            Self::Host(on_host) => {
                on_host.engine.as_ref().is_some_and(|engine| engine.reads_value())
            }
            Self::Device(..) => false,
        }
    }

    /// The gradients for `dy`. Where statistics are shared, every rank of the group calls this.
    pub(super) fn gradients(
        &self,
        y: Option<&Tensor>,
        dy: &Tensor,
        of_input: bool,
    ) -> Result<Found> {
        match self {
            Self::Host(on_host) => on_host.gradients(y, dy, of_input),
            Self::Device(engine, fields, types) => {
                let dy = &dy.detach().contiguous()?;
                let found = engine.gradients(fields, dy, *types, of_input)?;
                let (gamma, beta) = (Column::Device(found.gamma), Column::Device(found.beta));
                Ok(Found { gamma, beta, dx: found.dx, dv: found.dv })
            }
        }
    }
}

impl OnHost {
    fn gradients(&self, y: Option<&Tensor>, dy: &Tensor, of_input: bool) -> Result<Found> {
        let Some(engine) = &self.engine else {
            // Nothing to compute, but sums that the other ranks wait for.
            self.shared_terms(&Vec::new())?;
            return Ok(self.found(&Vec::new(), Some(Value::of(&dy.zeros_like()?)?), None));
        };
        let dy = &dy.detach().contiguous()?;
        if of_input && self.shared.is_none() {
            let Gradients { totals, dx, dv } = engine.gradients(&self.channels, y, dy)?;
            return Ok(self.found(&totals, Some(dx), dv));
        }
        let totals = engine.gradient_sums(&self.channels, y, dy)?;
        // A rank that does not need dx still has its share in that of the others.
        let terms = self.shared_terms(&totals)?;
        if !of_input {
            return Ok(self.found(&totals, None, None));
        }
        let (dx, dv) = engine.input_gradient(&self.channels, &terms, y, dy)?;
        Ok(self.found(&totals, Some(dx), dv))
    }

    /// Sums over ranks the gradients through mean and variance. None without shared statistics.
    fn shared_terms(&self, totals: &ByGroup<Totals>) -> Result<ByGroup<GradientTerms>> {
        let Some((ranks, weight)) = &self.shared else {
            return Ok(Vec::new());
        };
        let each = self.channels.iter().flatten().zip(totals.iter().flatten());
        let mut through: Vec<f64> =
            each.flat_map(|(channel, totals)| channel.through_statistics(totals)).collect();
        through.resize(2 * self.channel_count, 0.0); // a rank without values
        ranks.all_reduce_sum_f64(&mut through)?;
        let each = self.channels.iter().flatten().zip(through.chunks_exact(2));
        Ok(vec![each.map(|(channel, sums)| channel.terms([sums[0], sums[1]], *weight)).collect()])
    }

    fn found(&self, totals: &ByGroup<Totals>, dx: Option<Value>, dv: Option<Value>) -> Found {
        let mut gamma = vec![0.0; self.channel_count];
        let mut beta = vec![0.0; self.channel_count];
        for (channels, totals) in self.channels.iter().zip(totals) {
            let each = channels.iter().zip(totals).zip(gamma.iter_mut().zip(&mut beta));
            for ((channel, totals), (of_gamma, of_beta)) in each {
                let [dgamma, dbeta] = channel.parameter_gradients(totals);
                *of_gamma += dgamma;
                *of_beta += dbeta;
            }
        }
        Found { gamma: Column::Host(gamma), beta: Column::Host(beta), dx, dv }
    }
}
