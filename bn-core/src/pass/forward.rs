//! A forward pass in candle's graph, or outside of it with what the gradient needs.

use candle::{DType, Tensor, Var};

use super::backward::{Attached, Backward, Slot};
use super::correction::LastCorrection;
use super::input::{Input, restored};
use super::layer::{Layer, Parameters};
use super::saved::{Saved, Tail};
use crate::activation::Activation;
use crate::call::Call;
use crate::collective::Exchange;
use crate::config::BatchNormConfig;
use crate::error::Result;
use crate::layout::statistics_dtype;
use crate::moments::Moments;
use crate::tensors::Value;

/// What a forward pass comes to; nothing of the layer has changed yet.
pub(crate) struct Forward {
    pub(crate) y: Tensor,
    /// The moments of an update; `None` if a policy forbids one, or the call asked for none.
    pub(crate) update: Option<Moments>,
    pub(crate) correction: Option<LastCorrection>,
}

impl Layer<'_> {
    /// A forward pass in candle's graph.
    pub(crate) fn forward(&self, x: &Tensor, call: &Call<'_>) -> Result<Forward> {
        let exchange = self.exchange(call);
        let parameters = self.parameters(x.dims().first().copied().unwrap_or(0), call)?;
        if parameters.per_example() {
            return self.forward_per_example(x, call, &parameters, exchange);
        }
        let input = Input::new(self, x, call)?;
        let of = [
            Some(&input.x),
            parameters.gamma.as_ref(),
            parameters.beta.as_ref(),
            input.residual.as_ref(),
        ];
        let tracked = of.into_iter().flatten().any(Tensor::track_op);
        let run = self.run(&input, &parameters, call, tracked, exchange)?;
        let y = attach(run.y, run.backward, &input, &parameters, run.forced)?;
        let y = restored(y, input.order.as_deref())?;
        Ok(Forward { y, update: run.update, correction: run.correction })
    }

    /// A forward pass outside candle's graph, with what the gradient needs.
    pub(crate) fn forward_saved(&self, x: &Tensor, call: &Call<'_>) -> Result<(Forward, Saved)> {
        let exchange = self.exchange(call);
        let x = &x.detach();
        let parameters = self.parameters(x.dims().first().copied().unwrap_or(0), call)?;
        if parameters.per_example() {
            return self.forward_saved_per_example(x, call, &parameters, exchange);
        }
        let input = Input::new(self, x, call)?;
        let run = self.run(&input, &parameters, call, true, exchange)?;
        let y = run.y.into_tensor();
        let saved = Saved::new(run.backward, &y, &input, &parameters);
        let y = restored(y, input.order.as_deref())?;
        Ok((Forward { y, update: run.update, correction: run.correction }, saved))
    }

    /// gamma or beta per example: x̂ by the engine, the rest in candle's graph.
    fn forward_per_example(
        &self,
        x: &Tensor,
        call: &Call<'_>,
        parameters: &Parameters,
        exchange: Option<Exchange<'_>>,
    ) -> Result<Forward> {
        let config = BatchNormConfig { activation: Activation::None, ..self.config.clone() };
        let plain = self.without_parameters(&config);
        let input = Input::new(&plain, &wide(x)?, &Call { residual: None, ..*call })?;
        let none = Parameters { gamma: None, beta: None };
        let affine = [parameters.gamma.as_ref(), parameters.beta.as_ref(), call.residual];
        let tracked = x.track_op() || affine.into_iter().flatten().any(Tensor::track_op);
        let run = plain.run(&input, &none, call, tracked, exchange)?;
        let x_hat = attach(run.y, run.backward, &input, &none, run.forced)?;
        let x_hat = restored(x_hat, input.order.as_deref())?;
        self.check_residual(x, call)?;
        let tail = Tail::new(self.config, x.dims(), parameters, call.residual)?;
        let y = tail.apply(&x_hat)?.to_dtype(x.dtype())?;
        Ok(Forward { y, update: run.update, correction: run.correction })
    }

    fn forward_saved_per_example(
        &self,
        x: &Tensor,
        call: &Call<'_>,
        parameters: &Parameters,
        exchange: Option<Exchange<'_>>,
    ) -> Result<(Forward, Saved)> {
        let config = BatchNormConfig { activation: Activation::None, ..self.config.clone() };
        let plain = self.without_parameters(&config);
        let input = Input::new(&plain, &wide(x)?, &Call { residual: None, ..*call })?;
        let none = Parameters { gamma: None, beta: None };
        let run = plain.run(&input, &none, call, true, exchange)?;
        let x_hat = run.y.into_tensor();
        let saved = Saved::new(run.backward, &x_hat, &input, &none);
        let x_hat = restored(x_hat, input.order.as_deref())?;
        self.check_residual(x, call)?;
        let tail = Tail::new(self.config, x.dims(), parameters, call.residual)?.with_variables()?;
        let (y, saved) = saved.with_tail(x.dtype(), tail, &x_hat)?;
        Ok((Forward { y, update: run.update, correction: run.correction }, saved))
    }

    fn without_parameters<'a>(&'a self, config: &'a BatchNormConfig) -> Layer<'a> {
        Layer { config, gamma: None, beta: None, ..*self }
    }
}

/// y as a function of those of the call's tensors that require gradients.
fn attach(
    y: Value,
    backward: Backward,
    input: &Input,
    parameters: &Parameters,
    forced: bool,
) -> Result<Tensor> {
    let mut slots = Vec::with_capacity(4);
    let tracked = |t: Option<&Tensor>| t.filter(|t| t.track_op()).cloned();
    slots.extend(tracked(Some(&input.x)).map(|x| (Slot::X, x)));
    let gamma = tracked(parameters.gamma.as_ref());
    let beta = tracked(parameters.beta.as_ref());
    let residual = tracked(input.residual.as_ref());
    match (gamma, beta) {
        // An op takes three tensors at most.
        (Some(gamma), Some(beta)) if residual.is_some() && !slots.is_empty() => {
            slots.push((Slot::Packed, pack(&gamma, &beta)?));
        }
        (gamma, beta) => {
            slots.extend(gamma.map(|gamma| (Slot::Gamma, gamma)));
            slots.extend(beta.map(|beta| (Slot::Beta, beta)));
        }
    }
    slots.extend(residual.map(|residual| (Slot::Residual, residual)));
    if slots.is_empty() {
        if !forced {
            return Ok(y.into_tensor());
        }
        // The other ranks' gradients go through these statistics, so this rank has to take part in their
        // backward pass although none of its tensors requires a gradient.
        let witness = Var::zeros(1, DType::F32, input.x.device())?;
        slots.push((Slot::Witness, witness.into_inner()));
    }
    let (slots, inputs): (Vec<_>, Vec<_>) = slots.into_iter().unzip();
    Ok(y.attach(&inputs, Attached { backward, slots })?)
}

/// `[2, C]`, in f64 where the two differ in type.
fn pack(gamma: &Tensor, beta: &Tensor) -> candle::Result<Tensor> {
    if gamma.dtype() == beta.dtype() {
        return Tensor::stack(&[gamma, beta], 0);
    }
    let wide = |t: &Tensor| t.to_dtype(DType::F64);
    Tensor::stack(&[wide(gamma)?, wide(beta)?], 0)
}

/// f32 for half floats, whose products with gamma would be rounded twice.
fn wide(x: &Tensor) -> candle::Result<Tensor> {
    x.to_dtype(statistics_dtype(x.dtype()))
}
