//! The layer's activation, and the regularizers of gamma and beta.

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use candle::Tensor;

use crate::error::{Result, require};

/// The function at the end of the layer: `y = activation(BN(x) + residual)`.
///
/// At 0 the gradient of `Relu` is 0 and that of `LeakyRelu` is its slope, as in TensorFlow and PyTorch.
/// (candle's own functions have 1 and (1 + slope) / 2.) NaN stays NaN.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(rename_all = "snake_case"))]
pub enum Activation {
    /// `y = v`.
    #[default]
    None,
    /// `max(v, 0)`.
    Relu,
    /// `1 / (1 + exp(−v))`.
    Sigmoid,
    /// `tanh(v)`.
    Tanh,
    /// `v` above 0, `slope · v` otherwise.
    LeakyRelu(f64),
}

impl Activation {
    pub(crate) fn check(self) -> Result<()> {
        match self {
            Activation::LeakyRelu(slope) => {
                require(slope.is_finite(), "leaky relu's slope", "a finite number", slope)
            }
            _ => Ok(()),
        }
    }

    /// Applies the function; gradients flow.
    pub fn apply(self, v: &Tensor) -> candle::Result<Tensor> {
        match self {
            Activation::None => Ok(v.clone()),
            // A select passes the gradient to one side only, so the value at 0 decides it there.
            Activation::Relu => {
                let zeros = v.zeros_like()?;
                v.le(&zeros)?.where_cond(&zeros, v)
            }
            Activation::LeakyRelu(slope) => v.le(&v.zeros_like()?)?.where_cond(&(v * slope)?, v),
            Activation::Sigmoid => candle_nn::ops::sigmoid(v),
            Activation::Tanh => v.tanh(),
        }
    }

    /// The gradient of the argument `v`, for the gradient `dy` of the result.
    pub(crate) fn gradient(self, v: &Tensor, dy: &Tensor) -> candle::Result<Tensor> {
        let slope = match self {
            Activation::None => return Ok(dy.clone()),
            Activation::Relu => {
                let zeros = v.zeros_like()?;
                return v.le(&zeros)?.where_cond(&zeros, dy);
            }
            Activation::LeakyRelu(slope) => {
                return v.le(&v.zeros_like()?)?.where_cond(&(dy * slope)?, dy);
            }
            Activation::Sigmoid => {
                let y = self.apply(v)?;
                (&y * y.affine(-1.0, 1.0)?)?
            }
            Activation::Tanh => self.apply(v)?.sqr()?.affine(-1.0, 1.0)?,
        };
        dy * slope
    }
}

/// A penalty on gamma or beta, for the loss.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(rename_all = "snake_case"))]
pub enum Regularizer {
    /// `scale · Σ|v|`.
    L1(f64),
    /// `scale · ½ Σv²`, TensorFlow's `l2_regularizer`.
    L2(f64),
}

impl Regularizer {
    pub(crate) fn check(self, name: &'static str) -> Result<()> {
        let (Regularizer::L1(scale) | Regularizer::L2(scale)) = self;
        let holds = scale.is_finite() && scale >= 0.0;
        require(holds, name, "a finite scale of 0 or more", scale)
    }

    /// The penalty, a scalar of `v`'s type; gradients flow to `v`.
    pub fn penalty(self, v: &Tensor) -> candle::Result<Tensor> {
        match self {
            Regularizer::L1(scale) => v.abs()?.sum_all()? * scale,
            Regularizer::L2(scale) => v.sqr()?.sum_all()? * (0.5 * scale),
        }
    }
}
