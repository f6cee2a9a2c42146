//! What follows the normalization where gamma or beta is per example, in candle's ops.

use candle::{Tensor, Var};

use super::layer::Parameters;
use crate::activation::Activation;
use crate::config::BatchNormConfig;
use crate::error::Result;
use crate::layout::ChannelView;

/// `activation(gamma · x̂ + beta + residual)`.
pub(super) struct Tail {
    pub(super) parameters: Parameters,
    pub(super) residual: Option<Tensor>,
    activation: Activation,
    view: ChannelView,
}

impl Tail {
    pub(super) fn new(
        config: &BatchNormConfig,
        dims: &[usize],
        parameters: Parameters,
        residual: Option<&Tensor>,
    ) -> Result<Self> {
        let view = ChannelView::new("batch norm", dims, config.data_format)?;
        let residual = residual.cloned();
        Ok(Self { parameters, residual, activation: config.activation, view })
    }

    /// Turns x̂ into y, in a graph of its own.
    pub(super) fn follow(mut self, y: &mut Tensor) -> Result<Followed> {
        let Parameters { gamma, beta } = &mut self.parameters;
        for t in [gamma, beta, &mut self.residual].into_iter().flatten() {
            *t = Var::from_tensor(&t.detach().copy()?)?.into_inner();
        }
        let x_hat = Var::from_tensor(&y.contiguous()?)?.into_inner();
        *y = self.apply(&x_hat)?;
        Ok(Followed { x_hat, y: y.clone(), tail: self })
    }

    pub(super) fn apply(&self, x_hat: &Tensor) -> candle::Result<Tensor> {
        let shaped = |t: &Tensor| {
            let per_example = t.rank() == 2;
            let dims = if per_example {
                self.view.example_channel_dims()
            } else {
                self.view.channel_dims()
            };
            t.to_dtype(x_hat.dtype())?.reshape(dims)
        };
        let mut y = x_hat.clone();
        if let Some(gamma) = &self.parameters.gamma {
            y = y.broadcast_mul(&shaped(gamma)?)?;
        }
        if let Some(beta) = &self.parameters.beta {
            y = y.broadcast_add(&shaped(beta)?)?;
        }
        if let Some(residual) = &self.residual {
            y = (y + residual.to_dtype(x_hat.dtype())?)?;
        }
        self.activation.apply(&y)
    }
}

/// A tail that has been applied, as a function of x̂ and its own tensors.
pub(super) struct Followed {
    pub(super) x_hat: Tensor,
    pub(super) y: Tensor,
    pub(super) tail: Tail,
}
