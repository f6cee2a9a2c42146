//! The weight and bias of dense layers and convolutions.

use super::layer::{Item, Named, Role};
use super::pass::Pass;
use super::signal::Signal;
use super::tape::GradientSink;
use crate::ops::buffer::{Numbers, tensor};
use crate::ops::channels::channel_sums;
use candle::{Result, Shape, Tensor, Var};
use candle_nn::{Init, VarBuilder};

/// A weight with outputs as its first axis, and an optional bias. Both start uniform in `±1/√fan_in`.
#[derive(Debug)]
pub(super) struct Variables {
    pub(super) path: String,
    pub(super) weight: Var,
    pub(super) bias: Option<Var>,
}

impl Variables {
    pub(super) fn new(
        shape: impl Into<Shape>,
        bias: bool,
        builder: &VarBuilder<'_>,
    ) -> Result<Self> {
        let shape = shape.into();
        let outputs = shape.dims()[0];
        let bound = ((shape.elem_count() / outputs) as f64).sqrt().recip();
        let init = Init::Uniform { lo: -bound, up: bound };
        let get =
            |shape: Shape, name| Var::from_tensor(&builder.get_with_hints(shape, name, init)?);
        Ok(Self {
            path: builder.prefix(),
            weight: get(shape, "weight")?,
            bias: bias.then(|| get(outputs.into(), "bias")).transpose()?,
        })
    }

    pub(super) fn visit<'a>(&'a self, visitor: &mut dyn FnMut(Named<'a>)) {
        let bias = self.bias.as_ref().map(|bias| ("bias", Role::Bias, bias));
        for (name, role, var) in [("weight", Role::Weight, &self.weight)].into_iter().chain(bias) {
            let path = format!("{}.{name}", self.path);
            visitor(Named { path, item: Item::Parameter { role, var, is_trained: true } });
        }
    }

    /// The weight for candle's operations on x, attached to its graph only if that differentiates the pass.
    pub(super) fn weight_for(&self, x: &Signal, pass: &Pass<'_>) -> Result<Tensor> {
        for_pass(&self.weight, pass).to_dtype(x.tensor().dtype())
    }

    /// Adds the bias along axis 1, by candle's operations.
    pub(super) fn add_bias(&self, y: Tensor, pass: &Pass<'_>) -> Result<Tensor> {
        let Some(bias) = &self.bias else {
            return Ok(y);
        };
        let mut dims = vec![1; y.rank()];
        dims[1] = bias.elem_count();
        y.broadcast_add(&for_pass(bias, pass).to_dtype(y.dtype())?.reshape(dims)?)
    }
}

fn for_pass(variable: &Var, pass: &Pass<'_>) -> Tensor {
    if pass.is_by_graph() { variable.as_tensor().clone() } else { variable.as_detached_tensor() }
}

/// Puts the gradient by a bias into `sink`: dy summed over all axes but axis 1.
pub(super) fn bias_gradient(
    bias: Option<&Var>,
    dy: &Tensor,
    sink: &mut GradientSink<'_>,
) -> Result<()> {
    let Some(bias) = bias else {
        return Ok(());
    };
    let sums = channel_sums(&Numbers::of(dy)?, bias.elem_count(), dy.dims()[0]);
    sink.variable(bias, tensor(sums, bias.dims())?)
}
