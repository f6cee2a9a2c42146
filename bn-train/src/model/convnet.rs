//! A small convolutional network: convolutions that keep the image's size, each followed by 2x2 max pooling, then a dense
//! layer to the classes.

use super::Sizes;
use super::architecture::{Architecture, Misfit};
use super::block::Block;
use super::convolution::ConvolutionSizes;
use super::dense::Dense;
use super::finish::Hidden;
use super::layer::{Chain, Layer};
use super::pool::{Flatten, MaxPool};
use crate::data::ImageShape;
use crate::keys::{Key, Keys, Kind, list, size, whole};
use candle::Result;
use candle_nn::VarBuilder;
use std::sync::Arc;

/// Convolutions, each followed by 2x2 max pooling, then a dense layer to the classes.
#[derive(Clone, Debug)]
pub struct Convnet {
    /// Channels of each convolution, at least 1. The image must be large enough to be halved once per convolution.
    pub channels: Vec<usize>,
    /// Height and width of the convolutions' kernels; odd.
    pub kernel: usize,
}

/// `model.kind = "convnet"`.
pub(super) fn kind() -> Kind<Arc<dyn Architecture>> {
    let about = "convolutions, each followed by 2x2 max pooling";
    Kind::new("convnet", about, |keys: &mut Keys<'_>| Some(Arc::new(read(keys)?) as _))
}

fn read(keys: &mut Keys<'_>) -> Option<Convnet> {
    let about = "channels of the convolutions; each halves the image, so 8x8 images allow up to 3";
    let channels = Key::new("channels", list("channel counts", size()), about).also(&["filters"]);
    let channels = keys.with_default(channels, vec![16, 32]);
    let odd = whole(1..=31).only("an odd whole number", |number| number % 2 == 1);
    let kernel = keys.with_default(Key::new("kernel", odd, "height and width of the kernels"), 3);
    Some(Convnet { channels: channels?, kernel: kernel? as usize })
}

impl Architecture for Convnet {
    fn build(
        &self,
        sizes: Sizes,
        hidden: Hidden<'_>,
        builder: &VarBuilder<'_>,
    ) -> Result<Box<dyn Layer>> {
        let kernel = self.kernel;
        let mut chain = Chain::new();
        let mut image = sizes.input;
        for (index, &outputs) in self.channels.iter().enumerate() {
            let builder = builder.pp(format!("conv{}", index + 1));
            let sizes = ConvolutionSizes { inputs: image.channels, outputs, kernel, stride: 1 };
            chain.push(Block::convolution(sizes, hidden, &builder)?);
            chain.push(MaxPool);
            (image.channels, image.height, image.width) =
                (outputs, image.height / 2, image.width / 2);
        }
        chain.push(Flatten);
        chain.push(Dense::build(image.pixels(), sizes.classes, true, &builder.pp("output"))?);
        Ok(Box::new(chain))
    }

    fn misfit(&self, sizes: Sizes) -> Option<Misfit> {
        let ImageShape { height, width, .. } = sizes.input;
        let halvings = sizes.input.halvings();
        let message = format!(
            "`model.channels` has {} layers; images of {height}x{width} can be halved at most {halvings} times",
            self.channels.len()
        );
        (self.channels.len() > halvings).then_some(Misfit { key: "channels", message })
    }
}
