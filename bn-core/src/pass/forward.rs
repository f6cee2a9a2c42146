//! A forward pass in candle's graph, or outside of it with what the gradient needs.

use candle::Tensor;

use super::correction::LastCorrection;
use super::graph::attach;
use super::input::{Input, restored};
use super::layer::{Layer, Parameters};
use super::run::Run;
use super::saved::Saved;
use super::tail::Tail;
use crate::call::Call;
use crate::channel::Reference;
use crate::collective::Exchange;
use crate::error::Result;
use crate::moments::Moments;

/// The result of a forward pass; nothing of the layer has changed yet.
pub(crate) struct Forward {
    pub(crate) y: Tensor,
    /// The moments of an update; `None` if a policy forbids one, or the call asked for none.
    pub(crate) update: Option<Moments>,
    pub(crate) correction: Option<LastCorrection>,
    /// What renorm referred to.
    pub(crate) reference: Option<Reference>,
}

/// A checked call: what the engine computes, and what follows in candle's ops.
struct Checked {
    input: Input,
    parameters: Parameters,
    /// Where gamma or beta is per example: the engine computes x̂, and these ops the rest.
    tail: Option<Tail>,
}

impl Layer {
    /// A forward pass in candle's graph.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        call: &Call<'_>,
        exchange: Option<Exchange<'_>>,
    ) -> Result<Forward> {
        let Checked { mut input, parameters, tail } = self.check(x, call)?;
        let Parameters { gamma, beta } = tail.as_ref().map_or(&parameters, |tail| &tail.parameters);
        let of = [Some(x), gamma.as_ref(), beta.as_ref(), call.residual];
        let tracked = of.into_iter().flatten().any(Tensor::track_op);
        let run = self.run(&mut input, &parameters, call, tracked, exchange)?;
        let y = attach(run.y, run.backward, &input, &parameters, run.forced)?;
        let mut y = restored(y, input.order.as_deref())?;
        if let Some(tail) = &tail {
            y = tail.apply(&y)?;
        }
        let y = y.to_dtype(x.dtype())?;
        let Run { update, correction, reference, .. } = run;
        Ok(Forward { y, update, correction, reference })
    }

    /// A forward pass outside candle's graph, with what the gradient needs.
    pub(crate) fn forward_saved(
        &self,
        x: &Tensor,
        call: &Call<'_>,
        exchange: Option<Exchange<'_>>,
    ) -> Result<(Forward, Saved)> {
        let x = &x.detach();
        let Checked { mut input, parameters, tail } = self.check(x, call)?;
        let run = self.run(&mut input, &parameters, call, true, exchange)?;
        let normalized = run.y.into_tensor();
        let mut y = restored(normalized.clone(), input.order.as_deref())?;
        let tail = tail.map(|tail| tail.follow(&mut y)).transpose()?;
        let saved = Saved::new(run.backward, x, &normalized, &input, &parameters, tail);
        let y = y.detach().to_dtype(x.dtype())?;
        let Run { update, correction, reference, .. } = run;
        Ok((Forward { y, update, correction, reference }, saved))
    }

    fn check(&self, x: &Tensor, call: &Call<'_>) -> Result<Checked> {
        let parameters = self.parameters(x.dims().first().copied().unwrap_or(0), call)?;
        let per_example = parameters.per_example();
        let input = Input::new(self, x, call, per_example)?;
        if !per_example {
            return Ok(Checked { input, parameters, tail: None });
        }
        let tail = Tail::new(&self.config, x.dims(), parameters, call.residual)?;
        Ok(Checked { input, parameters: Parameters { gamma: None, beta: None }, tail: Some(tail) })
    }
}
