//! A small network of branched blocks, after Szegedy et al. 2014. Each block concatenates a 1x1, a 3x3 and a 5x5
//! convolution, the last two after a 1x1 convolution that reduces channels. The network starts with a 3x3 convolution, has
//! 2x2 max pooling between blocks, and ends with global mean pooling and a dense layer.

use super::Sizes;
use super::architecture::{Architecture, Misfit};
use super::block::Block;
use super::convolution::{Convolution, ConvolutionSizes};
use super::dense::Dense;
use super::finish::Hidden;
use super::join::Join;
use super::layer::{Chain, Layer};
use super::pool::{MaxPool, MeanOverMap};
use crate::data::ImageShape;
use crate::keys::{Key, Keys, Kind, list, whole};
use candle::Result;
use candle_nn::VarBuilder;
use std::sync::Arc;

/// Blocks of three branches.
#[derive(Clone, Debug)]
pub struct Inception {
    /// Output channels of each block, multiples of 4: a quarter from the 1x1 branch, half from 3x3, a quarter from 5x5.
    pub blocks: Vec<usize>,
}

/// `model.kind = "inception"`.
pub(super) fn kind() -> Kind<Arc<dyn Architecture>> {
    let about = "blocks that concatenate 1x1, 3x3 and 5x5 convolutions (Szegedy et al. 2014)";
    Kind::new("inception", about, |keys: &mut Keys<'_>| Some(Arc::new(read(keys)?) as _))
}

fn read(keys: &mut Keys<'_>) -> Option<Inception> {
    let about = "channels of the blocks; 2x2 pooling between blocks halves the image";
    let quarters = whole(4..=65_536).only("a multiple of 4", |channels| channels % 4 == 0);
    let blocks = Key::new("blocks", list("channel counts", quarters), about);
    let blocks = keys.with_default(blocks, vec![16, 32])?;
    Some(Inception { blocks: blocks.into_iter().map(|channels| channels as usize).collect() })
}

impl Architecture for Inception {
    fn build(
        &self,
        sizes: Sizes,
        hidden: Hidden<'_>,
        builder: &VarBuilder<'_>,
    ) -> Result<Box<dyn Layer>> {
        let mut chain = Chain::new();
        let mut inputs = self.blocks.first().copied().unwrap_or(16);
        let first = (sizes.input.channels, inputs, 3);
        chain.push(convolution(first, hidden, &builder.pp("conv"))?);
        for (index, &outputs) in self.blocks.iter().enumerate() {
            if index > 0 {
                chain.push(MaxPool);
            }
            chain.push(block(inputs, outputs, hidden, &builder.pp(format!("block{}", index + 1)))?);
            inputs = outputs;
        }
        chain.push(MeanOverMap);
        chain.push(Dense::build(inputs, sizes.classes, true, &builder.pp("output"))?);
        Ok(Box::new(chain))
    }

    fn misfit(&self, sizes: Sizes) -> Option<Misfit> {
        let ImageShape { height, width, .. } = sizes.input;
        let halvings = sizes.input.halvings();
        let message = format!(
            "`model.blocks` has {} blocks; images of {height}x{width} can be halved at most {halvings} times",
            self.blocks.len()
        );
        (self.blocks.len() > halvings + 1).then_some(Misfit { key: "blocks", message })
    }
}

/// Inputs, outputs and kernel.
type Shape = (usize, usize, usize);

fn convolution(
    (inputs, outputs, kernel): Shape,
    hidden: Hidden<'_>,
    builder: &VarBuilder<'_>,
) -> Result<Block<Convolution>> {
    let sizes = ConvolutionSizes { inputs, outputs, kernel, stride: 1 };
    Block::convolution(sizes, hidden, builder)
}

fn block(
    inputs: usize,
    outputs: usize,
    hidden: Hidden<'_>,
    builder: &VarBuilder<'_>,
) -> Result<Join> {
    let quarter = outputs / 4;
    let mut branches: Vec<Box<dyn Layer>> = Vec::new();
    let one = convolution((inputs, quarter, 1), hidden, &builder.pp("branch1"))?;
    branches.push(Box::new(one));
    for (outputs, kernel) in [(2 * quarter, 3), (quarter, 5)] {
        let builder = builder.pp(format!("branch{kernel}"));
        let mut branch = Chain::new();
        branch.push(convolution((inputs, quarter, 1), hidden, &builder.pp("reduce"))?);
        branch.push(convolution((quarter, outputs, kernel), hidden, &builder.pp("conv"))?);
        branches.push(Box::new(branch));
    }
    Ok(Join::new(branches))
}
