//! Dense layers and convolutions.
//!
//! Weights start uniform in `±1/√fan_in`, biases too.

use super::layer::{Backward, Gradients, Layer, Wanted};
use super::norm::Mode;
use crate::ops::buffer::{Numbers, is_plain, tensor};
use crate::ops::conv::{self, conv_shape};
use crate::ops::matmul::Matrix;
use crate::ops::{channel_sums, conv2d};
use candle::{Result, Shape, Tensor, Var};
use candle_nn::{Init, VarBuilder};

/// Weights, output first, and a bias where one is wanted.
#[derive(Debug)]
pub(super) struct Variables {
    name: String,
    weight: Var,
    bias: Option<Var>,
}

impl Variables {
    fn new(shape: impl Into<Shape>, bias: bool, builder: &VarBuilder<'_>) -> Result<Self> {
        let shape = shape.into();
        let outputs = shape.dims()[0];
        let bound = ((shape.elem_count() / outputs) as f64).sqrt().recip();
        let init = Init::Uniform { lo: -bound, up: bound };
        let get =
            |shape: Shape, name| Var::from_tensor(&builder.get_with_hints(shape, name, init)?);
        Ok(Self {
            name: builder.prefix(),
            weight: get(shape, "weight")?,
            bias: bias.then(|| get(outputs.into(), "bias")).transpose()?,
        })
    }

    fn trainable(&self) -> Vec<(String, Var)> {
        let named = |name: &str, var: &Var| (format!("{}.{name}", self.name), var.clone());
        let weight = named("weight", &self.weight);
        let bias = self.bias.iter().map(|bias| named("bias", bias));
        std::iter::once(weight).chain(bias).collect()
    }

    /// The weight for a graph; where nothing is learned, there need be none.
    fn weight(&self, mode: Mode) -> Tensor {
        match mode {
            Mode::Train => self.weight.as_tensor().clone(),
            Mode::Moving | Mode::Batch => self.weight.as_detached_tensor(),
        }
    }

    /// y plus the bias, along axis 1.
    fn with_bias(&self, y: Tensor) -> Result<Tensor> {
        let Some(bias) = &self.bias else {
            return Ok(y);
        };
        let mut dims = vec![1; y.rank()];
        dims[1] = bias.elem_count();
        y.broadcast_add(&bias.reshape(dims)?)
    }

    /// Adds the gradient of the bias: dy summed over all but axis 1.
    fn add_bias_gradient(&self, dy: &Tensor, gradients: &mut Gradients) -> Result<()> {
        let Some(bias) = &self.bias else {
            return Ok(());
        };
        let sums = channel_sums(&Numbers::of(dy)?, bias.elem_count(), dy.dims()[0]);
        gradients.add(bias, tensor(sums, bias.dims())?)
    }
}

/// `y = x · wᵀ + bias`, for x of `[N, inputs]`.
#[derive(Debug)]
pub(super) struct Dense(Variables);

impl Dense {
    pub(super) fn build(
        inputs: usize,
        outputs: usize,
        bias: bool,
        builder: &VarBuilder<'_>,
    ) -> Result<Self> {
        Ok(Self(Variables::new((outputs, inputs), bias, builder)?))
    }
}

