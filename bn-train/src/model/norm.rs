//! The norm layer as networks see it: bn-core's `BatchNorm`, which every pass uses as its mode says.

use super::layer::{Item, Layer, Named, Role};
use super::pass::{Mode, MomentsByPath, Pass};
use super::signal::Signal;
use super::tape::{Backward, GradientSink};
use bn_core::{BatchNorm, BatchNormConfig, Call, Moments, Saved};
use candle::{Result, Tensor, Var};
use candle_nn::VarBuilder;
use std::borrow::Cow;

/// A norm layer, with what its configuration puts behind the norm.
#[derive(Debug)]
pub struct Norm {
    layer: BatchNorm,
    path: String,
}

impl Norm {
    /// `layer`, which lies at `path` in the network.
    pub fn new(layer: BatchNorm, path: impl Into<String>) -> Self {
        Self { layer, path: path.into() }
    }

    /// A new layer at `builder`'s prefix.
    ///
    /// # Errors
    /// As [`BatchNormConfig::build`].
    pub fn build(
        config: &BatchNormConfig,
        channels: usize,
        builder: VarBuilder<'_>,
    ) -> Result<Self> {
        let path = builder.prefix();
        Ok(Self { layer: config.build(channels, builder)?, path })
    }

    /// `activation(norm(x) + residual)`, by the statistics that the pass asks for.
    ///
    /// # Errors
    /// As [`BatchNorm::forward_with`]; and in [`Mode::Given`] when there are no statistics for this layer.
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
            let y = layer.forward_with(x.tensor(), &call)?;
            Signal::new(if pass.is_by_graph() { y } else { y.detach() })
        };
        pass.observe(&self.path, y.tensor())?;
        Ok(y)
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
        None => candle::bail!("no statistics are given for norm layer `{path}`"),
    }
}

/// Shows a norm layer, its parameters and its statistics.
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
