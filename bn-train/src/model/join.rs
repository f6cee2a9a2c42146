//! Parallel branches whose outputs are concatenated along the channels.

use super::layer::{Layer, Named};
use super::pass::Pass;
use super::signal::Signal;
use super::tape::{Backward, GradientSink};
use candle::{Result, Tensor};

/// Branches with the same input. The output is `[N, sum of channels, …]`.
#[derive(Debug)]
pub struct Join(Vec<Box<dyn Layer>>);

impl Join {
    /// Concatenates the outputs of `branches` in order. Takes at least one branch.
    pub fn new(branches: Vec<Box<dyn Layer>>) -> Self {
        Self(branches)
    }
}

impl Layer for Join {
    fn forward(&self, x: &Signal, pass: &mut Pass<'_>) -> Result<Signal> {
        let branches = self.0.iter().map(|branch| branch.forward(x, pass));
        let branches = branches.collect::<Result<Vec<Signal>>>()?;
        let tensors: Vec<&Tensor> = branches.iter().map(Signal::tensor).collect();
        let y = Tensor::cat(&tensors, 1)?;
        let channels = tensors.iter().map(|tensor| tensor.dim(1)).collect::<Result<Vec<_>>>()?;
        let inputs: Vec<&Signal> = branches.iter().collect();
        Ok(pass.result(y, &inputs, false, || JoinBackward { channels }))
    }

    fn visit<'a>(&'a self, visitor: &mut dyn FnMut(Named<'a>)) {
        for branch in &self.0 {
            branch.visit(visitor);
        }
    }
}

#[derive(Debug)]
struct JoinBackward {
    channels: Vec<usize>,
}

impl Backward for JoinBackward {
    fn backward(self: Box<Self>, dy: Tensor, sink: &mut GradientSink<'_>) -> Result<()> {
        let mut first = 0;
        for (branch, channels) in self.channels.into_iter().enumerate() {
            sink.input(branch, dy.narrow(1, first, channels)?.contiguous()?)?;
            first += channels;
        }
        Ok(())
    }
}
