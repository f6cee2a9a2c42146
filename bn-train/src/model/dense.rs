//! The dense layer.

use super::layer::{Layer, Named};
use super::pass::Pass;
use super::signal::Signal;
use super::tape::{Backward, GradientSink};
use super::variables::{Variables, bias_gradient};
use crate::ops::buffer::is_plain;
use crate::ops::linear;
use candle::{Result, Tensor, Var};
use candle_nn::VarBuilder;

/// `y = x · wᵀ + bias`, for x of `[N, inputs]`.
#[derive(Debug)]
pub struct Dense(Variables);

impl Dense {
    /// A layer whose variables `weight`, `[outputs, inputs]`, and `bias`, `[outputs]`, are under `builder`'s prefix.
    /// Both start uniform in `±1/√inputs`.
    ///
    /// # Errors
    /// Errors of the builder.
    pub fn build(
        inputs: usize,
        outputs: usize,
        bias: bool,
        builder: &VarBuilder<'_>,
    ) -> Result<Self> {
        Ok(Self(Variables::new((outputs, inputs), bias, builder)?))
    }
}

impl Layer for Dense {
    fn forward(&self, x: &Signal, pass: &mut Pass<'_>) -> Result<Signal> {
        let Variables { path, weight: variable, bias } = &self.0;
        let values = x.tensor().contiguous()?;
        let weight = variable.as_detached_tensor().to_dtype(values.dtype())?;
        if values.dims2()?.1 != weight.dims()[1] {
            let inputs = weight.dims()[1];
            candle::bail!("{path}: expected x of [N, {inputs}], got {:?}", values.dims());
        }
        let y = linear::forward(&values, &weight, self.0.bias_tensor().as_ref())?;
        let y = pass.result(y, &[x], true, || DenseBackward {
            x: values,
            weight,
            variable: variable.clone(),
            bias: bias.clone(),
        });
        pass.observe(path, y.tensor())?;
        Ok(y)
    }

    fn visit<'a>(&'a self, visitor: &mut dyn FnMut(Named<'a>)) {
        self.0.visit(visitor);
    }
}

#[derive(Debug)]
struct DenseBackward {
    x: Tensor,
    weight: Tensor,
    variable: Var,
    bias: Option<Var>,
}

impl Backward for DenseBackward {
    fn backward(self: Box<Self>, dy: Tensor, sink: &mut GradientSink<'_>) -> Result<()> {
        let Self { x, weight, variable, bias } = *self;
        bias_gradient(bias.as_ref(), &dy, sink)?;
        if !sink.wants(0) {
            return sink.variable(&variable, linear::weight_gradient(&dy, &x)?);
        }
        let dx = linear::input_gradient(&dy, &weight)?;
        if is_plain(&dy) {
            // Earlier layers need only dx, and their norms leave threads idle that can compute dw meanwhile.
            sink.variable_later(&variable, move || linear::weight_gradient(&dy, &x));
        } else {
            sink.variable(&variable, linear::weight_gradient(&dy, &x)?)?;
        }
        sink.input(0, dx)
    }
}
