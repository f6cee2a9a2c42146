//! One pass through a network: what it is for, and what travels with it from layer to layer.

use super::gradients::Gradients;
use super::signal::Signal;
use super::tape::{Backward, Tape};
use crate::ops::buffer::is_plain;
use bn_core::{Collective, Moments, Updates};
use candle::{Result, Tensor, Var};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Moments by the path of the norm layer that they belong to.
pub type MomentsByPath = BTreeMap<String, Moments>;

/// Which statistics the norm layers use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode<'a> {
    /// Those of the batch, which also move the moving statistics. The only mode that is differentiated.
    Train,
    /// The moving statistics; nothing changes.
    Moving,
    /// Those of the batch; nothing changes.
    Batch,
    /// These, by the path of the norm layer; nothing changes.
    Given(&'a MomentsByPath),
}

/// Sees the results of layers as they are computed.
pub trait Observer {
    /// The result of the layer at `path`: a dense layer, a convolution, a norm layer or an activation.
    ///
    /// # Errors
    /// What keeps the pass from going on.
    fn output(&mut self, path: &str, y: &Tensor) -> Result<()>;
}

/// How a pass is differentiated.
#[derive(Debug)]
enum Differentiation {
    None,
    Tape(Tape),
    /// By candle's graph, on any device.
    Graph,
}

/// A pass through a network.
pub struct Pass<'a> {
    mode: Mode<'a>,
    differentiation: Differentiation,
    observer: Option<&'a mut dyn Observer>,
    weights: Option<&'a Tensor>,
    collective: Option<Arc<dyn Collective>>,
    updates: Option<&'a Updates>,
    recorded: Option<&'a mut MomentsByPath>,
}

impl<'a> Pass<'a> {
    fn new(mode: Mode<'a>, differentiation: Differentiation) -> Self {
        Self {
            mode,
            differentiation,
            observer: None,
            weights: None,
            collective: None,
            updates: None,
            recorded: None,
        }
    }

    /// A training pass of f32 tensors on the CPU, recorded on a tape.
    pub fn train() -> Self {
        Self::train_on(Tape::new())
    }

    /// A training pass recorded on `tape`, for signals that come from [`Tape::input`].
    pub fn train_on(tape: Tape) -> Self {
        Self::new(Mode::Train, Differentiation::Tape(tape))
    }

    /// A training pass in candle's graph, on any device.
    pub fn train_by_graph() -> Self {
        Self::new(Mode::Train, Differentiation::Graph)
    }

    /// A training pass over x: on a tape where there are kernels for x, else in candle's graph.
    pub fn train_for(x: &Tensor) -> Self {
        if is_plain(x) { Self::train() } else { Self::train_by_graph() }
    }

    /// A pass that nothing is learned from. In [`Mode::Train`] it still moves the moving statistics.
    pub fn evaluate(mode: Mode<'a>) -> Self {
        Self::new(mode, Differentiation::None)
    }

    /// A pass by batch statistics that merges each norm layer's moments into `recorded`. No layer changes.
    pub fn record(recorded: &'a mut MomentsByPath) -> Self {
        Self { recorded: Some(recorded), ..Self::evaluate(Mode::Batch) }
    }

    /// With someone who sees every layer's result.
    pub fn with_observer(self, observer: &'a mut dyn Observer) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// Nobody sees what comes from here on.
    pub fn unobserved(self) -> Self {
        Self { observer: None, ..self }
    }

    /// With weights of the examples, `[N]`, for batch statistics.
    pub fn with_weights(self, weights: &'a Tensor) -> Self {
        Self { weights: Some(weights), ..self }
    }

    /// With ranks over which batch statistics are taken.
    pub fn with_collective(self, ranks: Arc<dyn Collective>) -> Self {
        Self { collective: Some(ranks), ..self }
    }

    /// With updates of the moving statistics that are left in `updates`, to be committed later.
    pub fn with_updates(self, updates: &'a Updates) -> Self {
        Self { updates: Some(updates), ..self }
    }

    /// Which statistics the norm layers use.
    pub fn mode(&self) -> Mode<'a> {
        self.mode
    }

