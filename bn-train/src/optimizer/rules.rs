//! The rules of an update, each written once for numbers and tensors. `mod.rs` has their formulas.

use super::number::Number;
use super::{Adam, RmsProp, Sgd};
use std::fmt::Debug;

/// What an update of one variable is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) learning_rate: f64,
    /// Of this variable; 0 where decay does not apply to it.
    pub(super) weight_decay: f64,
    /// What gradients are multiplied by first, for their norm's sake.
    pub(super) scale: f64,
    /// Updates of this variable, this one included.
    pub(super) count: u64,
}

/// How one element moves. It has `BUFFERS` numbers of memory, which start at 0.
pub(super) trait Rule<const BUFFERS: usize>: Debug + Send + Sync {
    /// As the saved state calls the rule.
    const NAME: &'static str;
    /// As the saved state calls the memory.
    const BUFFER_NAMES: [&'static str; BUFFERS];
    /// What is the same for all elements of a variable.
    type Coefficients: Copy + Send + Sync;

    fn coefficients(&self, step: &Step) -> Self::Coefficients;

    /// The weight and the memory after an update.
    fn update<T: Number>(
        of: &Self::Coefficients,
        weight: T,
        gradient: T,
        buffers: [T; BUFFERS],
    ) -> (T, [T; BUFFERS]);
}

/// The gradient, scaled, with the decay of the weight.
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

/// What Adam does to every element.
#[derive(Clone, Copy)]
pub(super) struct AdamStep {
    adam: Adam,
    /// With the decay that is part of the gradient.
    step: Step,
    /// What is left of the weight by the decay that is not.
    kept: f64,
    /// The learning rate over the first bias correction.
    rate: f64,
    /// One over the root of the second.
    inv_root_correction: f64,
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

/// Adam with the decay of weights apart from their gradients: AdamW.
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
