//! What a network is made of: layers that run in candle's graph, and those with a backward of their own besides.
//!
//! candle's graph adds every gradient to a tensor of zeros, in passes that cost as much as the arithmetic, and knows no
//! operation with more than one result. So training on the CPU walks the layers itself: forward, keeping what the
//! gradient needs, and back. Everywhere else, and in every layer that has nothing better, the graph does it.

use super::norm::Mode;
use crate::ops::parallel::Later;
use candle::backprop::GradStore;
use candle::{Result, Tensor, TensorId, Var};
use candle_nn::ModuleT;
use std::collections::HashMap;
use std::fmt::Debug;

/// A layer of a network.
pub trait Layer: Debug {
    /// y of x, as operations of candle's graph.
    ///
    /// # Errors
    /// What candle reports, for instance for an x of another shape.
    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor>;

    /// y of x in [`Mode::Train`], and the way back. Unless a layer has its own, that of candle's graph.
    ///
    /// # Errors
    /// As [`Layer::forward`].
    fn forward_saved(&self, x: &Tensor) -> Result<(Tensor, Backward<'_>)> {
        let x = Var::from_tensor(&x.detach())?;
        let y = self.forward(&x, Mode::Train)?;
        let detached = y.detach();
        let backward = move |dy: Tensor, _: Wanted, gradients: &mut Gradients| {
            // The sum's gradient spreads a one over y, and the product turns it into dy.
            let store = (y * dy)?.sum_all()?.backward()?;
            gradients.add_all(&self.trainable(), &store)?;
            Ok(store.get(&x).cloned())
        };
        Ok((detached, Box::new(backward)))
    }

    /// What an optimizer may change, by name.
    fn trainable(&self) -> Vec<(String, Var)>;
}

/// From dy to dx, adding the gradients of the layer's variables on the way. dx may be none where it was not
/// [`Wanted`], or where y does not depend on x.
pub type Backward<'a> =
    Box<dyn FnOnce(Tensor, Wanted, &mut Gradients) -> Result<Option<Tensor>> + 'a>;

/// Which gradients a way back must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Those of the variables and of x.
    All,
    /// Those of the variables: x is data.
    Variables,
}

/// Gradients of variables.
#[derive(Debug, Default)]
pub struct Gradients {
    found: HashMap<TensorId, Tensor>,
    /// What other threads may be finding, until [`Gradients::settle`].
    later: Vec<(Var, Later<Result<Tensor>>)>,
}

impl Gradients {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The gradient of this variable, if it has one. Whoever walks the way back calls [`Gradients::settle`] first.
    pub fn get(&self, variable: &Var) -> Option<&Tensor> {
        debug_assert!(self.later.is_empty(), "gradients that are not settled");
        self.found.get(&variable.id())
    }

    /// Adds to the gradient of `variable`.
    ///
    /// # Errors
    /// When it has one already, of another shape.
    pub fn add(&mut self, variable: &Var, gradient: Tensor) -> Result<()> {
        let sum = match self.found.remove(&variable.id()) {
            None => gradient,
            Some(before) => (before + gradient)?,
        };
        self.found.insert(variable.id(), sum);
        Ok(())
    }

    /// Adds what `work` finds to the gradient of `variable`, at the latest when [`Gradients::settle`] is called. A thread
    /// that has nothing else to do may run it meanwhile: what the rest of the way back does not wait for belongs here,
    /// unless it keeps a lot of memory.
    ///
    /// # Errors
    /// As [`Gradients::add`].
    pub fn add_later(
        &mut self,
        variable: &Var,
        work: impl FnOnce() -> Result<Tensor> + Send + 'static,
    ) -> Result<()> {
        let later = match rayon::current_num_threads() {
            1 => Later::found(work()), // now, while what it reads is in the cache
            _ => Later::new(work),
        };
        self.later.push((variable.clone(), later));
        Ok(())
    }

    /// Waits for all that is still being found, and adds it in the order in which it was announced.
    ///
    /// # Errors
    /// What that work reports, and as [`Gradients::add`].
    pub fn settle(&mut self) -> Result<()> {
        for (variable, later) in std::mem::take(&mut self.later) {
            self.add(&variable, later.get()?)?;
        }
        Ok(())
    }

    /// Adds the gradients that candle's graph found for `variables`.
    ///
    /// # Errors
    /// As [`Gradients::add`].
    pub fn add_all(&mut self, variables: &[(String, Var)], store: &GradStore) -> Result<()> {
        for (_, variable) in variables {
            if let Some(gradient) = store.get(variable) {
                // Detached: a gradient that still knows its graph would keep it alive.
                self.add(variable, gradient.detach())?;
            }
        }
        Ok(())
    }
}

/// Layers one after the other.
#[derive(Debug, Default)]
pub struct Chain(Vec<Box<dyn Layer>>);

impl Chain {
    /// No layers: y is x.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `layer` behind the others.
    pub fn push(&mut self, layer: impl Layer + 'static) {
        self.0.push(Box::new(layer));
    }
}

impl Layer for Chain {
    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        self.0.iter().try_fold(x.clone(), |x, layer| layer.forward(&x, mode))
    }

    fn forward_saved(&self, x: &Tensor) -> Result<(Tensor, Backward<'_>)> {
        let mut y = x.clone();
        let mut ways = Vec::new();
        for layer in &self.0 {
            let (next, way) = layer.forward_saved(&y)?;
            y = next;
            ways.push(way);
        }
        let backward = move |dy: Tensor, wanted: Wanted, gradients: &mut Gradients| {
            let is_needed = |layer: &dyn Layer| !layer.trainable().is_empty();
            let first = match wanted {
                Wanted::All => Some(0),
                // What comes before the first variable need not be walked at all.
                Wanted::Variables => self.0.iter().position(|layer| is_needed(&**layer)),
            };
            let first = first.unwrap_or(ways.len());
            let mut dy = Some(dy);
            for (index, way) in ways.into_iter().enumerate().skip(first).rev() {
                let Some(incoming) = dy.take() else { break };
                let wanted = if index == first { wanted } else { Wanted::All };
                dy = way(incoming, wanted, gradients)?;
            }
            Ok(dy)
        };
        Ok((y, Box::new(backward)))
    }

    fn trainable(&self) -> Vec<(String, Var)> {
        self.0.iter().flat_map(|layer| layer.trainable()).collect()
    }
}

/// Any module of candle's as a layer: differentiated by candle's graph, inside a network that is not.
#[derive(Debug)]
pub struct Graph<M> {
    module: M,
    variables: Vec<(String, Var)>,
}

impl<M> Graph<M> {
    /// `module`, of which an optimizer may change `variables`.
    pub fn new(module: M, variables: Vec<(String, Var)>) -> Self {
        Self { module, variables }
    }
}

impl<M: ModuleT + Debug> Layer for Graph<M> {
    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        self.module.forward_t(x, mode == Mode::Train)
    }

    fn trainable(&self) -> Vec<(String, Var)> {
        self.variables.clone()
    }
}
