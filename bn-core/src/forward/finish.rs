//! From x̂ to y: gamma, beta, residual and activation.

use std::sync::Arc;

use candle::{DType, Tensor, Var};

use super::{Input, OP};
use crate::batch_norm::BatchNorm;
use crate::call::Call;
use crate::collective::{Collective, join_backward};
use crate::error::{Error, Result};
use crate::layout::{ChannelView, require_device, require_float};

impl BatchNorm {
    /// gamma, beta, residual, activation; back to x's shape and type.
    pub(super) fn finish(
        &self,
        x: &Tensor,
        input: &Input,
        x_hat: &Tensor,
        call: &Call<'_>,
    ) -> Result<Tensor> {
        let mut y = x_hat.clone();
        if let Some(gamma) = self.affine("gamma", call.gamma, &self.gamma, &input.view)? {
            y = y.broadcast_mul(&gamma)?;
        }
        if let Some(beta) = self.affine("beta", call.beta, &self.beta, &input.view)? {
            y = y.broadcast_add(&beta)?;
        }
        if let Some(residual) = call.residual {
            require_float(OP, "residual", residual)?;
            require_device(OP, "residual", residual, &self.device)?;
            y = (y + input.view.flatten(&residual.to_dtype(DType::F64)?)?)?;
        }
        let y = self.config.activation.apply(&y)?;
        Ok(y.to_dtype(x.dtype())?.reshape(x.dims())?)
    }

    /// A rank without examples: nothing to compute, but a backward that the other ranks wait for.
    pub(super) fn finish_empty(
        &self,
        x: &Tensor,
        call: &Call<'_>,
        ranks: &Arc<dyn Collective>,
    ) -> Result<Tensor> {
        let parameter = |given: Option<&Tensor>, own: &Option<Var>| match (given, own) {
            (Some(given), _) => given.clone(),
            (None, Some(own)) => self.parameter(own),
            (None, None) => x.clone(),
        };
        let gamma = parameter(call.gamma, &self.gamma);
        let beta = parameter(call.beta, &self.beta);
        join_backward([x, &gamma, &beta], &x.zeros_like()?, self.channels, ranks)
    }

    /// gamma or beta in a shape that broadcasts to the flattened input.
    fn affine(
        &self,
        name: &str,
        given: Option<&Tensor>,
        own: &Option<Var>,
        view: &ChannelView,
    ) -> Result<Option<Tensor>> {
        let Some(given) = given else {
            let Some(own) = own else { return Ok(None) };
            let wide = self.parameter(own).to_dtype(DType::F64)?;
            return Ok(Some(view.per_channel(&wide)?));
        };
        require_float(OP, name, given)?;
        require_device(OP, name, given, &self.device)?;
        let wide = given.to_dtype(DType::F64)?;
        let examples = view.dims()[0];
        if given.dims() == [self.channels] {
            return Ok(Some(view.per_channel(&wide)?));
        }
        if given.dims() != [examples, self.channels] || view.axis() == 0 {
            let expected = format!("[C = {}] or [N = {examples}, C]", self.channels);
            return Err(Error::shape(OP, name, expected, given.dims()));
        }
        let full = wide.reshape(view.example_channel_dims())?.broadcast_as(view.dims())?;
        Ok(Some(view.flatten(&full.contiguous()?)?))
    }
}
