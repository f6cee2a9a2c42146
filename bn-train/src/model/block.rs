//! An affine map with what follows it.

use super::finish::{Finish, Hidden, join};
use super::layer::{Backward, Layer};
use super::norm::Mode;
use candle::{Result, Tensor, Var};
use candle_nn::VarBuilder;

/// `finish(affine(x))`.
#[derive(Debug)]
pub(super) struct Block<L> {
    affine: L,
    finish: Finish,
}

impl<L: Layer> Block<L> {
    /// `affine` with `channels` results, finished as `hidden` says; the norm's variables go under `norm` of `builder`.
    pub(super) fn build(
        affine: L,
        channels: usize,
        hidden: Hidden<'_>,
        builder: &VarBuilder<'_>,
    ) -> Result<Self> {
        let finish = Finish::build(channels, hidden, builder)?;
        Ok(Self { affine, finish })
    }
}

impl<L: Layer> Layer for Block<L> {
    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        self.finish.forward(&self.affine.forward(x, mode)?, None, mode)
    }

    fn forward_saved(&self, x: &Tensor) -> Result<(Tensor, Backward<'_>)> {
        let (x, affine) = self.affine.forward_saved(x)?;
        let (y, finish) = self.finish.forward_saved(&x, None)?;
        Ok((y, join(affine, finish)))
    }

    fn trainable(&self) -> Vec<(String, Var)> {
        let mut variables = self.affine.trainable();
        variables.extend(self.finish.trainable());
        variables
    }
}
