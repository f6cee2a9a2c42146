//! Reverse-mode differentiation: operations are recorded in forward order and walked in reverse.
//!
//! Candle's graph adds every gradient to a tensor of zeros, which costs as much as the arithmetic (on a GPU, two launches
//! for each), and does not support operations with several outputs. Training therefore uses this tape. Data has no node, and neither has
//! anything computed only from data, so the backward pass stops at the first variable.

use super::gradients::Gradients;
use super::signal::Signal;
use candle::{Result, Tensor, Var};
use std::fmt::Debug;

/// The operations of one forward pass.
#[derive(Debug, Default)]
pub struct Tape {
    operations: Vec<Operation>,
    nodes: usize,
}

#[derive(Debug)]
struct Operation {
    inputs: Vec<Option<usize>>,
    output: usize,
    backward: Box<dyn Backward>,
}

/// The backward operation of a recorded operation, with the values it needs.
pub trait Backward: Debug {
    /// Puts the gradients by inputs and variables into `sink`, given `dy`, the gradient by the output.
    ///
    /// # Errors
    /// Errors of the computation.
    fn backward(self: Box<Self>, dy: Tensor, sink: &mut GradientSink<'_>) -> Result<()>;
}

impl Tape {
    /// An empty tape.
    pub fn new() -> Self {
        Self::default()
    }

    /// A signal whose gradient [`Tape::backward`] computes, for [`Gradients::of_input`].
    pub fn input(&mut self, tensor: Tensor) -> Signal {
        let node = self.node();
        Signal::at_node(tensor, node)
    }

    /// Records an operation that computed `y` from `inputs`.
    pub(super) fn push(
        &mut self,
        y: Tensor,
        inputs: &[&Signal],
        backward: Box<dyn Backward>,
    ) -> Signal {
        let output = self.node();
        let inputs = inputs.iter().map(|input| input.node()).collect();
        self.operations.push(Operation { inputs, output, backward });
        Signal::at_node(y, output)
    }

    /// Computes all gradients from `dy`, the gradient by `y`.
    ///
    /// # Errors
    /// Errors of backward operations.
    pub fn backward(mut self, y: &Signal, dy: Tensor) -> Result<Gradients> {
        let mut gradients = Gradients::with_nodes(self.nodes);
        if let Some(node) = y.node() {
            gradients.add_to_node(node, dy)?;
        }
        // Popping drops each operation, and the tensors it holds, as soon as it is done.
        while let Some(Operation { inputs, output, backward }) = self.operations.pop() {
            if let Some(dy) = gradients.take_node(output) {
                backward.backward(
                    dy,
                    &mut GradientSink { inputs: &inputs, gradients: &mut gradients },
                )?;
            }
        }
        gradients.finish()?;
        Ok(gradients)
    }

    fn node(&mut self) -> usize {
        self.nodes += 1;
        self.nodes - 1
    }
}

/// Receives the gradients of one backward operation. Gradients by the same tensor are summed.
#[derive(Debug)]
pub struct GradientSink<'a> {
    inputs: &'a [Option<usize>],
    gradients: &'a mut Gradients,
}

impl GradientSink<'_> {
    /// Whether the gradient by the input with this index is needed. Data needs none.
    pub fn wants(&self, input: usize) -> bool {
        self.inputs.get(input).is_some_and(Option::is_some)
    }

    /// Adds the gradient by an input. Ignored if it is not needed.
    ///
    /// # Errors
    /// There is already a gradient with another shape.
    pub fn input(&mut self, input: usize, gradient: Tensor) -> Result<()> {
        match self.inputs.get(input) {
            Some(Some(node)) => self.gradients.add_to_node(*node, gradient),
            _ => Ok(()),
        }
    }

    /// Adds the gradient by a variable, in its type.
    ///
    /// # Errors
    /// As [`GradientSink::input`].
    pub fn variable(&mut self, variable: &Var, gradient: Tensor) -> Result<()> {
        self.gradients.add(variable, gradient.to_dtype(variable.dtype())?)
    }

    /// Adds the gradient by a variable, computed by `work`, which an idle thread may run in parallel. Use it for gradients
    /// that the rest of the backward pass does not depend on, unless they keep a lot of memory alive.
    pub fn variable_later(
        &mut self,
        variable: &Var,
        work: impl FnOnce() -> Result<Tensor> + Send + 'static,
    ) {
        self.gradients.add_later(variable, work);
    }
}
