//! The convolution layer.

use super::layer::{Layer, Named};
use super::pass::Pass;
use super::signal::Signal;
use super::tape::{Backward, GradientSink};
use super::variables::{Variables, bias_gradient};
use crate::ops::buffer::{Numbers, tensor};
use crate::ops::channels::add_bias;
use crate::ops::conv::{self, ConvShape, conv_shape};
use crate::ops::{conv2d, in_f32_on_cpu};
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

    fn by_kernels(&self, x: &Signal, pass: &mut Pass<'_>) -> Result<Signal> {
        let Variables { weight: variable, bias, .. } = &self.variables;
        let weight = variable.as_detached_tensor();
        let dims = (x.tensor().dims4()?, weight.dims4()?);
        let shape = conv_shape(dims.0, dims.1, self.padding, self.stride)?;
        let values = x.tensor().contiguous()?;
        let mut y = conv::forward(&shape, &Numbers::of(&values)?, &Numbers::of(&weight)?);
        if let Some(bias) = bias {
            add_bias(&mut y, &Numbers::of(bias)?, shape.images);
        }
        let y = tensor(y, shape.output_dims())?;
        Ok(pass.result(y, &[x], true, || ConvolutionBackward {
            shape,
            x: values,
            weight,
            variable: variable.clone(),
            bias: bias.clone(),
        }))
    }
}

impl Layer for Convolution {
    fn forward(&self, x: &Signal, pass: &mut Pass<'_>) -> Result<Signal> {
        let y = if pass.uses_kernels(x)? {
            self.by_kernels(x, pass)?
        } else {
            let weight = self.variables.weight_for(x, pass)?;
            let convolve = |x: &Tensor, w: &Tensor| conv2d(x, w, self.padding, self.stride);
            let y = in_f32_on_cpu(x.tensor(), &weight, convolve)?;
            Signal::new(self.variables.add_bias(y, pass)?)
        };
        pass.observe(&self.variables.path, y.tensor())?;
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
        let numbers = Numbers::of(&dy)?;
        let dw = conv::weight_gradient(&shape, &Numbers::of(&x)?, &numbers);
        sink.variable(&variable, tensor(dw, weight.dims())?)?;
        bias_gradient(bias.as_ref(), &dy, sink)?;
        if !sink.wants(0) {
            return Ok(());
        }
        let dx = conv::input_gradient(&shape, &numbers, &Numbers::of(&weight)?);
        sink.input(0, tensor(dx, x.dims())?)
    }
}
