//! What hidden layers share: an affine map, then norm and activation in the order of the experiment.
//!
//! Weights start uniform in `±1/√fan_in`, biases too. There is no bias where a norm that learns an offset follows: the
//! norm would subtract it again.

use super::activation;
use super::norm::{Mode, Norm};
use crate::experiment::settings::{Activation, NormSettings, Position};
use candle::{Module, Result, Shape, Tensor, Var};
use candle_nn::{Init, VarBuilder};

/// How hidden layers are finished.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hidden<'a> {
    pub(super) norm: Option<&'a NormSettings>,
    pub(super) activation: Activation,
}

impl Hidden<'_> {
    /// Whether the affine map needs a bias of its own.
    pub(super) fn needs_bias(&self) -> bool {
        !self
            .norm
            .is_some_and(|norm| norm.position == Position::Before && norm.layer.center)
    }
}

/// An affine map with what follows it.
#[derive(Debug)]
pub(super) struct Block<L> {
    affine: L,
    variables: Vec<(String, Var)>,
    norm: Option<(Position, Norm)>,
    activation: Activation,
}

impl<L: Module> Block<L> {
    /// `affine` with its `variables`, finished as `hidden` says; the norm's variables go under `norm` of `builder`.
    pub(super) fn build(
        affine: L,
        variables: Vec<(String, Var)>,
        channels: usize,
        hidden: Hidden<'_>,
        builder: &VarBuilder<'_>,
    ) -> Result<Self> {
        let norm = |settings: &NormSettings| {
            let norm = Norm::build(&settings.layer, channels, builder.pp("norm"))?;
            Ok::<_, candle::Error>((settings.position, norm))
        };
        let norm = hidden.norm.map(norm).transpose()?;
        Ok(Self {
            affine,
            variables,
            norm,
            activation: hidden.activation,
        })
    }

    pub(super) fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let x = self.affine.forward(x)?;
        match &self.norm {
            None => activation::apply(self.activation, &x),
            Some((Position::Before, norm)) => {
                activation::apply(self.activation, &norm.forward(&x, mode)?)
            }
            Some((Position::After, norm)) => {
                norm.forward(&activation::apply(self.activation, &x)?, mode)
            }
        }
    }

    pub(super) fn trainable(&self) -> impl Iterator<Item = (String, Var)> + '_ {
        let norm = self.norm.iter().flat_map(|(_, norm)| norm.trainable());
        self.variables.iter().cloned().chain(norm)
    }
}

/// Weight (of `shape`, output first) and, where wanted, bias, each with its name.
pub(super) struct Affine {
    pub(super) weight: Tensor,
    pub(super) bias: Option<Tensor>,
    pub(super) variables: Vec<(String, Var)>,
}

/// Makes the variables of an affine map under `builder`.
pub(super) fn affine(
    shape: impl Into<Shape>,
    bias: bool,
    builder: &VarBuilder<'_>,
) -> Result<Affine> {
    let shape = shape.into();
    let outputs = shape.dims()[0];
    let bound = ((shape.elem_count() / outputs) as f64).sqrt().recip();
    let init = Init::Uniform {
        lo: -bound,
        up: bound,
    };
    let mut variables = Vec::new();
    let mut get = |shape: Shape, name: &str| {
        let tensor = builder.get_with_hints(shape, name, init)?;
        variables.push((
            format!("{}.{name}", builder.prefix()),
            Var::from_tensor(&tensor)?,
        ));
        Ok::<Tensor, candle::Error>(tensor)
    };
    let weight = get(shape, "weight")?;
    let bias = bias.then(|| get(outputs.into(), "bias")).transpose()?;
    Ok(Affine {
        weight,
        bias,
        variables,
    })
}

/// A dense layer and its variables.
pub(super) fn dense(
    inputs: usize,
    outputs: usize,
    bias: bool,
    builder: &VarBuilder<'_>,
) -> Result<(candle_nn::Linear, Vec<(String, Var)>)> {
    let Affine {
        weight,
        bias,
        variables,
    } = affine((outputs, inputs), bias, builder)?;
    Ok((candle_nn::Linear::new(weight, bias), variables))
}
