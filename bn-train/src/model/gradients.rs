//! Gradients by variable, from a backward pass to an optimizer.

use super::signal::Signal;
use crate::ops;
use crate::ops::parallel::Later;
use candle::{Result, Tensor, TensorId, Var};
use std::collections::HashMap;

/// Gradients of a loss by variables, and by signals from [`Tape::input`](super::Tape::input).
#[derive(Debug, Default)]
pub struct Gradients {
    by_variable: HashMap<TensorId, Tensor>,
    /// Gradients that other threads may still compute, until [`Gradients::finish`].
    later: Vec<(Var, Later<Result<Tensor>>)>,
    /// Gradients by node of the tape, until the backward pass has used them.
    nodes: Vec<Option<Tensor>>,
}

impl Gradients {
    /// No gradients.
    pub fn new() -> Self {
        Self::default()
    }

    /// The gradient by this variable; `None` if the loss does not depend on it.
    pub fn get(&self, variable: &Var) -> Option<&Tensor> {
        debug_assert!(self.later.is_empty(), "finish() was not called");
        self.by_variable.get(&variable.id())
    }

    /// The gradient by a [`Tape::input`](super::Tape::input); `None` if the loss does not depend on it.
    pub fn of_input(&self, input: &Signal) -> Option<&Tensor> {
        input.node().and_then(|node| self.nodes.get(node)?.as_ref())
    }

    /// Adds to the gradient of `variable`.
    ///
    /// # Errors
    /// `variable` already has a gradient with another shape.
    pub fn add(&mut self, variable: &Var, gradient: Tensor) -> Result<()> {
        let sum = match self.by_variable.remove(&variable.id()) {
            None => gradient,
            Some(before) => ops::sum(&before, &gradient)?,
        };
        self.by_variable.insert(variable.id(), sum);
        Ok(())
    }

    pub(super) fn with_nodes(nodes: usize) -> Self {
        Self { nodes: vec![None; nodes], ..Self::default() }
    }

    /// Adds the result of `work` to the gradient of `variable`, at the latest in [`Gradients::finish`].
    pub(super) fn add_later(
        &mut self,
        variable: &Var,
        work: impl FnOnce() -> Result<Tensor> + Send + 'static,
    ) {
        let later = match rayon::current_num_threads() {
            1 => Later::found(work()), // at once, while its inputs are in the cache
            _ => Later::new(work),
        };
        self.later.push((variable.clone(), later));
    }

    pub(super) fn add_to_node(&mut self, node: usize, gradient: Tensor) -> Result<()> {
        let sum = match self.nodes[node].take() {
            None => gradient,
            Some(before) => ops::sum(&before, &gradient)?,
        };
        self.nodes[node] = Some(sum);
        Ok(())
    }

    pub(super) fn take_node(&mut self, node: usize) -> Option<Tensor> {
        self.nodes[node].take()
    }

    /// Waits for deferred gradients and adds them in the order of their [`Gradients::add_later`] calls.
    pub(super) fn finish(&mut self) -> Result<()> {
        for (variable, later) in std::mem::take(&mut self.later) {
            self.add(&variable, later.get()?)?;
        }
        Ok(())
    }
}
