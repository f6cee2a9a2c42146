//! Optimizers: gradients into new weights, with state that can be saved.
//!
//! A rule (`rules`) is written once, over plain numbers and over tensors alike; `elementwise` applies it to all
//! variables of a network, `clip` bounds the norm of the gradients. What an optimizer remembers goes into a
//! [`State`], so a run that is continued takes the same steps, bit by bit.

mod average;
mod clip;
mod elementwise;
mod kinds;
mod number;
mod rules;

pub use average::{AverageSettings, AveragedStatistics, WeightAverage};
pub use clip::gradient_norm;
pub use kinds::{averages, learning_rate, optimizers};

use crate::model::{Gradients, Parameter};
use crate::state::{State, StateError};
use candle::Result;
use elementwise::Elementwise;
use std::fmt::Debug;

/// Moves the variables of a network by their gradients.
pub trait Optimizer: Debug + Send {
    /// One update. A variable without a gradient keeps its value, and what is remembered of it.
    ///
    /// # Errors
    /// What candle's tensor operations report.
    fn step(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<()>;

    /// Everything that the next update depends on, apart from the variables themselves.
    ///
    /// # Errors
    /// [`StateError::Tensor`].
    fn state(&self) -> std::result::Result<State, StateError>;

    /// Goes on from what [`Optimizer::state`] returned. After an error the optimizer must not be used.
    ///
    /// # Errors
    /// [`StateError`] with the path of what is missing or does not fit.
    fn load(&mut self, state: State) -> std::result::Result<(), StateError>;
}

/// What `[optimizer]` describes: an optimizer before it knows its variables. The learning rate comes with each step.
pub trait BuildOptimizer: Debug + Send + Sync {
    /// An optimizer of those `parameters` that may be changed, in the order of their paths.
    ///
    /// # Errors
    /// What candle reports, for instance too little memory on the device.
    fn build(&self, parameters: Vec<Parameter>) -> Result<Box<dyn Optimizer>>;
}

/// An optimizer that this crate brings.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizerSettings {
    /// The rule of an update.
    pub kind: OptimizerKind,
    /// Weight decay: how much of each weight is added to its gradient (AdamW: taken from the weight). Default 0.
    pub weight_decay: f64,
    /// Whether weight decay also applies to gamma, beta and biases. Default false.
    pub decay_norm_and_bias: bool,
    /// Largest norm of all gradients together; longer ones are scaled down to it. Default none.
    pub clip_norm: Option<f64>,
}

/// The rule of an update.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum OptimizerKind {
    /// Gradient descent with momentum.
    Sgd(Sgd),
    /// Adam with weight decay as part of the gradient.
    Adam(Adam),
    /// Adam with weight decay apart from the gradient.
    AdamW(Adam),
    /// RMSProp, with momentum where wanted.
    RmsProp(RmsProp),
}

/// `velocity = momentum * velocity + gradient`, `weight -= learning_rate * velocity`.
///
/// As `PyTorch`'s `SGD` without dampening, and TensorFlow's `MomentumOptimizer`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Weight of the old velocity, `0 <= momentum < 1`; 0 is plain gradient descent. Default 0.9.
    pub momentum: f64,
    /// Look one step ahead along the velocity: `weight -= learning_rate * (gradient + momentum * velocity)`. Default
    /// false.
    pub nesterov: bool,
}

/// `m = beta1 * m + (1 - beta1) * gradient`, `v = beta2 * v + (1 - beta2) * gradient²`,
/// `weight -= learning_rate * m̂ / (sqrt(v̂) + epsilon)`, with m̂ and v̂ divided by `1 - beta^t`.
///
/// Source: Kingma & Ba 2015, Algorithm 1; Loshchilov & Hutter 2019 for AdamW.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Weight of the old mean of gradients, `0 <= beta1 < 1`. Default 0.9.
    pub beta1: f64,
    /// Weight of the old mean of squared gradients, `0 <= beta2 < 1`. Default 0.999.
    pub beta2: f64,
    /// Added to the root, above 0. Default 1e-8.
    pub epsilon: f64,
}

/// `square = decay * square + (1 - decay) * gradient²`, `velocity = momentum * velocity + gradient / (sqrt(square) +
/// epsilon)`, `weight -= learning_rate * velocity`.
///
/// As `PyTorch`'s `RMSprop`. TensorFlow's old one adds epsilon under the root and starts the squares at 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsProp {
    /// Weight of the old mean of squared gradients, `0 <= decay < 1`. Default 0.99.
    pub decay: f64,
    /// Added to the root, above 0. Default 1e-8.
    pub epsilon: f64,
    /// Weight of the old velocity, `0 <= momentum < 1`. Default 0.9; `PyTorch`'s is 0.
    pub momentum: f64,
}

impl Default for Sgd {
    fn default() -> Self {
        Self { momentum: 0.9, nesterov: false }
    }
}

impl Default for Adam {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}

impl Default for RmsProp {
    fn default() -> Self {
        Self { decay: 0.99, epsilon: 1e-8, momentum: 0.9 }
    }
}

impl From<OptimizerKind> for OptimizerSettings {
    fn from(kind: OptimizerKind) -> Self {
        Self { kind, weight_decay: 0.0, decay_norm_and_bias: false, clip_norm: None }
    }
}

impl BuildOptimizer for OptimizerSettings {
    fn build(&self, parameters: Vec<Parameter>) -> Result<Box<dyn Optimizer>> {
        Ok(match self.kind {
            OptimizerKind::Sgd(sgd) => Box::new(Elementwise::new(self, sgd, parameters)?),
            OptimizerKind::Adam(adam) => Box::new(Elementwise::new(self, adam, parameters)?),
            OptimizerKind::AdamW(adam) => {
                Box::new(Elementwise::new(self, rules::Decoupled(adam), parameters)?)
            }
            OptimizerKind::RmsProp(rms_prop) => {
                Box::new(Elementwise::new(self, rms_prop, parameters)?)
            }
        })
    }
}

#[cfg(test)]
mod tests;
