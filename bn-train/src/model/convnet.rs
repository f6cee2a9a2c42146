//! A small convolutional network: blocks that keep the image's size, each followed by 2x2 maximum pooling, then a dense
//! layer to the classes.

use super::Sizes;
use super::block::{Affine, Block, Hidden, affine, dense};
use super::norm::Mode;
use candle::{Module as _, Result, Tensor, Var};
use candle_nn::{Conv2d, Conv2dConfig, Linear, VarBuilder};

#[derive(Debug)]
pub(super) struct Convnet {
    convolutions: Vec<Block<Conv2d>>,
    output: Linear,
    output_variables: Vec<(String, Var)>,
}

impl Convnet {
    pub(super) fn build(
        channels: &[usize],
        kernel: usize,
        hidden: Hidden<'_>,
        sizes: Sizes,
        builder: &VarBuilder<'_>,
    ) -> Result<Self> {
        let mut image = sizes.input;
        let config = Conv2dConfig {
            padding: kernel / 2,
            ..Conv2dConfig::default()
        };
        let mut blocks = Vec::new();
        for (index, &outputs) in channels.iter().enumerate() {
            let builder = builder.pp(format!("conv{}", index + 1));
            let shape = (outputs, image.channels, kernel, kernel);
            let Affine {
                weight,
                bias,
                variables,
            } = affine(shape, hidden.needs_bias(), &builder)?;
            blocks.push(Block::build(
                Conv2d::new(weight, bias, config),
                variables,
                outputs,
                hidden,
                &builder,
            )?);
            (image.channels, image.height, image.width) =
                (outputs, image.height / 2, image.width / 2);
        }
        let (output, output_variables) =
            dense(image.pixels(), sizes.classes, true, &builder.pp("output"))?;
        Ok(Self {
            convolutions: blocks,
            output,
            output_variables,
        })
    }

    pub(super) fn forward(&self, images: &Tensor, mode: Mode) -> Result<Tensor> {
        let mut x = images.clone();
        for block in &self.convolutions {
            x = block.forward(&x, mode)?.max_pool2d(2)?;
        }
        self.output.forward(&x.flatten_from(1)?)
    }

    pub(super) fn trainable(&self) -> Vec<(String, Var)> {
        self.convolutions
            .iter()
            .flat_map(Block::trainable)
            .chain(self.output_variables.iter().cloned())
            .collect()
    }
}
