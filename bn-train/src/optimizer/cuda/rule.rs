//! The rules as optimizer.cu takes them.

use super::super::rules::{AdamStep, Decoupled, Rule, Step};
use super::super::{Adam, RmsProp, Sgd};

/// A rule's kernel, and its numbers there.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Numbers {
    pub(super) kernel: &'static str,
    pub(super) first: f64,
    pub(super) second: f64,
    pub(super) epsilon: f64,
    pub(super) nesterov: bool,
}

/// What the update of one variable depends on.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct OfVariable {
    pub(super) weight_decay: f64,
    pub(super) kept: f64,
    pub(super) rate: f64,
    pub(super) inv_root: f64,
}

/// A rule that has a kernel.
pub(in super::super) trait OnGpu<const BUFFERS: usize>: Rule<BUFFERS> {
    fn numbers(&self) -> Numbers;
    fn of_variable(of: &Self::Coefficients) -> OfVariable;
}

fn plain(step: &Step) -> OfVariable {
    let Step { learning_rate, weight_decay, .. } = *step;
    OfVariable { weight_decay, kept: 1.0, rate: learning_rate, inv_root: 1.0 }
}

impl OnGpu<1> for Sgd {
    fn numbers(&self) -> Numbers {
        let Self { momentum, nesterov } = *self;
        Numbers { kernel: "update_sgd", first: momentum, second: 0.0, epsilon: 0.0, nesterov }
    }

    fn of_variable((_, step): &Self::Coefficients) -> OfVariable {
        plain(step)
    }
}

impl Adam {
    fn on_gpu(&self) -> Numbers {
        let Self { beta1, beta2, epsilon } = *self;
        Numbers { kernel: "update_adam", first: beta1, second: beta2, epsilon, nesterov: false }
    }
}

impl AdamStep {
    fn on_gpu(&self) -> OfVariable {
        OfVariable {
            kept: self.kept,
            rate: self.rate,
            inv_root: self.inv_root_correction,
            ..plain(&self.step)
        }
    }
}

impl OnGpu<2> for Adam {
    fn numbers(&self) -> Numbers {
        self.on_gpu()
    }

    fn of_variable(of: &AdamStep) -> OfVariable {
        of.on_gpu()
    }
}

impl OnGpu<2> for Decoupled {
    fn numbers(&self) -> Numbers {
        self.0.on_gpu()
    }

    fn of_variable(of: &AdamStep) -> OfVariable {
        of.on_gpu()
    }
}

impl OnGpu<2> for RmsProp {
    fn numbers(&self) -> Numbers {
        let Self { decay, epsilon, momentum } = *self;
        let kernel = "update_rmsprop";
        Numbers { kernel, first: decay, second: momentum, epsilon, nesterov: false }
    }

    fn of_variable((_, step): &Self::Coefficients) -> OfVariable {
        plain(step)
    }
}
