//! The way back through a network: operations in the order of the forward pass, walked in reverse.
//!
//! candle's graph adds every gradient to a tensor of zeros, in passes that cost as much as the arithmetic, and knows no
//! operation with more than one result. So training on the CPU keeps a tape. Data have no node, and neither has what is
//! computed from data alone: nothing before the first variable is walked.

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

/// The way back through one operation: it holds what the gradients need.
pub trait Backward: Debug {
    /// Puts the gradients of inputs and variables into `sink`, for the gradient `dy` of the result.
    ///
    /// # Errors
    /// What the computation reports.
    fn backward(self: Box<Self>, dy: Tensor, sink: &mut GradientSink<'_>) -> Result<()>;
}

impl Tape {
    /// Nothing recorded.
    pub fn new() -> Self {
        Self::default()
    }

    /// A signal whose gradient [`Tape::backward`] finds, for [`Gradients::of_input`].
    pub fn input(&mut self, tensor: Tensor) -> Signal {
        let node = self.node();
        Signal::at_node(tensor, node)
    }

    /// Records an operation that made `y` from `inputs`.
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

    /// Walks back from `y`, whose gradient is `dy`.
    ///
    /// # Errors
    /// What an operation's way back reports.
    pub fn backward(mut self, y: &Signal, dy: Tensor) -> Result<Gradients> {
        let mut gradients = Gradients::with_nodes(self.nodes);
        if let Some(node) = y.node() {
            gradients.add_to_node(node, dy)?;
        }
        // Each operation is dropped as soon as it was walked, with the tensors that it kept.
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

/// Where one operation's way back puts what it finds. Gradients of what is used more than once are added up.
#[derive(Debug)]
pub struct GradientSink<'a> {
    inputs: &'a [Option<usize>],
    gradients: &'a mut Gradients,
}

impl GradientSink<'_> {
    /// Whether the gradient of the input with this index is wanted. Data need none.
    pub fn wants(&self, input: usize) -> bool {
        self.inputs.get(input).is_some_and(Option::is_some)
    }

    /// The gradient of an input; ignored unless it is wanted.
    ///
    /// # Errors
    /// When there is one of another shape already.
    pub fn input(&mut self, input: usize, gradient: Tensor) -> Result<()> {
        match self.inputs.get(input) {
            Some(Some(node)) => self.gradients.add_to_node(*node, gradient),
            _ => Ok(()),
        }
    }

    /// The gradient of a variable.
    ///
    /// # Errors
    /// As [`GradientSink::input`].
    pub fn variable(&mut self, variable: &Var, gradient: Tensor) -> Result<()> {
        self.gradients.add(variable, gradient)
    }

    /// The gradient of a variable, by `work` that a thread without other work may run meanwhile: what the rest of the way
    /// back does not wait for belongs here, unless it keeps a lot of memory.
    pub fn variable_later(
        &mut self,
        variable: &Var,
        work: impl FnOnce() -> Result<Tensor> + Send + 'static,
    ) {
        self.gradients.add_later(variable, work);
    }
}
