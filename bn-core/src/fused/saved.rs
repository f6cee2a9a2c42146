//! What the backward pass keeps of a forward pass: x (the residual, y) by reference, and values per
//! channel; and [`Saved`], the backward pass outside candle's graph.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use candle::{CpuStorage, DType, Tensor, Var};

use super::group::Group;
use super::span::Span;
use super::weights::HostWeights;
use crate::batch_norm::BatchNorm;
use crate::call::Call;
use crate::error::{Error, Result};
use crate::forward::Forward;
use crate::host::{filled, tensor, vector_of, with_slice};
use crate::kernel::{Element, backward, wants_value};
use crate::tail::Activation;

/// The gradients of one forward pass, as the kernels give them.
pub(super) struct Gradients {
    pub(super) dx: CpuStorage,
    /// Gradient of the residual, if there is one; none without an activation, where it is dy itself.
    pub(super) dv: Option<CpuStorage>,
    pub(super) gamma: Vec<f64>,
    pub(super) beta: Vec<f64>,
}

/// A forward pass that can be differentiated.
pub(super) trait Differentiate: Send + Sync {
    /// `x`, `y`, `residual` and `dy` are contiguous and of one type. `y` is not read where it is not wanted.
    fn differentiate(
        &self,
        x: &Tensor,
        y: Option<&Tensor>,
        residual: Option<&Tensor>,
        dy: &Tensor,
    ) -> candle::Result<Gradients>;
    /// Whether y is of use.
    fn wants_value(&self) -> bool;
}

/// What the kernels need again.
pub(super) struct Context<R> {
    pub(super) spans: Vec<Span>,
    pub(super) groups: Vec<Group>,
    pub(super) weights: Option<HostWeights<R>>,
    pub(super) activation: Activation,
}

impl<R> Context<R> {
    pub(super) fn typed<T: Element<Real = R>>(self) -> Typed<T> {
        Typed(self, PhantomData)
    }
}

/// A context for tensors of one type.
pub(super) struct Typed<T: Element>(Context<T::Real>, PhantomData<T>);

impl<T: Element> Typed<T> {
    fn run(&self, x: &[T], y: Option<&[T]>, residual: Option<&[T]>, dy: &[T]) -> Gradients {
        let context = &self.0;
        let with_dv = residual.is_some() && context.activation != Activation::None;
        let channels = context.groups.first().map_or(0, |group| group.backs.len());
        let (mut gamma, mut beta) = (vec![0.0; channels], vec![0.0; channels]);
        let mut fill = |mut dx: &mut [MaybeUninit<T>], mut dv: &mut [MaybeUninit<T>]| {
            for (span, group) in context.spans.iter().zip(&context.groups) {
                let (dx_part, rest) = dx.split_at_mut(span.len());
                dx = rest;
                let (dv_part, rest) = dv.split_at_mut(if with_dv { span.len() } else { 0 });
                dv = rest;
                let input = span.input(x, residual, context.weights.as_ref(), context.activation);
                let totals = backward(
                    &input,
                    &group.backs,
                    y.map(|y| &y[span.range()]),
                    &dy[span.range()],
                    dx_part,
                    with_dv.then_some(dv_part),
                );
                for (c, (totals, back)) in totals.iter().zip(&group.backs).enumerate() {
                    gamma[c] += back.r * totals.dv_x_hat + back.d * totals.dv;
                    beta[c] += totals.dv;
                }
            }
            Ok::<(), Infallible>(())
        };
        let all = |len: usize| if with_dv { len } else { 0 };
        let Ok((dx, (dv, ()))) = filled(x.len(), |dx| filled(all(x.len()), |dv| fill(dx, dv)));
        Gradients { dx: T::storage(dx), dv: with_dv.then(|| T::storage(dv)), gamma, beta }
    }
}

impl<T: Element> Differentiate for Typed<T> {
    fn differentiate(
        &self,
        x: &Tensor,
        y: Option<&Tensor>,
        residual: Option<&Tensor>,
        dy: &Tensor,
    ) -> candle::Result<Gradients> {
        let y = y.filter(|_| self.wants_value());
        let gradients = with_slice(x, |x: &[T]| {
            with_optional(y, |y: Option<&[T]>| {
                with_optional(residual, |residual: Option<&[T]>| {
                    with_slice(dy, |dy: &[T]| self.run(x, y, residual, dy))
                })
            })
        });
        let gradients = gradients.flatten().flatten().flatten();
        match gradients {
            Some(gradients) => Ok(gradients),
            None => candle::bail!("the gradient of a batch norm is not of its input's type"),
        }
    }

    fn wants_value(&self) -> bool {
        wants_value::<T>(self.0.activation)
    }
}

/// Calls `f` with a tensor's values, if there is a tensor; see [`with_slice`].
fn with_optional<T: Element, R>(
    t: Option<&Tensor>,
    f: impl FnOnce(Option<&[T]>) -> R,
) -> Option<R> {
    match t {
        None => Some(f(None)),
        Some(t) => with_slice(t, |t: &[T]| f(Some(t))),
    }
}

/// A forward pass outside candle's graph that waits for its gradient, see
/// [`BatchNorm::forward_train_saved`].
///
/// It keeps x, the residual, and for sigmoid and tanh y, by reference (a contiguous copy of one that is not
/// contiguous), and values per channel. Do not change those tensors in place before the gradient is taken.
pub struct Saved {
    inner: Inner,
    dims: Vec<usize>,
    dtype: DType,
}

