//! Tensors that flow through a network.

use candle::Tensor;

/// A tensor in a network, with its node on the [`Tape`](super::Tape) if its gradient is needed.
#[derive(Clone, Debug)]
pub struct Signal {
    tensor: Tensor,
    node: Option<usize>,
}

impl Signal {
    /// A tensor without a node on a tape: data, or an output in evaluation.
    pub fn new(tensor: Tensor) -> Self {
        Self { tensor, node: None }
    }

    pub(super) fn at_node(tensor: Tensor, node: usize) -> Self {
        Self { tensor, node: Some(node) }
    }

    /// The tensor.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Converts into the tensor.
    pub fn into_tensor(self) -> Tensor {
        self.tensor
    }

    /// Whether the tape computes its gradient.
    pub fn wants_gradient(&self) -> bool {
        self.node.is_some()
    }

    pub(super) fn node(&self) -> Option<usize> {
        self.node
    }
}
