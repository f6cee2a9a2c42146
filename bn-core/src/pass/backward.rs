//! The backward pass: sums over the batch, over ranks where the statistics are theirs together, and the
//! gradients.

use std::sync::Arc;

use candle::Tensor;

use crate::channel::{Channel, Totals};
use crate::collective::Collective;
use crate::engine::{ByGroup, Engine, Gradients};
use crate::error::Result;
use crate::tensors::{self, Value, vector};

/// What the backward pass keeps of a forward pass: x (the residual, the weights) by reference, and values per
/// channel.
pub(super) struct Backward {
    /// None for an input without elements.
    pub(super) engine: Option<Box<dyn Engine>>,
    pub(super) channels: Arc<ByGroup<Channel>>,
    pub(super) channel_count: usize,
    pub(super) shared: Option<Shared>,
}

/// The ranks whose statistics a pass normalized by, and their total weight.
pub(super) type Shared = (Arc<dyn Collective>, f64);

/// The gradients of one forward pass.
pub(super) struct Found {
    pub(super) gamma: Vec<f64>,
    pub(super) beta: Vec<f64>,
    /// None where it was declined.
    pub(super) dx: Option<Value>,
    /// Of the residual; `None` if it equals dy.
    pub(super) dv: Option<Value>,
}

impl Backward {
    /// Whether the gradient reads y.
    pub(super) fn reads_value(&self) -> bool {
        self.engine.as_ref().is_some_and(|engine| engine.reads_value())
    }

    /// The gradients for `dy`. Where statistics are shared, every rank of the group calls this.
    pub(super) fn gradients(
        &self,
        y: Option<&Tensor>,
        dy: &Tensor,
        of_input: bool,
    ) -> Result<Found> {
        let dy = dy.detach().contiguous()?;
        let Some(engine) = &self.engine else {
            return self.of_nothing(&dy);
        };
        if let Some((ranks, weight)) = &self.shared {
            let totals = engine.gradient_sums(&self.channels, y, &dy)?;
            let mut through = through_statistics(&self.channels[0], &totals[0]);
            ranks.all_reduce_sum_f64(&mut through)?;
            let (dvs, dv_x_hats) = through.split_at(self.channel_count);
            let each = self.channels[0].iter().zip(dvs.iter().zip(dv_x_hats));
            let terms = each.map(|(channel, (dv, x_hat))| channel.terms([*dv, *x_hat], *weight));
            let terms = vec![terms.collect()];
            if !of_input {
                return Ok(self.found(&totals, None, None));
            }
            let (dx, dv) = engine.input_gradient(&self.channels, &terms, y, &dy)?;
            return Ok(self.found(&totals, Some(dx), dv));
        }
        if !of_input {
            let totals = engine.gradient_sums(&self.channels, y, &dy)?;
            return Ok(self.found(&totals, None, None));
        }
        let Gradients { totals, dx, dv } = engine.gradients(&self.channels, y, &dy)?;
        Ok(self.found(&totals, Some(dx), dv))
    }

    /// A rank without examples: nothing to compute, but sums that the other ranks wait for.
    fn of_nothing(&self, dy: &Tensor) -> Result<Found> {
        if let Some((ranks, _)) = &self.shared {
            ranks.all_reduce_sum_f64(&mut vec![0.0; 2 * self.channel_count])?;
        }
        let zeros = vec![0.0; self.channel_count];
        let dx = Some(Value::of(&dy.zeros_like()?)?);
        Ok(Found { gamma: zeros.clone(), beta: zeros, dx, dv: None })
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

/// Contributions to the gradients through mean and variance, one after the other.
fn through_statistics(channels: &[Channel], totals: &[Totals]) -> Vec<f64> {
    let each = channels.iter().zip(totals);
    let (dvs, dv_x_hats): (Vec<f64>, Vec<f64>) =
        each.map(|(channel, totals)| channel.through_statistics(totals).into()).unzip();
    [dvs, dv_x_hats].concat()
}

/// An input of a graph's node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    X,
    Gamma,
    Beta,
    /// gamma and beta, `[2, C]`.
    Packed,
    Residual,
    /// Of a rank where nothing requires a gradient.
    Witness,
}

/// A forward pass in candle's graph.
pub(super) struct Attached {
    pub(super) backward: Backward,
    pub(super) slots: Vec<Slot>,
}

impl tensors::Gradient for Attached {
    fn gradient(
        &self,
        inputs: &[&Tensor],
        y: &Tensor,
        dy: &Tensor,
    ) -> candle::Result<Vec<Option<Tensor>>> {
        let of_input = self.slots.iter().any(|slot| matches!(slot, Slot::X | Slot::Residual));
        let found = self.backward.gradients(Some(y), dy, of_input)?;
        let mut dx = found.dx.map(Value::into_tensor);
        let mut dv = found.dv.map(Value::into_tensor);
        let mut gradient = |(slot, input): (&Slot, &&Tensor)| {
            let column = |of: &[f64]| vector(of, input.dtype(), input.device()).map(Some);
            match slot {
                Slot::X => Ok(dx.take()),
                Slot::Gamma => column(&found.gamma),
                Slot::Beta => column(&found.beta),
                Slot::Packed => {
                    let both = [&found.gamma[..], &found.beta[..]].concat();
                    let both = vector(&both, input.dtype(), input.device())?;
                    both.reshape(input.dims()).map(Some)
                }
                Slot::Residual => Ok(Some(dv.take().unwrap_or_else(|| dy.clone()))),
                Slot::Witness => Ok(None),
            }
        };
        self.slots.iter().zip(inputs).map(&mut gradient).collect()
    }
}
