//! Elementwise layers: activations, and the sum of two branches.

use super::layer::{Layer, Named};
use super::pass::Pass;
use super::signal::Signal;
use super::tape::{Backward, GradientSink};
use crate::ops;
use candle::{Result, Tensor};

/// An elementwise activation.
#[derive(Clone, Debug)]
pub struct Activate {
    path: String,
    function: bn_core::Activation,
}

impl Activate {
    /// Applies `function`. An observer sees its results at `path`.
    pub fn new(path: impl Into<String>, function: bn_core::Activation) -> Self {
        Self { path: path.into(), function }
    }
}

impl Layer for Activate {
    fn forward(&self, x: &Signal, pass: &mut Pass<'_>) -> Result<Signal> {
        let function = self.function;
        if function == bn_core::Activation::None {
            return Ok(x.clone());
        }
        let y = if pass.uses_kernels(x)? {
            let y = ops::activation::apply(function, &x.tensor().contiguous()?)?;
            pass.result(y.clone(), &[x], false, || ActivateBackward { function, y })
        } else {
            Signal::new(function.apply(x.tensor())?)
        };
        pass.observe(&self.path, y.tensor())?;
        Ok(y)
    }

    fn visit<'a>(&'a self, _: &mut dyn FnMut(Named<'a>)) {}
}

#[derive(Debug)]
struct ActivateBackward {
    function: bn_core::Activation,
    y: Tensor,
}

impl Backward for ActivateBackward {
    fn backward(self: Box<Self>, dy: Tensor, sink: &mut GradientSink<'_>) -> Result<()> {
        sink.input(0, ops::activation::gradient(self.function, &self.y, &dy)?)
    }
}

/// `a + b`, for equal shapes.
pub(super) fn sum(a: &Signal, b: &Signal, pass: &mut Pass<'_>) -> Result<Signal> {
    if pass.uses_kernels(a)? {
        let y = ops::sum(&a.tensor().contiguous()?, &b.tensor().contiguous()?)?;
        Ok(pass.result(y, &[a, b], false, || SumBackward))
    } else {
        (a.tensor() + b.tensor()).map(Signal::new)
    }
}

/// Passes the gradient of a sum to both terms.
#[derive(Debug)]
struct SumBackward;

impl Backward for SumBackward {
    fn backward(self: Box<Self>, dy: Tensor, sink: &mut GradientSink<'_>) -> Result<()> {
        sink.input(0, dy.clone())?;
        sink.input(1, dy)
    }
}
