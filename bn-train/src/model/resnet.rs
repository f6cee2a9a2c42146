//! The residual network for 32x32 images of He et al. 2015, section 4.2, with projection shortcuts (option B): a
//! convolution to 16 channels, three groups of `(depth - 2) / 6` blocks with 16, 32 and 64 channels, the second and third
//! beginning with stride 2, the mean over the map, and a dense layer to the classes.

use super::Sizes;
use super::affine::{Convolution, ConvolutionSizes, Dense};
use super::block::Block;
use super::finish::{Finish, Hidden};
use super::layer::{Backward, Chain, Gradients, Layer, Wanted};
use super::norm::Mode;
use super::pool::MeanOverMap;
use crate::ops;
use candle::{Result, Tensor, Var};
use candle_nn::VarBuilder;

/// Channels and first stride of each group.
const GROUPS: [(usize, usize); 3] = [(16, 1), (32, 2), (64, 2)];

pub(super) fn build(
    depth: usize,
    hidden: Hidden<'_>,
    sizes: Sizes,
    builder: &VarBuilder<'_>,
) -> Result<Chain> {
    let mut chain = Chain::new();
    let mut inputs = GROUPS[0].0;
    let first =
        ConvolutionSizes { inputs: sizes.input.channels, outputs: inputs, kernel: 3, stride: 1 };
    chain.push(convolution(first, hidden, &builder.pp("conv"))?);
    for (group, (outputs, stride)) in GROUPS.into_iter().enumerate() {
        for index in 0..(depth - 2) / 6 {
            let builder = builder.pp(format!("group{}.block{}", group + 1, index + 1));
            let stride = if index == 0 { stride } else { 1 };
            let sizes = ConvolutionSizes { inputs, outputs, kernel: 3, stride };
            chain.push(Residual::build(sizes, hidden, &builder)?);
            inputs = outputs;
        }
    }
    chain.push(MeanOverMap);
    chain.push(Dense::build(inputs, sizes.classes, true, &builder.pp("output"))?);
    Ok(chain)
}

fn convolution(
    sizes: ConvolutionSizes,
    hidden: Hidden<'_>,
    builder: &VarBuilder<'_>,
) -> Result<Block<Convolution>> {
    let convolution = Convolution::build(sizes, hidden.needs_bias(), builder)?;
    Block::build(convolution, sizes.outputs, hidden, builder)
}

/// `finish(second(first(x)) + shortcut(x))`.
#[derive(Debug)]
struct Residual {
    first: Block<Convolution>,
    second: Convolution,
    finish: Finish,
    /// Where sizes change; x itself elsewhere.
    shortcut: Option<Block<Convolution>>,
}

impl Residual {
    fn build(
        sizes: ConvolutionSizes,
        hidden: Hidden<'_>,
        builder: &VarBuilder<'_>,
    ) -> Result<Self> {
        let outputs = sizes.outputs;
        let inner = ConvolutionSizes { inputs: outputs, stride: 1, ..sizes };
        let projection = ConvolutionSizes { kernel: 1, ..sizes };
        let changes = sizes.stride != 1 || sizes.inputs != outputs;
        let second = builder.pp("conv2");
        Ok(Self {
            first: convolution(sizes, hidden, &builder.pp("conv1"))?,
            second: Convolution::build(inner, hidden.needs_bias(), &second)?,
            finish: Finish::build(outputs, hidden, &second)?,
            shortcut: changes
                .then(|| convolution(projection, hidden.linear(), &builder.pp("shortcut")))
                .transpose()?,
        })
    }
}

impl Layer for Residual {
    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let inner = self.first.forward(x, mode)?;
        let inner = self.second.forward(&inner, mode)?;
        let shortcut = match &self.shortcut {
            Some(shortcut) => shortcut.forward(x, mode)?,
            None => x.clone(),
        };
        self.finish.forward(&inner, Some(&shortcut), mode)
    }

    fn forward_saved(&self, x: &Tensor) -> Result<(Tensor, Backward<'_>)> {
        let (inner, first) = self.first.forward_saved(x)?;
        let (inner, second) = self.second.forward_saved(&inner)?;
        let (residual, shortcut) = match &self.shortcut {
            Some(shortcut) => {
                let (y, way) = shortcut.forward_saved(x)?;
                (y, Some(way))
            }
            None => (x.clone(), None),
        };
        let (y, finish) = self.finish.forward_saved(&inner, Some(&residual))?;
        let backward = move |dy: Tensor, wanted: Wanted, gradients: &mut Gradients| {
            let (dy, residual) = finish(dy, gradients)?;
            let dy = second(dy, Wanted::All, gradients)?;
            let dx = match dy {
                Some(dy) => first(dy, wanted, gradients)?,
                None => None,
            };
            let around = match (residual, shortcut) {
                (Some(residual), Some(way)) => way(residual, wanted, gradients)?,
                (residual, _) => residual,
            };
            match (dx, around) {
                (Some(dx), Some(around)) => Ok(Some(ops::sum(&dx, &around)?)),
                (dx, around) => Ok(dx.or(around)),
            }
        };
        Ok((y, Box::new(backward)))
    }

    fn trainable(&self) -> Vec<(String, Var)> {
        let mut variables = self.first.trainable();
        variables.extend(self.second.trainable());
        variables.extend(self.finish.trainable());
        variables.extend(self.shortcut.iter().flat_map(Layer::trainable));
        variables
    }
}
