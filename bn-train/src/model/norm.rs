//! The norm layer: bn-core's `BatchNorm`, applied in the mode of the pass.

use super::layer::{Item, Layer, Named, Role};
use super::pass::{Mode, MomentsByPath, Pass};
use super::signal::Signal;
use super::tape::{Backward, GradientSink};
use bn_core::{Activation, BatchNorm, BatchNormConfig, Call, Correction, Moments, Saved};
use candle::{Result, Tensor, Var};
use candle_nn::VarBuilder;
use std::borrow::Cow;

/// A batch-norm layer with the activation of its configuration.
#[derive(Debug)]
pub struct Norm {
    layer: BatchNorm,
    path: String,
    /// For observers: the output before the activation. `None` without an activation.
    shown: Option<Shown>,
}

/// What an observer needs if the norm layer also applies an activation.
#[derive(Debug)]
struct Shown {
    /// The same variables without the activation.
    linear: BatchNorm,
    /// Path at which the activation's output is reported.
    activation: String,
}

impl Norm {
    /// Wraps `layer`, which is at `path` in the network.
    pub fn new(layer: BatchNorm, path: impl Into<String>) -> Self {
        Self { layer, path: path.into(), shown: None }
    }

    /// Builds a layer at `builder`'s prefix. If `config` has an activation, an observer sees its input at the layer's path
    /// and its output at the sibling path `activation`.
    ///
    /// # Errors
    /// As [`BatchNormConfig::build`].
    pub fn build(
        config: &BatchNormConfig,
        channels: usize,
        builder: VarBuilder<'_>,
    ) -> Result<Self> {
        let path = builder.prefix();
        let layer = config.build(channels, builder.clone())?;
        let shown = if config.activation == Activation::None {
            None
        } else {
            // A second layer with the same prefix shares variables and state.
            let config = BatchNormConfig { activation: Activation::None, ..config.clone() };
            let linear = config.build(channels, builder)?;
            let block = path.rsplit_once('.').map_or("", |(block, _)| block);
            Some(Shown { linear, activation: joined(block, "activation") })
        };
        Ok(Self { layer, path, shown })
    }

    /// `activation(norm(x) + residual)`, under the statistics of the pass's mode.
    ///
    /// # Errors
    /// As [`BatchNorm::forward_with`]; also in [`Mode::Given`] without statistics for this layer.
    pub fn forward_with(
        &self,
        x: &Signal,
        residual: Option<&Signal>,
        pass: &mut Pass<'_>,
    ) -> Result<Signal> {
        let call = Call { residual: residual.map(Signal::tensor), ..self.call(pass)? };
        let mut layer = Cow::Borrowed(&self.layer);
        if let Some(ranks) = pass.collective() {
            layer = Cow::Owned(layer.into_owned().with_collective(ranks.clone()));
        }
        if let Some(updates) = pass.updates() {
            layer = Cow::Owned(layer.into_owned().with_updates(updates));
        }
        let inputs: Vec<&Signal> = [Some(x), residual].into_iter().flatten().collect();
        let is_trained = !self.layer.trainable_variables().is_empty();
        let y = if pass.is_recording() {
            let (y, moments) = layer.forward_with_moments(x.tensor(), &call)?;
            if let Some(moments) = moments {
                pass.add_moments(&self.path, &moments)?;
            }
            Signal::new(y.detach())
        } else if pass.records(&inputs, is_trained) {
            let (y, saved) = layer.forward_with_saved(x.tensor(), &call)?;
            pass.result(y, &inputs, is_trained, || NormBackward {
                saved,
                gamma: self.layer.gamma().filter(|_| is_trained).cloned(),
                beta: self.layer.beta().filter(|_| is_trained).cloned(),
            })
        } else {
            Signal::new(layer.forward_with(x.tensor(), &call)?.detach())
        };
        if pass.is_observed() {
            self.show(x, residual, &y, pass)?;
        }
        Ok(y)
    }

    /// Reports the activation's input and output to the observer. Changes no state.
    fn show(
        &self,
        x: &Signal,
        residual: Option<&Signal>,
        y: &Signal,
        pass: &mut Pass<'_>,
    ) -> Result<()> {
        let Some(Shown { linear, activation }) = &self.shown else {
            return pass.observe(&self.path, y.tensor());
        };
        let mut call = self.call(pass)?;
        let is_by_batch = pass.mode() == Mode::Train && !self.layer.is_frozen();
        if is_by_batch {
            call = Call { weights: pass.weights(), ..Call::batch_statistics() };
        }
        let mut z = linear.forward_with(&x.tensor().detach(), &call)?.detach();
        if let (true, Some(correction)) = (is_by_batch, self.layer.last_correction()) {
            z = corrected(&z, &self.layer, &correction)?;
        }
        if let Some(residual) = residual {
            z = (z + residual.tensor().detach())?;
        }
        pass.observe(&self.path, &z)?;
        pass.observe(activation, y.tensor())
    }

