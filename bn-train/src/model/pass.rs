//! A pass through a network: its mode, and the context that layers share.

use super::gradients::Gradients;
use super::signal::Signal;
use super::tape::{Backward, Tape};
use bn_core::{Collective, Moments, Updates};
use candle::{Result, Tensor};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Moments by the path of their norm layer.
pub type MomentsByPath = BTreeMap<String, Moments>;

/// Which statistics the norm layers use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode<'a> {
    /// Batch statistics, which also update the moving statistics. The only mode with gradients.
    Train,
    /// Moving statistics; changes no state.
    Moving,
    /// Batch statistics; changes no state.
    Batch,
    /// The given moments, by the path of the norm layer; changes no state.
    Given(&'a MomentsByPath),
}

/// Observes the outputs of layers during a pass.
pub trait Observer {
    /// Called with the output of the layer at `path`: a dense layer, a convolution, a norm layer or an activation.
    ///
    /// # Errors
    /// An error aborts the pass.
    fn output(&mut self, path: &str, y: &Tensor) -> Result<()>;
}

/// A pass through a network.
pub struct Pass<'a> {
    mode: Mode<'a>,
    /// `None` in a pass without gradients.
    tape: Option<Tape>,
    observer: Option<&'a mut dyn Observer>,
    weights: Option<&'a Tensor>,
    collective: Option<Arc<dyn Collective>>,
    updates: Option<&'a Updates>,
    recorded: Option<&'a mut MomentsByPath>,
}

impl<'a> Pass<'a> {
    fn new(mode: Mode<'a>, tape: Option<Tape>) -> Self {
        Self {
            mode,
            tape,
            observer: None,
            weights: None,
            collective: None,
            updates: None,
            recorded: None,
        }
    }

    /// A training pass, recorded on a tape.
    pub fn train() -> Self {
        Self::train_on(Tape::new())
    }

    /// A training pass recorded on `tape`, for signals from [`Tape::input`].
    pub fn train_on(tape: Tape) -> Self {
        Self::new(Mode::Train, Some(tape))
    }

    /// A pass without gradients. In [`Mode::Train`] it still updates the moving statistics.
    pub fn evaluate(mode: Mode<'a>) -> Self {
        Self::new(mode, None)
    }

    /// A pass under batch statistics that merges each norm layer's moments into `recorded`. Changes no layer.
    pub fn record(recorded: &'a mut MomentsByPath) -> Self {
        Self { recorded: Some(recorded), ..Self::evaluate(Mode::Batch) }
    }

    /// Adds an observer of the layers' outputs.
    pub fn with_observer(self, observer: &'a mut dyn Observer) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// Removes the observer for the rest of the pass.
    pub fn unobserved(self) -> Self {
        Self { observer: None, ..self }
    }

    /// Sets example weights `[N]` for batch statistics.
    pub fn with_weights(self, weights: &'a Tensor) -> Self {
        Self { weights: Some(weights), ..self }
    }

    /// Computes batch statistics over all `ranks`.
    pub fn with_collective(self, ranks: Arc<dyn Collective>) -> Self {
        Self { collective: Some(ranks), ..self }
    }

    /// Collects updates of the moving statistics in `updates`, to be committed later.
    pub fn with_updates(self, updates: &'a Updates) -> Self {
        Self { updates: Some(updates), ..self }
    }

    /// Which statistics the norm layers use.
    pub fn mode(&self) -> Mode<'a> {
        self.mode
    }

    /// Example weights for batch statistics.
    pub fn weights(&self) -> Option<&'a Tensor> {
        self.weights
    }

    /// Where updates of the moving statistics are collected; `None` if each layer commits at once.
    pub fn updates(&self) -> Option<&'a Updates> {
        self.updates
    }

    /// The ranks over which batch statistics are computed.
    pub fn collective(&self) -> Option<&Arc<dyn Collective>> {
        self.collective.as_ref()
    }

    /// Whether an operation on `inputs` must be recorded. `has_variables` says whether it has trained variables.
    pub fn records(&self, inputs: &[&Signal], has_variables: bool) -> bool {
        self.tape.is_some() && (has_variables || inputs.iter().any(|input| input.wants_gradient()))
    }

    /// The signal of `y`, computed from `inputs`. Records `backward` if needed.
    pub fn result<B: Backward + 'static>(
        &mut self,
        y: Tensor,
        inputs: &[&Signal],
        has_variables: bool,
        backward: impl FnOnce() -> B,
    ) -> Signal {
        let records = self.records(inputs, has_variables);
        match &mut self.tape {
            Some(tape) if records => tape.push(y, inputs, Box::new(backward())),
            _ => Signal::new(y),
        }
    }

    /// Whether the pass has an observer.
    pub fn is_observed(&self) -> bool {
        self.observer.is_some()
    }

    /// Reports a layer's output to the observer, if there is one.
    ///
    /// # Errors
    /// Errors of the observer.
    pub fn observe(&mut self, path: &str, y: &Tensor) -> Result<()> {
        match &mut self.observer {
            Some(observer) => observer.output(path, y),
            None => Ok(()),
        }
    }

    /// Whether norm layers record their moments; see [`Pass::record`].
    pub fn is_recording(&self) -> bool {
        self.recorded.is_some()
    }

    /// Merges a norm layer's moments into those recorded at `path`.
    ///
    /// # Errors
    /// The numbers of channels differ.
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

    /// Computes gradients from `dy`, the gradient by `y`.
    ///
    /// # Errors
    /// The pass has no gradients; errors of backward operations.
    pub fn backward(self, y: &Signal, dy: &Tensor) -> Result<Gradients> {
        let Some(tape) = self.tape else {
            candle::bail!("backward: this pass has no gradients");
        };
        let dy = dy.to_device(y.tensor().device())?.to_dtype(y.tensor().dtype())?;
        tape.backward(y, dy)
    }
}
