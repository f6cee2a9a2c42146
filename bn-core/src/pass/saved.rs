//! [`Saved`]: a forward pass outside candle's graph that waits for its gradient.

use candle::{DType, Tensor, Var};

use super::backward::Backward;
use super::input::{Input, restored};
use super::layer::Parameters;
use crate::activation::Activation;
use crate::config::BatchNormConfig;
use crate::error::{Error, Result};
use crate::layout::ChannelView;
use crate::tensors::{Value, vector};

/// A forward pass outside candle's graph that waits for its gradient, see
/// [`BatchNorm::forward_train_saved`](crate::BatchNorm::forward_train_saved).
///
/// It keeps x, the residual, and for sigmoid and tanh y, by reference (a contiguous copy of one whose memory
/// has gaps), and values per channel. Do not change those tensors in place before the gradient is taken.
/// In a group of ranks every rank takes its gradient.
pub struct Saved {
    backward: Backward,
    /// Where the gradient reads it.
    y: Option<Tensor>,
    /// Of y, as the caller has it.
    dims: Vec<usize>,
    dtype: DType,
    order: Option<Vec<usize>>,
    gamma: Option<DType>,
    beta: Option<DType>,
    residual: bool,
    tail: Option<(Tail, Var, Tensor)>,
}

/// The gradients that [`Saved::gradients`] returns.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InputGradients {
    /// Of x's shape and type.
    pub x: Tensor,
    /// Of gamma's shape and type; `None` without gamma.
    pub gamma: Option<Tensor>,
    /// Of beta's shape and type; `None` without beta.
    pub beta: Option<Tensor>,
    /// Of x's shape and type; `None` without a residual.
    pub residual: Option<Tensor>,
}

/// [`InputGradients`], of which x's may have been declined.
struct Taken {
    x: Option<Tensor>,
    gamma: Option<Tensor>,
    beta: Option<Tensor>,
    residual: Option<Tensor>,
}

impl Saved {
    pub(super) fn new(
        backward: Backward,
        y: &Tensor,
        input: &Input,
        parameters: &Parameters,
    ) -> Self {
        let of = |axis: usize| {
            input.order.as_ref().map_or(axis, |order| {
                order.iter().position(|from| *from == axis).unwrap_or_default()
            })
        };
        Self {
            y: backward.reads_value().then(|| y.clone()),
            backward,
            dims: (0..y.rank()).map(|axis| y.dims()[of(axis)]).collect(),
            dtype: y.dtype(),
            order: input.order.clone(),
            gamma: parameters.gamma.as_ref().map(Tensor::dtype),
            beta: parameters.beta.as_ref().map(Tensor::dtype),
            residual: input.residual.is_some(),
            tail: None,
        }
    }

    /// Applies a tail to what this pass returned, in a separate graph, and returns y.
    pub(super) fn with_tail(
        self,
        dtype: DType,
        tail: Tail,
        x_hat: &Tensor,
    ) -> Result<(Tensor, Self)> {
        let x_hat = Var::from_tensor(&x_hat.contiguous()?)?;
        let y = tail.apply(x_hat.as_tensor())?.to_dtype(dtype)?;
        let detached = y.detach();
        Ok((detached, Self { dtype, tail: Some((tail, x_hat, y)), ..self }))
    }

    /// `(dx, dgamma, dbeta)` for the gradient of y; none for a gamma or beta that the layer does not have.
    /// # Errors
    /// As [`Saved::gradients`].
    pub fn backward(&self, dy: &Tensor) -> Result<(Tensor, Option<Tensor>, Option<Tensor>)> {
        let InputGradients { x, gamma, beta, .. } = self.gradients(dy)?;
        Ok((x, gamma, beta))
    }

    /// Only `(dgamma, dbeta)`, for a first layer whose input needs no gradient: one pass over x instead of two.
    /// # Errors
    /// As [`Saved::gradients`].
    pub fn parameter_gradients(&self, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let found = self.take(dy, false)?;
        Ok((found.gamma, found.beta))
    }

    /// All gradients for the gradient of y, the residual's too.
    /// # Errors
    /// [`Error::Shape`] or [`Error::DType`] for a `dy` that is not like y.
    pub fn gradients(&self, dy: &Tensor) -> Result<InputGradients> {
        let Taken { x, gamma, beta, residual } = self.take(dy, true)?;
        let x = x.map_or_else(|| dy.zeros_like(), Ok)?;
        Ok(InputGradients { x, gamma, beta, residual })
    }

