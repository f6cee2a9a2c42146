//! The dense layer.

use super::layer::{Layer, Named};
use super::pass::Pass;
use super::signal::Signal;
use super::tape::{Backward, GradientSink};
use super::variables::{Variables, bias_gradient};
use crate::ops::buffer::{Numbers, tensor};
use crate::ops::in_f32_on_cpu;
use crate::ops::matmul::Matrix;
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

    fn by_kernels(&self, x: &Signal, pass: &mut Pass<'_>) -> Result<Signal> {
        let (examples, inputs) = x.tensor().dims2()?;
        let weight = self.0.weight.as_detached_tensor();
        let outputs = weight.dims()[0];
        if weight.dims()[1] != inputs {
            candle::bail!(
                "{}: expected x of [N, {}], got {:?}",
                self.0.path,
                weight.dims()[1],
                x.tensor().dims()
            );
        }
        let values = x.tensor().contiguous()?;
        let y = {
            let (x, weight) = (Numbers::of(&values)?, Numbers::of(&weight)?);
            let weight = Matrix::new(&weight, (outputs, inputs)).transposed();
            let bias = self.0.bias.as_ref().map(|bias| Numbers::of(bias)).transpose()?;
            Matrix::new(&x, (examples, inputs)).times(weight).plus(bias.as_deref()).computed()
        };
        let y = tensor(y, (examples, outputs))?;
        Ok(pass.result(y, &[x], true, || DenseBackward {
            x: values,
            weight,
            variable: self.0.weight.clone(),
            bias: self.0.bias.clone(),
        }))
    }
}

impl Layer for Dense {
    fn forward(&self, x: &Signal, pass: &mut Pass<'_>) -> Result<Signal> {
        let y = if pass.uses_kernels(x)? {
            self.by_kernels(x, pass)?
        } else {
            let weight = self.0.weight_for(x, pass)?.t()?;
            let y = in_f32_on_cpu(x.tensor(), &weight, Tensor::matmul)?;
            Signal::new(self.0.add_bias(y, pass)?)
        };
        pass.observe(&self.0.path, y.tensor())?;
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
            return sink.variable(&variable, weight_gradient(&dy, &x)?);
        }
        let dx = input_gradient(&dy, &weight)?;
        // Earlier layers need only dx, and their norms leave threads idle that can compute dw meanwhile.
        sink.variable_later(&variable, move || weight_gradient(&dy, &x));
        sink.input(0, dx)
    }
}

/// `dyᵀ · x`.
fn weight_gradient(dy: &Tensor, x: &Tensor) -> Result<Tensor> {
    let ((examples, outputs), inputs) = (dy.dims2()?, x.dims()[1]);
    let (dy, x) = (Numbers::of(dy)?, Numbers::of(x)?);
    let dy = Matrix::new(&dy, (examples, outputs)).transposed();
    tensor(dy.times(Matrix::new(&x, (examples, inputs))).computed(), (outputs, inputs))
}

/// `dy · w`.
fn input_gradient(dy: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let ((examples, outputs), inputs) = (dy.dims2()?, weight.dims()[1]);
    let (dy, weight) = (Numbers::of(dy)?, Numbers::of(weight)?);
    let weight = Matrix::new(&weight, (outputs, inputs));
    tensor(Matrix::new(&dy, (examples, outputs)).times(weight).computed(), (examples, inputs))
}
