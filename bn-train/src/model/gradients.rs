//! Gradients by variable: what a way back fills in, and an optimizer reads.

use super::signal::Signal;
use crate::ops;
use crate::ops::buffer::is_plain;
use crate::ops::parallel::Later;
use candle::backprop::GradStore;
use candle::{Result, Tensor, TensorId, Var};
use std::collections::HashMap;

/// Gradients of a loss: of variables, and of signals whose gradient was asked for.
#[derive(Debug, Default)]
pub struct Gradients {
    found: HashMap<TensorId, Tensor>,
    /// What other threads may be finding, until [`Gradients::finish`].
    later: Vec<(Var, Later<Result<Tensor>>)>,
    /// By node of the tape, until the way back has passed it.
    nodes: Vec<Option<Tensor>>,
}

impl Gradients {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The gradient of this variable; `None` where the loss does not depend on it.
    pub fn get(&self, variable: &Var) -> Option<&Tensor> {
        debug_assert!(self.later.is_empty(), "gradients that are not finished");
        self.found.get(&variable.id())
    }

    /// The gradient of a [`Tape::input`](super::Tape::input); `None` where the loss does not depend on it.
    pub fn of_input(&self, input: &Signal) -> Option<&Tensor> {
        input.node().and_then(|node| self.nodes.get(node)?.as_ref())
    }

    /// Adds to the gradient of `variable`.
    ///
    /// # Errors
    /// When it has one already, of another shape.
    pub fn add(&mut self, variable: &Var, gradient: Tensor) -> Result<()> {
        let sum = match self.found.remove(&variable.id()) {
            None => gradient,
            Some(before) => add(&before, &gradient)?,
        };
        self.found.insert(variable.id(), sum);
        Ok(())
    }

    /// Adds the gradients that candle's graph found for `variables`.
    ///
    /// # Errors
    /// As [`Gradients::add`].
    pub fn add_all<'a>(
        &mut self,
        variables: impl IntoIterator<Item = &'a Var>,
        store: &GradStore,
    ) -> Result<()> {
        for variable in variables {
            if let Some(gradient) = store.get(variable) {
                // Detached: a gradient that still knows its graph would keep it alive.
                self.add(variable, gradient.detach())?;
            }
        }
        Ok(())
    }

    pub(super) fn with_nodes(nodes: usize) -> Self {
        Self { nodes: vec![None; nodes], ..Self::default() }
    }

    /// Adds what `work` finds to the gradient of `variable`, when [`Gradients::finish`] is called at the latest.
    pub(super) fn add_later(
        &mut self,
        variable: &Var,
        work: impl FnOnce() -> Result<Tensor> + Send + 'static,
    ) {
        let later = match rayon::current_num_threads() {
            1 => Later::found(work()), // now, while what it reads is in the cache
            _ => Later::new(work),
        };
        self.later.push((variable.clone(), later));
    }

    pub(super) fn add_to_node(&mut self, node: usize, gradient: Tensor) -> Result<()> {
        let sum = match self.nodes[node].take() {
            None => gradient,
            Some(before) => add(&before, &gradient)?,
        };
        self.nodes[node] = Some(sum);
        Ok(())
    }

    pub(super) fn take_node(&mut self, node: usize) -> Option<Tensor> {
        self.nodes[node].take()
    }

    /// Waits for all that is still being found, and adds it in the order in which it was announced.
    pub(super) fn finish(&mut self) -> Result<()> {
        for (variable, later) in std::mem::take(&mut self.later) {
            self.add(&variable, later.get()?)?;
        }
        Ok(())
    }
}

fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if is_plain(a) && is_plain(b) { ops::sum(&a.contiguous()?, &b.contiguous()?) } else { a + b }
}
