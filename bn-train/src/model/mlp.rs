//! The multi-layer perceptron: any number of dense hidden layers, then a dense layer to the classes.

use super::Sizes;
use super::architecture::Architecture;
use super::block::Block;
use super::dense::Dense;
use super::finish::Hidden;
use super::layer::{Chain, Layer};
use super::pool::Flatten;
use crate::keys::{Key, Keys, Kind, list, size};
use candle::Result;
use candle_nn::VarBuilder;
use std::sync::Arc;

/// Dense hidden layers of these widths, then a dense layer to the classes.
#[derive(Clone, Debug)]
pub struct Mlp {
    /// Widths, each at least 1; empty for softmax regression.
    pub hidden: Vec<usize>,
}

/// `model.kind = "mlp"`.
pub(super) fn kind() -> Kind<Arc<dyn Architecture>> {
    Kind::new("mlp", "dense layers", |keys: &mut Keys<'_>| Some(Arc::new(read(keys)?) as _))
}

fn read(keys: &mut Keys<'_>) -> Option<Mlp> {
    let about = "widths of the hidden layers, any number of them";
    let hidden = Key::new("hidden", list("widths", size()), about).also(&["widths", "layers"]);
    Some(Mlp { hidden: keys.with_default(hidden, vec![100, 100, 100])? })
}

impl Architecture for Mlp {
    fn build(
        &self,
        sizes: Sizes,
        hidden: Hidden<'_>,
        builder: &VarBuilder<'_>,
    ) -> Result<Box<dyn Layer>> {
        let mut chain = Chain::new();
        chain.push(Flatten);
        let mut inputs = sizes.input.pixels();
        for (index, &width) in self.hidden.iter().enumerate() {
            let builder = builder.pp(format!("hidden{}", index + 1));
            let dense = Dense::build(inputs, width, hidden.needs_bias(), &builder)?;
            chain.push(Block::build(dense, width, hidden, &builder)?);
            inputs = width;
        }
        chain.push(Dense::build(inputs, sizes.classes, true, &builder.pp("output"))?);
        Ok(Box::new(chain))
    }
}
