//! A small convolutional network: blocks that keep the image's size, each followed by 2x2 maximum pooling, then a dense
//! layer to the classes.

use super::Sizes;
use super::block::Block;
use super::convolution::{Convolution, ConvolutionSizes};
use super::dense::Dense;
use super::finish::Hidden;
use super::layer::Chain;
use super::pool::{Flatten, MaxPool};
use candle::Result;
use candle_nn::VarBuilder;

pub(super) fn build(
    channels: &[usize],
    kernel: usize,
    hidden: Hidden<'_>,
    sizes: Sizes,
    builder: &VarBuilder<'_>,
) -> Result<Chain> {
    let mut chain = Chain::new();
    let mut image = sizes.input;
    for (index, &outputs) in channels.iter().enumerate() {
        let builder = builder.pp(format!("conv{}", index + 1));
        let sizes = ConvolutionSizes { inputs: image.channels, outputs, kernel, stride: 1 };
        let convolution = Convolution::build(sizes, hidden.needs_bias(), &builder)?;
        chain.push(Block::build(convolution, outputs, hidden, &builder)?);
        chain.push(MaxPool);
        (image.channels, image.height, image.width) = (outputs, image.height / 2, image.width / 2);
    }
    chain.push(Flatten);
    chain.push(Dense::build(image.pixels(), sizes.classes, true, &builder.pp("output"))?);
    Ok(chain)
}
