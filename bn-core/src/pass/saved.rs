//! [`Saved`]: what the gradient of a forward pass outside candle's graph needs.

use candle::{DType, Tensor};

use super::backward::{Backward, Column};
use super::input::{Input, restored};
use super::layer::Parameters;
use super::tail::Followed;
use crate::error::{Error, Result};
use crate::tensors::Value;

/// What the gradient of a forward pass outside candle's graph needs; see
/// [`BatchNorm::forward_train_saved`](crate::BatchNorm::forward_train_saved).
///
/// It holds x, the residual and (for sigmoid and tanh) y by reference, or a contiguous copy if the memory has
/// gaps, and values per channel. Do not change those tensors in place before taking the gradient. In a group
/// of ranks, every rank must take its gradient.
pub struct Saved {
    backward: Backward,
    /// Where the gradient reads it.
    y: Option<Tensor>,
    /// Shape and type of the caller's x and y.
    dims: Vec<usize>,
    dtype: DType,
    /// The type that the engine computed in.
    computed: DType,
    order: Option<Vec<usize>>,
    gamma: Option<DType>,
    beta: Option<DType>,
    residual: bool,
    tail: Option<Followed>,
}

/// The gradients that [`Saved::gradients`] returns.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InputGradients {
    /// The gradient of x, of its shape and type.
    pub x: Tensor,
    /// The gradient of gamma, of its shape and type; `None` without gamma.
    pub gamma: Option<Tensor>,
    /// The gradient of beta, of its shape and type; `None` without beta.
    pub beta: Option<Tensor>,
    /// The gradient of the residual, of x's shape and type; `None` without a residual.
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
        x: &Tensor,
        normalized: &Tensor,
        input: &Input,
        parameters: &Parameters,
        tail: Option<Followed>,
    ) -> Self {
        Self {
            y: backward.reads_value().then(|| normalized.clone()),
            backward,
            dims: x.dims().to_vec(),
            dtype: x.dtype(),
            computed: normalized.dtype(),
            order: input.order.clone(),
            gamma: parameters.gamma.as_ref().map(Tensor::dtype),
            beta: parameters.beta.as_ref().map(Tensor::dtype),
            residual: input.residual.is_some(),
            tail,
        }
    }

    /// `(dx, dgamma, dbeta)` for the gradient of y; `None` without gamma or beta.
    /// # Errors
    /// Those of [`Saved::gradients`].
    pub fn backward(&self, dy: &Tensor) -> Result<(Tensor, Option<Tensor>, Option<Tensor>)> {
        let InputGradients { x, gamma, beta, .. } = self.gradients(dy)?;
        Ok((x, gamma, beta))
    }

    /// Only `(dgamma, dbeta)`, if the input needs no gradient: one pass over x instead of two.
    /// # Errors
    /// Those of [`Saved::gradients`].
    pub fn parameter_gradients(&self, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let found = self.take(dy, false)?;
        Ok((found.gamma, found.beta))
    }

    /// All gradients, for the gradient of y.
    /// # Errors
    /// [`Shape`](crate::ErrorKind::Shape) or [`DType`](crate::ErrorKind::DType) if `dy` does not have the shape and type of y.
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
            return Err(Error::dtype(OP, "dy", "the type of y", dy.dtype()));
        }
        let Some(Followed { x_hat, y, tail }) = &self.tail else {
            return self.normalization(dy, of_input);
        };
        let store = (y * dy.detach().to_dtype(y.dtype())?)?.sum_all()?.backward()?;
        let of = |t: &Tensor| store.get(t).map_or_else(|| t.zeros_like(), |g| Ok(g.clone()));
        let optional = |t: &Option<Tensor>| t.as_ref().map(of).transpose();
        Ok(Taken {
            x: self.normalization(&of(x_hat)?, of_input)?.x,
            gamma: optional(&tail.parameters.gamma)?,
            beta: optional(&tail.parameters.beta)?,
            residual: optional(&tail.residual)?,
        })
    }

    fn normalization(&self, dy: &Tensor, of_input: bool) -> Result<Taken> {
        let mut in_memory_order = dy.to_dtype(self.computed)?;
        if let Some(order) = &self.order {
            in_memory_order = in_memory_order.permute(order.as_slice())?;
        }
        let found = self.backward.gradients(self.y.as_ref(), &in_memory_order, of_input)?;
        let column = |dtype: Option<DType>, of: &Column| {
            dtype.map(|dtype| of.tensor(dtype, dy.device())).transpose()
        };
        let like_x =
            |v: Value| restored(v.into_tensor(), self.order.as_deref())?.to_dtype(self.dtype);
        let dv = found.dv.map(like_x).transpose()?;
        Ok(Taken {
            gamma: column(self.gamma, &found.gamma)?,
            beta: column(self.beta, &found.beta)?,
            residual: self.residual.then(|| dv.unwrap_or_else(|| dy.detach())),
            x: found.dx.map(like_x).transpose()?,
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
