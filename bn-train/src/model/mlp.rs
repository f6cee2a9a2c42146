//! The multi-layer perceptron: dense blocks of any width and number, then a dense layer to the classes.

use super::Sizes;
use super::block::Block;
use super::dense::Dense;
use super::finish::Hidden;
use super::layer::Chain;
use super::pool::Flatten;
use candle::Result;
use candle_nn::VarBuilder;

pub(super) fn build(
    widths: &[usize],
    hidden: Hidden<'_>,
    sizes: Sizes,
    builder: &VarBuilder<'_>,
) -> Result<Chain> {
    let mut chain = Chain::new();
    chain.push(Flatten);
    let mut inputs = sizes.input.pixels();
    for (index, &width) in widths.iter().enumerate() {
        let builder = builder.pp(format!("hidden{}", index + 1));
        let dense = Dense::build(inputs, width, hidden.needs_bias(), &builder)?;
        chain.push(Block::build(dense, width, hidden, &builder)?);
        inputs = width;
    }
    chain.push(Dense::build(inputs, sizes.classes, true, &builder.pp("output"))?);
    Ok(chain)
}