    fn take(&self, dy: &Tensor, of_input: bool) -> Result<Taken> {
        const OP: &str = "Saved::backward";
        if dy.dims() != self.dims {
            return Err(Error::shape(OP, "dy", format!("{:?}", self.dims), dy.dims()));
        }
        if dy.dtype() != self.dtype {
            return Err(Error::DType {
                op: OP.into(),
                name: "dy".to_owned(),
                expected: "the type of y",
                got: dy.dtype(),
            });
        }
        let Some((tail, x_hat, y)) = &self.tail else {
            return self.normalization(dy, of_input);
        };
        let store = (y * dy.detach())?.sum_all()?.backward()?;
        let of = |t: &Tensor| match store.get(t) {
            Some(gradient) => Ok(gradient.clone()),
            None => t.zeros_like(),
        };
        let inner = self.normalization(&of(x_hat)?, of_input)?;
        let optional = |t: &Option<Tensor>| t.as_ref().map(of).transpose();
        Ok(Taken {
            x: inner.x.map(|x| x.to_dtype(self.dtype)).transpose()?,
            gamma: optional(&tail.gamma)?,
            beta: optional(&tail.beta)?,
            residual: optional(&tail.residual)?,
        })
    }

    fn normalization(&self, dy: &Tensor, of_input: bool) -> Result<Taken> {
        let in_memory_order = match &self.order {
            Some(order) => dy.permute(order.as_slice())?,
            None => dy.clone(),
        };
        let found = self.backward.gradients(self.y.as_ref(), &in_memory_order, of_input)?;
        let column = |dtype: Option<DType>, of: &[f64]| {
            dtype.map(|dtype| vector(of, dtype, dy.device())).transpose()
        };
        let restored = |v: Value| restored(v.into_tensor(), self.order.as_deref());
        Ok(Taken {
            gamma: column(self.gamma, &found.gamma)?,
            beta: column(self.beta, &found.beta)?,
            residual: match (self.residual, found.dv) {
                (false, _) => None,
                (true, Some(dv)) => Some(restored(dv)?),
                (true, None) => Some(dy.detach()),
            },
            x: found.dx.map(restored).transpose()?,
        })
    }
}

impl std::fmt::Debug for Saved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Saved")
            .field("dims", &self.dims)
            .field("dtype", &self.dtype)
            .finish_non_exhaustive()
    }
}

/// `activation(gamma · x̂ + beta + residual)` in candle's ops: for gamma or beta per example.
pub(super) struct Tail {
    gamma: Option<Tensor>,
    beta: Option<Tensor>,
    residual: Option<Tensor>,
    activation: Activation,
    view: ChannelView,
}

impl Tail {
    pub(super) fn new(
        config: &BatchNormConfig,
        dims: &[usize],
        parameters: &Parameters,
        residual: Option<&Tensor>,
    ) -> Result<Self> {
        Ok(Self {
            gamma: parameters.gamma.clone(),
            beta: parameters.beta.clone(),
            residual: residual.cloned(),
            activation: config.activation,
            view: ChannelView::new("batch norm", dims, config.data_format)?,
        })
    }

    /// The same tail with new variables, which gradients can be asked of.
    pub(super) fn with_variables(self) -> Result<Self> {
        let variable = |t: Option<Tensor>| -> candle::Result<Option<Tensor>> {
            t.map(|t| Var::from_tensor(&t.detach().copy()?).map(Var::into_inner)).transpose()
        };
        Ok(Self {
            gamma: variable(self.gamma)?,
            beta: variable(self.beta)?,
            residual: variable(self.residual)?,
            ..self
        })
    }

    pub(super) fn apply(&self, x_hat: &Tensor) -> Result<Tensor> {
        let shaped = |t: &Tensor| -> candle::Result<Tensor> {
            let dims = match t.rank() {
                1 => self.view.channel_dims(),
                _ => self.view.example_channel_dims(),
            };
            t.to_dtype(x_hat.dtype())?.reshape(dims)
        };
        let mut y = x_hat.clone();
        if let Some(gamma) = &self.gamma {
            y = y.broadcast_mul(&shaped(gamma)?)?;
        }
        if let Some(beta) = &self.beta {
            y = y.broadcast_add(&shaped(beta)?)?;
        }
        if let Some(residual) = &self.residual {
            y = (y + residual.to_dtype(x_hat.dtype())?)?;
        }
        Ok(self.activation.apply(&y)?)
    }
}
