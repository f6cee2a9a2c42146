//! What flows through a network.

use candle::Tensor;

/// A tensor on its way through a network, and the number of its node on the [`Tape`](super::Tape), where its gradient is
/// wanted.
#[derive(Clone, Debug)]
pub struct Signal {
    tensor: Tensor,
    node: Option<usize>,
}

impl Signal {
    /// A tensor whose gradient no tape collects: data, a result in evaluation, or a node of candle's graph.
    pub fn new(tensor: Tensor) -> Self {
        Self { tensor, node: None }
    }

    pub(super) fn at_node(tensor: Tensor, node: usize) -> Self {
        Self { tensor, node: Some(node) }
    }

    /// The values.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// The values, by value.
    pub fn into_tensor(self) -> Tensor {
        self.tensor
    }

    /// Whether the tape collects its gradient.
    pub fn wants_gradient(&self) -> bool {
        self.node.is_some()
    }

    pub(super) fn node(&self) -> Option<usize> {
        self.node
    }
}
