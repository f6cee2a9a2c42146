//! The residual network for 32x32 images of He et al. 2015, section 4.2, with projection shortcuts (option B): a
//! convolution to 16 channels, three groups of `(depth - 2) / 6` blocks with 16, 32 and 64 channels, where the second and
//! third start with stride 2, global mean pooling, and a dense layer to the classes.

use super::Sizes;
use super::architecture::Architecture;
use super::block::Block;
use super::convolution::{Convolution, ConvolutionSizes};
use super::dense::Dense;
use super::finish::{Finish, Hidden};
use super::layer::{Chain, Layer, Named};
use super::pass::Pass;
use super::pool::MeanOverMap;
use super::signal::Signal;
use crate::keys::{Key, Keys, Kind, whole};
use candle::Result;
use candle_nn::VarBuilder;
use std::sync::Arc;

/// Channels and initial stride of each group.
const GROUPS: [(usize, usize); 3] = [(16, 1), (32, 2), (64, 2)];

/// A residual network for 32x32 images.
#[derive(Clone, Copy, Debug)]
pub struct Resnet {
    /// Number of layers with weights, not counting shortcuts: `6n + 2` for `n` blocks in each of the three groups.
    pub depth: usize,
}

/// `model.kind = "resnet"`.
pub(super) fn kind() -> Kind<Arc<dyn Architecture>> {
    let about =
        "residual network for 32x32 images with projection shortcuts (He et al. 2015, section 4.2)";
    Kind::new("resnet", about, |keys: &mut Keys<'_>| Some(Arc::new(read(keys)?) as _))
}

fn read(keys: &mut Keys<'_>) -> Option<Resnet> {
    let takes = whole(8..=1202).only("a whole number 6n + 2", |depth| depth % 6 == 2);
    let about = "layers, for n blocks in each of three groups; for example 20, 32, 44, 56, 110";
    let depth = keys.with_default(Key::new("depth", takes, about), 20);
    Some(Resnet { depth: depth? as usize })
}

impl Architecture for Resnet {
    fn build(
        &self,
        sizes: Sizes,
        hidden: Hidden<'_>,
        builder: &VarBuilder<'_>,
    ) -> Result<Box<dyn Layer>> {
        let mut chain = Chain::new();
        let mut inputs = GROUPS[0].0;
        let first = ConvolutionSizes {
            inputs: sizes.input.channels,
            outputs: inputs,
            kernel: 3,
            stride: 1,
        };
        chain.push(Block::convolution(first, hidden, &builder.pp("conv"))?);
        for (group, (outputs, stride)) in GROUPS.into_iter().enumerate() {
            for index in 0..(self.depth - 2) / 6 {
                let builder = builder.pp(format!("group{}.block{}", group + 1, index + 1));
                let stride = if index == 0 { stride } else { 1 };
                let sizes = ConvolutionSizes { inputs, outputs, kernel: 3, stride };
                chain.push(Residual::build(sizes, hidden, &builder)?);
                inputs = outputs;
            }
        }
        chain.push(MeanOverMap);
        chain.push(Dense::build(inputs, sizes.classes, true, &builder.pp("output"))?);
        Ok(Box::new(chain))
    }
}

/// `finish(second(first(x)) + shortcut(x))`.
#[derive(Debug)]
struct Residual {
    first: Block<Convolution>,
    second: Convolution,
    finish: Finish,
    /// Projection if the size changes; `None` for the identity.
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
            first: Block::convolution(sizes, hidden, &builder.pp("conv1"))?,
            second: Convolution::build(inner, hidden.needs_bias(), &second)?,
            finish: Finish::build(outputs, hidden, &second)?,
            shortcut: changes
                .then(|| Block::convolution(projection, hidden.linear(), &builder.pp("shortcut")))
                .transpose()?,
        })
    }
}

impl Layer for Residual {
    fn forward(&self, x: &Signal, pass: &mut Pass<'_>) -> Result<Signal> {
        let inner = self.first.forward(x, pass)?;
        let inner = self.second.forward(&inner, pass)?;
        let shortcut = match &self.shortcut {
            Some(shortcut) => shortcut.forward(x, pass)?,
            None => x.clone(),
        };
        self.finish.forward(&inner, Some(&shortcut), pass)
    }

    fn visit<'a>(&'a self, visitor: &mut dyn FnMut(Named<'a>)) {
        self.first.visit(visitor);
        self.second.visit(visitor);
        self.finish.visit(visitor);
        if let Some(shortcut) = &self.shortcut {
            shortcut.visit(visitor);
        }
    }
}
