//! The keys of `[optimizer]` and `[average]`.

use super::average::{AverageSettings, AveragedStatistics};
use super::{Adam, BuildOptimizer, OptimizerKind, OptimizerSettings, RmsProp, Sgd};
use crate::keys::{Key, Keys, Kind, Kinds, flag, number, words};
use std::sync::Arc;

/// `[optimizer]`, without the learning rate.
pub fn optimizers() -> Kinds<Arc<dyn BuildOptimizer>> {
    let kinds = vec![
        kind("sgd", "stochastic gradient descent with momentum", sgd),
        kind("adam", "Adam, with weight decay added to the gradient", adam),
        kind("adamw", "Adam, with decoupled weight decay", adamw),
        kind("rmsprop", "RMSProp with momentum", rmsprop),
    ];
    Kinds::new("optimizer", "kind", kinds)
}

fn kind(
    name: &'static str,
    about: &'static str,
    read: fn(&mut Keys<'_>) -> Option<OptimizerSettings>,
) -> Kind<Arc<dyn BuildOptimizer>> {
    Kind::new(name, about, move |keys: &mut Keys<'_>| Some(Arc::new(read(keys)?) as _))
}

/// `optimizer.learning_rate`, common to all kinds.
pub fn learning_rate(keys: &mut Keys<'_>) -> Option<f64> {
    let key = Key::new("learning_rate", number().above(0.0), "step size; no default");
    keys.required(key.also(&["lr", "eta", "step_size"]), 0.1)
}

/// `[average]`: whether a moving average of the weights is also evaluated.
pub fn averages() -> Kinds<Option<AverageSettings>> {
    let kinds = vec![
        Kind::new("none", "evaluate only the weights", |_: &mut Keys<'_>| Some(None)),
        Kind::new("ema", "also evaluate an exponential moving average of the weights", ema),
    ];
    Kinds::new("average", "kind", kinds)
}

fn ema(keys: &mut Keys<'_>) -> Option<Option<AverageSettings>> {
    let decay = Key::new("decay", number().from(0.0).below(1.0), "weight of the old average");
    let decay = keys.with_default(decay, 0.999);
    let about = "which statistics the norm layers use with averaged weights";
    let statistics = words(&[
        (
            "averaged",
            AveragedStatistics::Averaged,
            "averages of the moving statistics, with the same decay",
        ),
        ("copied", AveragedStatistics::Copied, "the moving statistics of the trained weights"),
        (
            "recomputed",
            AveragedStatistics::Recomputed,
            "statistics of training examples with the averaged weights",
        ),
    ]);
    let statistics =
        keys.with_default(Key::new("statistics", statistics, about), AveragedStatistics::Averaged);
    Some(Some(AverageSettings { decay: decay?, statistics: statistics? }))
}

fn sgd(keys: &mut Keys<'_>) -> Option<OptimizerSettings> {
    let momentum = momentum(keys);
    let nesterov = Key::new("nesterov", flag(), "use Nesterov momentum");
    let nesterov = keys.with_default(nesterov, Sgd::default().nesterov);
    let common = common(keys);
    common?.of(OptimizerKind::Sgd(Sgd { momentum: momentum?, nesterov: nesterov? }))
}

fn adam(keys: &mut Keys<'_>) -> Option<OptimizerSettings> {
    let adam = moments(keys);
    let common = common(keys);
    common?.of(OptimizerKind::Adam(adam?))
}

fn adamw(keys: &mut Keys<'_>) -> Option<OptimizerSettings> {
    let adam = moments(keys);
    let common = common(keys);
    common?.of(OptimizerKind::AdamW(adam?))
}

fn rmsprop(keys: &mut Keys<'_>) -> Option<OptimizerSettings> {
    let about = "weight of the old mean of squared gradients";
    let decay = Key::new("decay", number().from(0.0).below(1.0), about).also(&["alpha", "rho"]);
    let decay = keys.with_default(decay, RmsProp::default().decay);
    let epsilon = epsilon(keys);
    let momentum = momentum(keys);
    let common = common(keys);
    let rule = RmsProp { decay: decay?, epsilon: epsilon?, momentum: momentum? };
    common?.of(OptimizerKind::RmsProp(rule))
}

fn momentum(keys: &mut Keys<'_>) -> Option<f64> {
    let about = "weight of the old velocity; 0 for none";
    let momentum = Key::new("momentum", number().from(0.0).below(1.0), about);
    keys.with_default(momentum, Sgd::default().momentum)
}

fn moments(keys: &mut Keys<'_>) -> Option<Adam> {
    let default = Adam::default();
    let share = || number().from(0.0).below(1.0);
    let beta1 = Key::new("beta1", share(), "weight of the old mean of gradients");
    let beta1 = keys.with_default(beta1, default.beta1);
    let beta2 = Key::new("beta2", share(), "weight of the old mean of squared gradients");
    let beta2 = keys.with_default(beta2, default.beta2);
    let epsilon = epsilon(keys);
    Some(Adam { beta1: beta1?, beta2: beta2?, epsilon: epsilon? })
}

fn epsilon(keys: &mut Keys<'_>) -> Option<f64> {
    let about = "added to the root mean square of the gradients";
    let epsilon = Key::new("epsilon", number().above(0.0), about).also(&["eps"]);
    keys.with_default(epsilon, Adam::default().epsilon)
}

/// Settings common to all kinds.
struct Common {
    weight_decay: f64,
    decay_norm_and_bias: bool,
    clip_norm: Option<f64>,
}

fn common(keys: &mut Keys<'_>) -> Option<Common> {
    let about = "weight decay: its product with the weight is added to the gradient, or for adamw subtracted from the weight";
    let weight_decay = Key::new("weight_decay", number().from(0.0), about).also(&["l2"]);
    let weight_decay = keys.with_default(weight_decay, 0.0);
    let about = "whether weight decay also applies to gamma, beta and biases";
    let decay_norm_and_bias = Key::new("decay_norm_and_bias", flag(), about);
    let decay_norm_and_bias = keys.with_default(decay_norm_and_bias, false);
    let about = "maximum global norm of the gradients; larger ones are scaled down to it";
    let clip_norm = Key::new("clip_norm", number().above(0.0), about);
    let clip_norm = clip_norm.also(&["clip_grad_norm", "max_norm", "clipnorm"]);
    let clip_norm = keys.optional(clip_norm, 1.0);
    Some(Common {
        weight_decay: weight_decay?,
        decay_norm_and_bias: decay_norm_and_bias?,
        clip_norm: clip_norm?,
    })
}

impl Common {
    fn of(self, kind: OptimizerKind) -> Option<OptimizerSettings> {
        let Self { weight_decay, decay_norm_and_bias, clip_norm } = self;
        Some(OptimizerSettings { kind, weight_decay, decay_norm_and_bias, clip_norm })
    }
}
