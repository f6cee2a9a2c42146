//! The backward pass: sums over the batch, over ranks where statistics are shared, and the gradients.

use std::sync::Arc;

use candle::Tensor;

use crate::channel::{Channel, GradientTerms, Totals};
use crate::collective::Collective;
use crate::engine::{ByGroup, Engine, Gradients};
use crate::error::Result;
use crate::tensors::Value;

/// What the backward pass keeps of a forward pass: x, the residual and the weights by reference, and values
/// per channel.
pub(super) struct Backward {
    /// `None` for an input without elements.
    pub(super) engine: Option<Box<dyn Engine>>,
    pub(super) channels: Arc<ByGroup<Channel>>,
    pub(super) channel_count: usize,
    pub(super) shared: Option<Shared>,
}

/// The ranks whose common statistics a pass normalized by, and their total weight.
pub(super) type Shared = (Arc<dyn Collective>, f64);

/// The gradients of one forward pass.
pub(super) struct Found {
    pub(super) gamma: Vec<f64>,
    pub(super) beta: Vec<f64>,
    /// `None` where it was not asked for.
    pub(super) dx: Option<Value>,
    /// Of the residual; `None` if it equals dy.
    pub(super) dv: Option<Value>,
}

impl Backward {
    /// The gradients for `dy`. Where statistics are shared, every rank of the group calls this.
    pub(super) fn gradients(
        &self,
        y: Option<&Tensor>,
        dy: &Tensor,
        of_input: bool,
    ) -> Result<Found> {
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
        Found { gamma, beta, dx, dv }
    }
}