impl Layer for Dense {
    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        self.0.with_bias(x.matmul(&self.0.weight(mode).t()?)?)
    }

    fn forward_saved(&self, x: &Tensor) -> Result<(Tensor, Backward<'_>)> {
        let weight = self.0.weight.as_detached_tensor();
        let (examples, inputs) = x.dims2()?;
        let outputs = weight.dims()[0];
        let x = x.contiguous()?;
        let y = {
            let (x, weight) = (Numbers::of(&x)?, Numbers::of(&weight)?);
            let weight = Matrix::new(&weight, (outputs, inputs)).transposed();
            let bias = self.0.bias.as_ref().map(|bias| Numbers::of(bias)).transpose()?;
            let bias = bias.as_deref();
            Matrix::new(&x, (examples, inputs)).times(weight).plus(bias).computed()
        };
        let y = tensor(y, (examples, outputs))?;
        let backward = move |dy: Tensor, wanted: Wanted, gradients: &mut Gradients| {
            self.0.add_bias_gradient(&dy, gradients)?;
            let of_weight = {
                let dy = dy.clone();
                move || {
                    let (dy, x) = (Numbers::of(&dy)?, Numbers::of(&x)?);
                    let dy = Matrix::new(&dy, (examples, outputs)).transposed();
                    let dw = dy.times(Matrix::new(&x, (examples, inputs))).computed();
                    tensor(dw, (outputs, inputs))
                }
            };
            if wanted == Wanted::Variables {
                gradients.add(&self.0.weight, of_weight()?)?;
                return Ok(None);
            }
            let (dy, weight) = (Numbers::of(&dy)?, Numbers::of(&weight)?);
            let weight = Matrix::new(&weight, (outputs, inputs));
            let dx = Matrix::new(&dy, (examples, outputs)).times(weight).computed();
            // The layers before this one wait for dx alone, and their norms leave threads without work.
            gradients.add_later(&self.0.weight, of_weight)?;
            tensor(dx, (examples, inputs)).map(Some)
        };
        Ok((y, Box::new(backward)))
    }

    fn trainable(&self) -> Vec<(String, Var)> {
        self.0.trainable()
    }
}

/// A convolution of `[N, inputs, height, width]` that keeps the image's size but for its stride.
#[derive(Debug)]
pub(super) struct Convolution {
    variables: Variables,
    padding: usize,
    stride: usize,
}

/// Sizes of a [`Convolution`].
#[derive(Clone, Copy, Debug)]
pub(super) struct ConvolutionSizes {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// Rows and columns of the kernel; odd.
    pub(super) kernel: usize,
    pub(super) stride: usize,
}

impl Convolution {
    pub(super) fn build(
        sizes: ConvolutionSizes,
        bias: bool,
        builder: &VarBuilder<'_>,
    ) -> Result<Self> {
        let ConvolutionSizes { inputs, outputs, kernel, stride } = sizes;
        Ok(Self {
            variables: Variables::new((outputs, inputs, kernel, kernel), bias, builder)?,
            padding: kernel / 2,
            stride,
        })
    }
}

impl Layer for Convolution {
    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let weight = self.variables.weight(mode);
        let y = conv2d(x, &weight, self.padding, self.stride)?;
        self.variables.with_bias(y)
    }

    fn forward_saved(&self, x: &Tensor) -> Result<(Tensor, Backward<'_>)> {
        let weight = self.variables.weight.as_detached_tensor();
        debug_assert!(is_plain(x));
        let shape = conv_shape(x.dims4()?, weight.dims4()?, self.padding, self.stride)?;
        let x = x.contiguous()?;
        let y = conv::forward(&shape, &Numbers::of(&x)?, &Numbers::of(&weight)?);
        let y = tensor(y, shape.output_dims())?;
        let y = self.variables.with_bias(y)?.detach();
        let backward = move |dy: Tensor, wanted: Wanted, gradients: &mut Gradients| {
            let dw = conv::weight_gradient(&shape, &Numbers::of(&x)?, &Numbers::of(&dy)?);
            gradients.add(&self.variables.weight, tensor(dw, weight.dims())?)?;
            self.variables.add_bias_gradient(&dy, gradients)?;
            if wanted == Wanted::Variables {
                return Ok(None);
            }
            let dx = conv::input_gradient(&shape, &Numbers::of(&dy)?, &Numbers::of(&weight)?);
            Ok(Some(tensor(dx, x.dims())?))
        };
        Ok((y, Box::new(backward)))
    }

    fn trainable(&self) -> Vec<(String, Var)> {
        self.variables.trainable()
    }
}