    fn call<'a>(&self, pass: &Pass<'a>) -> Result<Call<'a>> {
        let by_batch = Call { weights: pass.weights(), ..Call::default() };
        match pass.mode() {
            Mode::Train if self.layer.is_frozen() => Ok(Call::eval()),
            Mode::Train => Ok(Call { weights: pass.weights(), ..Call::train() }),
            Mode::Moving => Ok(Call::eval()),
            Mode::Batch => Ok(by_batch),
            Mode::Given(statistics) => given(statistics, &self.path).map(Call::given),
        }
    }
}

fn joined(block: &str, name: &str) -> String {
    if block.is_empty() { name.to_owned() } else { format!("{block}.{name}") }
}

/// `γ (x̂ r + d) + β` from `z = γ x̂ + β`, with x of `[N, C, …]` and r and d of `[groups, C]`.
fn corrected(z: &Tensor, layer: &BatchNorm, correction: &Correction) -> Result<Tensor> {
    let dims = z.dims().to_vec();
    let (groups, channels) = correction.r().dims2()?;
    let z = z.reshape((groups, dims[0] / groups, channels, ()))?;
    let by_group = |values: &Tensor| values.to_dtype(z.dtype())?.reshape((groups, 1, channels, 1));
    let by_channel = |variable: Option<&Var>| match variable {
        Some(variable) => {
            variable.as_detached_tensor().to_dtype(z.dtype())?.reshape((1, 1, channels, 1))
        }
        None => Tensor::zeros((1, 1, channels, 1), z.dtype(), z.device()),
    };
    let beta = by_channel(layer.beta())?;
    let d = by_group(correction.d())?;
    let d = match layer.gamma() {
        Some(gamma) => d.broadcast_mul(&by_channel(Some(gamma))?)?,
        None => d,
    };
    let scaled = z.broadcast_sub(&beta)?.broadcast_mul(&by_group(correction.r())?)?;
    scaled.broadcast_add(&d)?.broadcast_add(&beta)?.reshape(dims)
}

impl Layer for Norm {
    fn forward(&self, x: &Signal, pass: &mut Pass<'_>) -> Result<Signal> {
        self.forward_with(x, None, pass)
    }

    fn visit<'a>(&'a self, visitor: &mut dyn FnMut(Named<'a>)) {
        visit_norm(&self.path, &self.layer, visitor);
    }
}

/// The statistics of the norm layer at `path`.
pub(super) fn given<'a>(statistics: &'a MomentsByPath, path: &str) -> Result<&'a Moments> {
    match statistics.get(path) {
        Some(moments) => Ok(moments),
        None => candle::bail!("no statistics given for norm layer `{path}`"),
    }
}

/// Visits a norm layer, its parameters and its statistics.
pub(super) fn visit_norm<'a>(path: &str, layer: &'a BatchNorm, visitor: &mut dyn FnMut(Named<'a>)) {
    let is_trained = layer.config().trainable;
    let affine = [("gamma", Role::Gamma, layer.gamma()), ("beta", Role::Beta, layer.beta())];
    for (name, role, var) in affine {
        if let Some(var) = var {
            let item = Item::Parameter { role, var, is_trained };
            visitor(Named { path: format!("{path}.{name}"), item });
        }
    }
    for (name, var) in layer.statistics() {
        visitor(Named { path: format!("{path}.{name}"), item: Item::Statistic(var) });
    }
    visitor(Named { path: path.to_owned(), item: Item::Norm(layer) });
}

#[derive(Debug)]
struct NormBackward {
    saved: Saved,
    gamma: Option<Var>,
    beta: Option<Var>,
}

impl Backward for NormBackward {
    fn backward(self: Box<Self>, dy: Tensor, sink: &mut GradientSink<'_>) -> Result<()> {
        let found = self.saved.gradients(&dy)?;
        for (variable, gradient) in [(self.gamma, found.gamma), (self.beta, found.beta)] {
            if let (Some(variable), Some(gradient)) = (variable, gradient) {
                sink.variable(&variable, gradient)?;
            }
        }
        sink.input(0, found.x)?;
        match found.residual {
            Some(residual) => sink.input(1, residual),
            None => Ok(()),
        }
    }
}
