//! The update rules, generic over numbers and tensors. `mod.rs` has their formulas, and `cuda/optimizer.cu` has them for
//! GPUs.

use super::number::Number;
use super::{Adam, RmsProp, Sgd};
use std::fmt::Debug;

/// The inputs of an update of one variable, besides its gradient.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) learning_rate: f64,
    /// Weight decay of this variable; 0 if decay does not apply to it.
    pub(super) weight_decay: f64,
    /// Factor of the gradients from clipping.
    pub(super) scale: f64,
    /// Updates of this variable, including this one.
    pub(super) count: u64,
}

/// An elementwise update rule. Each element has `BUFFERS` state values, which start at 0.
pub(super) trait Rule<const BUFFERS: usize>: Debug + Send + Sync {
    /// Name of the rule in the saved state.
    const NAME: &'static str;
    /// Names of the buffers in the saved state.
    const BUFFER_NAMES: [&'static str; BUFFERS];
    /// Values shared by all elements of a variable.
    type Coefficients: Copy + Send + Sync;

    fn coefficients(&self, step: &Step) -> Self::Coefficients;

    /// The updated weight and state.
    fn update<T: Number>(
        of: &Self::Coefficients,
        weight: T,
        gradient: T,
        buffers: [T; BUFFERS],
    ) -> (T, [T; BUFFERS]);
}

/// The scaled gradient plus the weight decay.
#[inline(always)]
fn decayed<T: Number>(step: &Step, weight: &T, gradient: T) -> T {
    gradient.times(step.scale) + weight.clone().times(step.weight_decay)
}

impl Rule<1> for Sgd {
    const NAME: &'static str = "sgd";
    const BUFFER_NAMES: [&'static str; 1] = ["velocity"];
    type Coefficients = (Self, Step);

    fn coefficients(&self, step: &Step) -> Self::Coefficients {
        (*self, *step)
    }

    #[inline(always)]
    fn update<T: Number>(
        (sgd, step): &Self::Coefficients,
        weight: T,
        gradient: T,
        [velocity]: [T; 1],
    ) -> (T, [T; 1]) {
        let gradient = decayed(step, &weight, gradient);
        let velocity = velocity.times(sgd.momentum) + gradient.clone();
        let direction = if sgd.nesterov {
            gradient + velocity.clone().times(sgd.momentum)
        } else {
            velocity.clone()
        };
        (weight - direction.times(step.learning_rate), [velocity])
    }
}

/// Coefficients of an Adam update.
#[derive(Clone, Copy)]
pub(super) struct AdamStep {
    adam: Adam,
    /// Includes weight decay that is added to the gradient.
    pub(super) step: Step,
    /// Factor of the weight from decoupled weight decay.
    pub(super) kept: f64,
    /// Learning rate divided by the first bias correction.
    pub(super) rate: f64,
    /// Inverse square root of the second bias correction.
    pub(super) inv_root_correction: f64,
}

impl AdamStep {
    fn new(adam: Adam, step: Step, kept: f64) -> Self {
        let correction = |beta: f64| 1.0 - beta.powf(step.count as f64);
        Self {
            adam,
            step,
            kept,
            rate: step.learning_rate / correction(adam.beta1),
            inv_root_correction: correction(adam.beta2).sqrt().recip(),
        }
    }

    #[inline(always)]
    fn update<T: Number>(&self, weight: T, gradient: T, [mean, square]: [T; 2]) -> (T, [T; 2]) {
        let Adam { beta1, beta2, epsilon } = self.adam;
        let gradient = decayed(&self.step, &weight, gradient);
        let mean = mean.times(beta1) + gradient.clone().times(1.0 - beta1);
        let square = square.times(beta2) + (gradient.clone() * gradient).times(1.0 - beta2);
        let root = square.clone().root().times(self.inv_root_correction).plus(epsilon);
        let weight = weight.times(self.kept) - mean.clone().times(self.rate) / root;
        (weight, [mean, square])
    }
}

impl Rule<2> for Adam {
    const NAME: &'static str = "adam";
    const BUFFER_NAMES: [&'static str; 2] = ["mean", "square"];
    type Coefficients = AdamStep;

    fn coefficients(&self, step: &Step) -> AdamStep {
        AdamStep::new(*self, *step, 1.0)
    }

    #[inline(always)]
    fn update<T: Number>(of: &AdamStep, weight: T, gradient: T, buffers: [T; 2]) -> (T, [T; 2]) {
        of.update(weight, gradient, buffers)
    }
}

/// AdamW: Adam with decoupled weight decay.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decoupled(pub(super) Adam);

impl Rule<2> for Decoupled {
    const NAME: &'static str = "adamw";
    const BUFFER_NAMES: [&'static str; 2] = Adam::BUFFER_NAMES;
    type Coefficients = AdamStep;

    fn coefficients(&self, step: &Step) -> AdamStep {
        let kept = 1.0 - step.learning_rate * step.weight_decay;
        AdamStep::new(self.0, Step { weight_decay: 0.0, ..*step }, kept)
    }

    #[inline(always)]
    fn update<T: Number>(of: &AdamStep, weight: T, gradient: T, buffers: [T; 2]) -> (T, [T; 2]) {
        of.update(weight, gradient, buffers)
    }
}

impl Rule<2> for RmsProp {
    const NAME: &'static str = "rmsprop";
    const BUFFER_NAMES: [&'static str; 2] = ["square", "velocity"];
    type Coefficients = (Self, Step);

    fn coefficients(&self, step: &Step) -> Self::Coefficients {
        (*self, *step)
    }

    #[inline(always)]
    fn update<T: Number>(
        (rms_prop, step): &Self::Coefficients,
        weight: T,
        gradient: T,
        [square, velocity]: [T; 2],
    ) -> (T, [T; 2]) {
        let RmsProp { decay, epsilon, momentum } = *rms_prop;
        let gradient = decayed(step, &weight, gradient);
        let square = square.times(decay) + (gradient.clone() * gradient.clone()).times(1.0 - decay);
        let scaled = gradient / square.clone().root().plus(epsilon);
        let velocity = velocity.times(momentum) + scaled;
        (weight - velocity.clone().times(step.learning_rate), [square, velocity])
    }
}