enum Inner {
    Fused {
        x: Tensor,
        y: Option<Tensor>,
        residual: Option<Tensor>,
        gamma: Option<DType>,
        beta: Option<DType>,
        back: Box<dyn Differentiate>,
    },
    Composed {
        y: Tensor,
        x: Var,
        residual: Option<Var>,
        gamma: Option<Tensor>,
        beta: Option<Tensor>,
    },
}

/// The gradients that [`Saved::gradients`] returns.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InputGradients {
    /// Of x's shape and type.
    pub x: Tensor,
    /// Of gamma's shape and type; none where there is no gamma.
    pub gamma: Option<Tensor>,
    /// Of beta's shape and type; none where there is no beta.
    pub beta: Option<Tensor>,
    /// Of x's shape and type; none where there was no residual.
    pub residual: Option<Tensor>,
}

impl Saved {
    pub(super) fn fused(
        x: Tensor,
        y: &Tensor,
        residual: Option<Tensor>,
        gamma: Option<DType>,
        beta: Option<DType>,
        back: Box<dyn Differentiate>,
    ) -> Self {
        Self {
            dims: x.dims().to_vec(),
            dtype: x.dtype(),
            inner: Inner::Fused {
                x,
                y: back.wants_value().then(|| y.clone()),
                residual,
                gamma,
                beta,
                back,
            },
        }
    }

    /// `(dx, dgamma, dbeta)` for the gradient of y; none for a gamma or beta that the layer does not have.
    /// # Errors
    /// As [`Saved::gradients`].
    pub fn backward(&self, dy: &Tensor) -> Result<(Tensor, Option<Tensor>, Option<Tensor>)> {
        let gradients = self.gradients(dy)?;
        Ok((gradients.x, gradients.gamma, gradients.beta))
    }

    /// All gradients for the gradient of y, the residual's too.
    /// # Errors
    /// [`Error::Shape`] or [`Error::DType`] for a `dy` that is not like y.
    pub fn gradients(&self, dy: &Tensor) -> Result<InputGradients> {
        const OP: &str = "Saved::backward";
        if dy.dims() != self.dims {
            return Err(Error::shape(OP, "dy", format!("{:?}", self.dims), dy.dims()));
        }
        if dy.dtype() != self.dtype {
            return Err(Error::DType {
                op: OP,
                name: "dy".to_owned(),
                expected: "the type of y",
                got: dy.dtype(),
            });
        }
        match &self.inner {
            Inner::Fused { x, y, residual, gamma, beta, back } => {
                let dy = dy.detach().contiguous()?;
                let kept = residual.as_ref();
                let found = back.differentiate(x, y.as_ref(), kept, &dy)?;
                let of = |dtype: &Option<DType>, values: &[f64]| {
                    dtype.map(|dtype| vector_of(values, dtype)).transpose()
                };
                Ok(InputGradients {
                    x: tensor(found.dx, &self.dims),
                    gamma: of(gamma, &found.gamma)?,
                    beta: of(beta, &found.beta)?,
                    residual: match (residual, found.dv) {
                        (None, _) => None,
                        (Some(_), Some(dv)) => Some(tensor(dv, &self.dims)),
                        (Some(_), None) => Some(dy),
                    },
                })
            }
            Inner::Composed { y, x, residual, gamma, beta } => {
                let store = (y * dy.detach())?.sum_all()?.backward()?;
                let of = |t: &Tensor| match store.get(t) {
                    Some(gradient) => Ok(gradient.clone()),
                    None => t.zeros_like(),
                };
                let optional = |t: Option<&Tensor>| t.map(of).transpose();
                Ok(InputGradients {
                    x: of(x)?,
                    gamma: optional(gamma.as_ref())?,
                    beta: optional(beta.as_ref())?,
                    residual: optional(residual.as_ref().map(|residual| &**residual))?,
                })
            }
        }
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

impl BatchNorm {
    /// The same for calls that the kernels do not take: by candle's graph.
    pub(super) fn compose_saved(&self, x: &Tensor, call: &Call<'_>) -> Result<(Forward, Saved)> {
        let variable = |t: &Tensor| Var::from_tensor(&t.detach().copy()?);
        let own = |given: Option<&Tensor>, own: &Option<Var>| match (given, own) {
            (Some(given), _) => variable(given).map(|var| Some(var.into_inner())),
            (None, own) => Ok(own.as_ref().map(|own| own.as_tensor().clone())),
        };
        let (gamma, beta) = (own(call.gamma, &self.gamma)?, own(call.beta, &self.beta)?);
        let residual = call.residual.map(variable).transpose()?;
        let x = variable(x)?;
        let call = Call {
            gamma: gamma.as_ref(),
            beta: beta.as_ref(),
            residual: residual.as_ref().map(|residual| residual.as_tensor()),
            ..*call
        };
        let forward = self.compose(&x, &call)?;
        let saved = Saved {
            dims: x.dims().to_vec(),
            dtype: x.dtype(),
            inner: Inner::Composed { y: forward.y.clone(), x, residual, gamma, beta },
        };
        let y = forward.y.detach();
        Ok((Forward { y, ..forward }, saved))
    }
}
