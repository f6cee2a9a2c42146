//! The convolution layer.

use super::layer::{Layer, Named};
use super::pass::Pass;
use super::signal::Signal;
use super::tape::{Backward, GradientSink};
use super::variables::{Variables, bias_gradient};
use crate::ops::conv::{self, ConvShape, conv_shape};
use candle::{Result, Tensor, Var};
use candle_nn::VarBuilder;

/// A convolution of `[N, inputs, height, width]` with same padding.
#[derive(Debug)]
pub struct Convolution {
    variables: Variables,
    padding: usize,
    stride: usize,
}

/// Sizes of a [`Convolution`].
#[derive(Clone, Copy, Debug)]
pub struct ConvolutionSizes {
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Height and width of the kernel; odd.
    pub kernel: usize,
    /// Stride in both directions, at least 1.
    pub stride: usize,
}

impl Convolution {
    /// A layer whose variables `weight`, `[outputs, inputs, kernel, kernel]`, and `bias`, `[outputs]`, are under
    /// `builder`'s prefix. Both start uniform in `±1/√(inputs · kernel²)`.
    ///
    /// # Errors
    /// Errors of the builder.
    pub fn build(sizes: ConvolutionSizes, bias: bool, builder: &VarBuilder<'_>) -> Result<Self> {
        let ConvolutionSizes { inputs, outputs, kernel, stride } = sizes;
        Ok(Self {
            variables: Variables::new((outputs, inputs, kernel, kernel), bias, builder)?,
            padding: kernel / 2,
            stride,
        })
    }
}

impl Layer for Convolution {
    fn forward(&self, x: &Signal, pass: &mut Pass<'_>) -> Result<Signal> {
        let Variables { path, weight: variable, bias } = &self.variables;
        let values = x.tensor().contiguous()?;
        let weight = variable.as_detached_tensor().to_dtype(values.dtype())?;
        let shape = conv_shape(values.dims4()?, weight.dims4()?, self.padding, self.stride)?;
        let y = conv::convolved(&shape, &values, &weight, self.variables.bias_tensor().as_ref())?;
        let y = pass.result(y, &[x], true, || ConvolutionBackward {
            shape,
            x: values,
            weight,
            variable: variable.clone(),
            bias: bias.clone(),
        });
        pass.observe(path, y.tensor())?;
        Ok(y)
    }

    fn visit<'a>(&'a self, visitor: &mut dyn FnMut(Named<'a>)) {
        self.variables.visit(visitor);
    }
}

#[derive(Debug)]
struct ConvolutionBackward {
    shape: ConvShape,
    x: Tensor,
    weight: Tensor,
    variable: Var,
    bias: Option<Var>,
}

impl Backward for ConvolutionBackward {
    fn backward(self: Box<Self>, dy: Tensor, sink: &mut GradientSink<'_>) -> Result<()> {
        let Self { shape, x, weight, variable, bias } = *self;
        sink.variable(&variable, conv::gradient_by_weights(&shape, &x, &dy)?)?;
        bias_gradient(bias.as_ref(), &dy, sink)?;
        if !sink.wants(0) {
            return Ok(());
        }
        sink.input(0, conv::gradient_by_input(&shape, &dy, &weight)?)
    }
}
