//! Elementwise operations: activations, the sum of two branches, and a change of type.

use super::layer::{Layer, Named};
use super::pass::Pass;
use super::signal::Signal;
use super::tape::{Backward, GradientSink};
use crate::ops;
use candle::{DType, Result, Tensor};

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
        let y = ops::activation::apply(function, &x.tensor().contiguous()?)?;
        let y = pass.result(y.clone(), &[x], false, || ActivateBackward { function, y });
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
    let y = ops::sum(a.tensor(), b.tensor())?;
    Ok(pass.result(y, &[a, b], false, || SumBackward))
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

/// `x` in another type. Its gradient has the type of x.
pub(super) fn cast(x: &Signal, dtype: DType, pass: &mut Pass<'_>) -> Result<Signal> {
    let from = x.tensor().dtype();
    if from == dtype {
        return Ok(x.clone());
    }
    Ok(pass.result(x.tensor().to_dtype(dtype)?, &[x], false, || CastBackward(from)))
}

#[derive(Debug)]
struct CastBackward(DType);

impl Backward for CastBackward {
    fn backward(self: Box<Self>, dy: Tensor, sink: &mut GradientSink<'_>) -> Result<()> {
        sink.input(0, dy.to_dtype(self.0)?)
    }
}
