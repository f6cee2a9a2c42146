//! The multi-layer perceptron: dense blocks of any width and number, then a dense layer to the classes.

use super::Sizes;
use super::block::{Block, Hidden, dense};
use super::norm::Mode;
use candle::{Module as _, Result, Tensor, Var};
use candle_nn::{Linear, VarBuilder};

#[derive(Debug)]
pub(super) struct Mlp {
    hidden: Vec<Block<Linear>>,
    output: Linear,
    output_variables: Vec<(String, Var)>,
}

impl Mlp {
    pub(super) fn build(
        widths: &[usize],
        hidden: Hidden<'_>,
        sizes: Sizes,
        builder: &VarBuilder<'_>,
    ) -> Result<Self> {
        let mut inputs = sizes.input.pixels();
        let mut blocks = Vec::new();
        for (index, &width) in widths.iter().enumerate() {
            let builder = builder.pp(format!("hidden{}", index + 1));
            let (linear, variables) = dense(inputs, width, hidden.needs_bias(), &builder)?;
            blocks.push(Block::build(linear, variables, width, hidden, &builder)?);
            inputs = width;
        }
        let (output, output_variables) = dense(inputs, sizes.classes, true, &builder.pp("output"))?;
        Ok(Self {
            hidden: blocks,
            output,
            output_variables,
        })
    }

    pub(super) fn forward(&self, images: &Tensor, mode: Mode) -> Result<Tensor> {
        let mut x = images.flatten_from(1)?;
        for block in &self.hidden {
            x = block.forward(&x, mode)?;
        }
        self.output.forward(&x)
    }

    pub(super) fn trainable(&self) -> Vec<(String, Var)> {
        self.hidden
            .iter()
            .flat_map(Block::trainable)
            .chain(self.output_variables.iter().cloned())
            .collect()
    }
}
