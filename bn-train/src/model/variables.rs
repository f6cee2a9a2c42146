//! The weight and bias of dense layers and convolutions.

use super::layer::{Item, Named, Role};
use super::tape::GradientSink;
use crate::ops::channels;
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

    /// The bias, outside candle's graph.
    pub(super) fn bias_tensor(&self) -> Option<Tensor> {
        self.bias.as_ref().map(Var::as_detached_tensor)
    }
}

/// Puts the gradient by a bias into `sink`: dy summed over all axes but axis 1.
pub(super) fn bias_gradient(
    bias: Option<&Var>,
    dy: &Tensor,
    sink: &mut GradientSink<'_>,
) -> Result<()> {
    match bias {
        Some(bias) => sink.variable(bias, channels::bias_gradient(dy, bias.elem_count())?),
        None => Ok(()),
    }
}
