//! An affine layer followed by norm and activation.

use super::convolution::{Convolution, ConvolutionSizes};
use super::finish::{Finish, Hidden};
use super::layer::{Layer, Named};
use super::pass::Pass;
use super::signal::Signal;
use candle::Result;
use candle_nn::VarBuilder;

/// `finish(affine(x))`.
#[derive(Debug)]
pub struct Block<L> {
    affine: L,
    finish: Finish,
}

impl<L: Layer> Block<L> {
    /// `affine`, which has `channels` outputs, followed by the norm and activation of `hidden`. The norm's variables are
    /// under `builder`'s `norm`.
    ///
    /// # Errors
    /// As [`bn_core::BatchNormConfig::build`].
    pub fn build(
        affine: L,
        channels: usize,
        hidden: Hidden<'_>,
        builder: &VarBuilder<'_>,
    ) -> Result<Self> {
        let finish = Finish::build(channels, hidden, builder)?;
        Ok(Self { affine, finish })
    }
}

impl Block<Convolution> {
    /// A convolution followed by the norm and activation of `hidden`.
    ///
    /// # Errors
    /// As [`Block::build`].
    pub fn convolution(
        sizes: ConvolutionSizes,
        hidden: Hidden<'_>,
        builder: &VarBuilder<'_>,
    ) -> Result<Self> {
        let convolution = Convolution::build(sizes, hidden.needs_bias(), builder)?;
        Self::build(convolution, sizes.outputs, hidden, builder)
    }
}

impl<L: Layer> Layer for Block<L> {
    fn forward(&self, x: &Signal, pass: &mut Pass<'_>) -> Result<Signal> {
        let x = self.affine.forward(x, pass)?;
        self.finish.forward(&x, None, pass)
    }

    fn visit<'a>(&'a self, visitor: &mut dyn FnMut(Named<'a>)) {
        self.affine.visit(visitor);
        self.finish.visit(visitor);
    }
}
