//! Optimizers, which update weights by gradients and whose state can be saved.
//!
//! A rule (`rules`) is generic over numbers and tensors; `elementwise` applies it to all variables of a network, by
//! `in_place` on the CPU and by `cuda` on an NVIDIA GPU, and `clip` bounds the norm of the gradients. An optimizer's state is saved as a [`State`], so a resumed run takes the same steps
//! bitwise.

mod average;
mod clip;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(not(feature = "cuda"))]
#[path = "cuda/absent.rs"]
mod cuda;
mod elementwise;
mod in_place;
mod kinds;
mod number;
mod rules;

pub use average::{AverageSettings, AveragedStatistics, WeightAverage};
pub use clip::gradient_norm;
pub use kinds::{averages, learning_rate, optimizers};

use crate::model::{Gradients, Parameter};
use crate::state::{State, StateError};
use candle::{Result, Tensor};
use elementwise::Elementwise;
use std::fmt::Debug;

/// Updates the variables of a network by their gradients.
pub trait Optimizer: Debug + Send {
    /// Updates all variables once. A variable without a gradient keeps its value and state.
    ///
    /// # Errors
    /// Errors of candle.
    fn step(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<()>;

    /// As [`Optimizer::step`] if `watch`, a scalar in f64, is finite; otherwise changes nothing. By default this waits for
    /// the device that computes `watch`.
    ///
    /// # Errors
    /// Errors of candle.
    fn step_while_finite(
        &mut self,
        gradients: &Gradients,
        learning_rate: f64,
        watch: &Tensor,
    ) -> Result<()> {
        if watch.to_scalar::<f64>()?.is_finite() {
            self.step(gradients, learning_rate)
        } else {
            Ok(())
        }
    }

    /// Everything that the next update depends on, except the variables.
    ///
    /// # Errors
    /// [`StateError::Tensor`].
    fn state(&self) -> std::result::Result<State, StateError>;

    /// Restores the result of [`Optimizer::state`]. Do not use the optimizer after an error.
    ///
    /// # Errors
    /// [`StateError`] with the path of the value that is missing or does not fit.
    fn load(&mut self, state: State) -> std::result::Result<(), StateError>;
}

/// The settings of `[optimizer]`, which build an optimizer for given variables. Each step receives its learning rate.
pub trait BuildOptimizer: Debug + Send + Sync {
    /// Builds an optimizer of those `parameters` that are trained, sorted by path.
    ///
    /// # Errors
    /// Errors of candle, for example too little memory on the device.
    fn build(&self, parameters: Vec<Parameter>) -> Result<Box<dyn Optimizer>>;
}

/// The settings of a built-in optimizer.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizerSettings {
    /// The rule of an update.
    pub kind: OptimizerKind,
    /// Weight decay: its product with the weight is added to the gradient (AdamW: subtracted from the weight). Default 0.
    pub weight_decay: f64,
    /// Whether weight decay also applies to gamma, beta and biases. Default false.
    pub decay_norm_and_bias: bool,
    /// Maximum global norm of the gradients; larger ones are scaled down to it. Default none.
    pub clip_norm: Option<f64>,
}

/// The rule of an update.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum OptimizerKind {
    /// Gradient descent with momentum.
    Sgd(Sgd),
    /// Adam with weight decay added to the gradient.
    Adam(Adam),
    /// Adam with decoupled weight decay.
    AdamW(Adam),
    /// RMSProp with optional momentum.
    RmsProp(RmsProp),
}

/// `velocity = momentum * velocity + gradient`, `weight -= learning_rate * velocity`.
///
/// Equals `PyTorch`'s `SGD` without dampening, and TensorFlow's `MomentumOptimizer`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Weight of the old velocity, `0 <= momentum < 1`; 0 is plain gradient descent. Default 0.9.
    pub momentum: f64,
    /// Nesterov momentum: `weight -= learning_rate * (gradient + momentum * velocity)`. Default false.
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
/// Equals `PyTorch`'s `RMSprop`. TensorFlow 1 adds epsilon under the root and initializes the squares to 1.
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
