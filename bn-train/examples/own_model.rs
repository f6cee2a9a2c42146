//! A custom network, data set and experiment: `cargo run --example own_model -- run rings`.

use bn_train::data::{DataError, Dataset, Description, Examples, ImageShape, Provider};
use bn_train::keys::{Key, size};
use bn_train::model::{Architecture, Block, Chain, Dense, Flatten, Graph, Hidden, Layer, Sizes};
type Built = candle::Result<Box<dyn Layer>>;

/// A dense layer of this crate with norm and activation, then one of candle's.
#[derive(Debug)]
struct Mixed(usize);

impl Architecture for Mixed {
    fn build(&self, sizes: Sizes, hidden: Hidden<'_>, vb: &candle_nn::VarBuilder<'_>) -> Built {
        let (first, second) = (vb.pp("first"), vb.pp("second"));
        let mut layers = Chain::new();
        layers.push(Flatten);
        let dense = Dense::build(sizes.input.pixels(), self.0, hidden.needs_bias(), &first)?;
        layers.push(Block::build(dense, self.0, hidden, &first)?);
        layers.push(Graph::build(&second, |vb| candle_nn::linear(self.0, sizes.classes, vb))?);
        Ok(Box::new(layers))
    }
}

/// Points in the plane, classified as inside a ring, on it, or outside.
#[derive(Debug)]
struct Rings;
const POINT: ImageShape = ImageShape { channels: 2, height: 1, width: 1 };

impl Provider for Rings {
    fn describe(&self) -> Description {
        Description { shape: POINT, classes: 3, train: 600 }
    }

    fn load(&self) -> Result<Dataset, DataError> {
        let point = |i: u32| [0.618_034, 0.754_878].map(|step| (step * i as f32).fract());
        let radius = |[x, y]: [f32; 2]| (x - 0.5).hypot(y - 0.5);
        let class = |i| [0.326, 0.461].iter().filter(|r| radius(point(i)) > **r).count() as u32;
        let pixels = (0..1000).flat_map(point).collect();
        let labels = (0..1000).map(class).collect();
        Ok(Dataset::stratified(&Examples { shape: POINT, pixels, labels }, 3, 200, 200))
    }
}

const EXPERIMENT: &str = "question = 'Does batch norm help to distinguish rings?'
data.name = 'rings'
model = { kind = 'mixed', width = 32 }
optimizer.learning_rate = 0.1
train = { epochs = 30, evaluate_every = 50 }
arm = [{ name = 'batch norm', norm.decay = 0.9 }, { name = 'none', norm.kind = 'none' }]";

fn main() -> std::process::ExitCode {
    bn_train::Laboratory::new()
        .model("mixed", "two layers, one of them candle's", |keys| {
            keys.with_default(Key::new("width", size(), "width of the hidden layer"), 16).map(Mixed)
        })
        .data("rings", "1,000 points in the plane, in three rings", |_| Some(Rings))
        .experiment("rings", EXPERIMENT)
        .main()
}