    /// Weights of the examples for batch statistics.
    pub fn weights(&self) -> Option<&'a Tensor> {
        self.weights
    }

    /// Where updates of the moving statistics are left; none where each layer commits its own at once.
    pub fn updates(&self) -> Option<&'a Updates> {
        self.updates
    }

    /// The ranks over which batch statistics are taken.
    pub fn collective(&self) -> Option<&Arc<dyn Collective>> {
        self.collective.as_ref()
    }

    /// Whether candle's graph differentiates this pass, so that results must stay in it.
    pub fn is_by_graph(&self) -> bool {
        matches!(self.differentiation, Differentiation::Graph)
    }

    /// Whether a layer computes by the kernels of this crate: otherwise by tensor operations of candle.
    ///
    /// # Errors
    /// For a tape and a tensor that is not f32 on the CPU.
    pub fn uses_kernels(&self, x: &Signal) -> Result<bool> {
        match self.differentiation {
            Differentiation::Graph => Ok(false),
            Differentiation::None => Ok(is_plain(x.tensor())),
            Differentiation::Tape(_) if is_plain(x.tensor()) => Ok(true),
            Differentiation::Tape(_) => candle::bail!(
                "a tape expects f32 tensors on the CPU, got {:?} on {:?}",
                x.tensor().dtype(),
                x.tensor().device().location()
            ),
        }
    }

    /// Whether an operation on `inputs` has a way back to record. `has_variables`: it has some that are trained.
    pub fn records(&self, inputs: &[&Signal], has_variables: bool) -> bool {
        matches!(self.differentiation, Differentiation::Tape(_))
            && (has_variables || inputs.iter().any(|input| input.wants_gradient()))
    }

    /// The signal of `y`, made from `inputs`, with its way back if there is one to record.
    pub fn result<B: Backward + 'static>(
        &mut self,
        y: Tensor,
        inputs: &[&Signal],
        has_variables: bool,
        backward: impl FnOnce() -> B,
    ) -> Signal {
        let records = self.records(inputs, has_variables);
        match &mut self.differentiation {
            Differentiation::Tape(tape) if records => tape.push(y, inputs, Box::new(backward())),
            _ => Signal::new(y),
        }
    }

    /// Whether somebody sees the results of layers.
    pub fn is_observed(&self) -> bool {
        self.observer.is_some()
    }

    /// Shows a layer's result to the observer, if there is one.
    ///
    /// # Errors
    /// What the observer reports.
    pub fn observe(&mut self, path: &str, y: &Tensor) -> Result<()> {
        match &mut self.observer {
            Some(observer) => observer.output(path, y),
            None => Ok(()),
        }
    }

    /// Whether norm layers record their moments, see [`Pass::record`].
    pub fn is_recording(&self) -> bool {
        self.recorded.is_some()
    }

    /// Merges a norm layer's moments into what was recorded at `path`.
    ///
    /// # Errors
    /// For moments of another number of channels.
    pub fn add_moments(&mut self, path: &str, moments: &Moments) -> Result<()> {
        let Some(recorded) = &mut self.recorded else {
            return Ok(());
        };
        let merged = match recorded.get(path) {
            Some(before) => before.merge(moments)?,
            None => moments.clone(),
        };
        recorded.insert(path.to_owned(), merged);
        Ok(())
    }

    /// Walks back from `y`, whose gradient is `dy`. `trained` names the variables whose gradients are wanted of candle's
    /// graph; a tape finds all of them.
    ///
    /// # Errors
    /// In a pass that is not differentiated; and what an operation's way back reports.
    pub fn backward(
        self,
        y: &Signal,
        dy: &Tensor,
        trained: impl FnOnce() -> Vec<Var>,
    ) -> Result<Gradients> {
        match self.differentiation {
            Differentiation::Tape(tape) => tape.backward(y, dy.clone()),
            Differentiation::Graph => {
                // The sum's gradient spreads a one over y, and the product turns it into dy.
                let dy = dy.to_device(y.tensor().device())?.to_dtype(y.tensor().dtype())?;
                let store = (y.tensor() * dy)?.sum_all()?.backward()?;
                let mut gradients = Gradients::new();
                gradients.add_all(&trained(), &store)?;
                Ok(gradients)
            }
            Differentiation::None => candle::bail!("backward: nothing is learned from this pass"),
        }
    }
}
