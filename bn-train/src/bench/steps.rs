//! The steps that are timed, on made-up numbers.

use crate::data::{Batch, ImageShape};
use crate::experiment::{Registry, Settings};
use crate::model::Sizes;
use crate::ops::conv::{self, ConvShape};
use crate::random::{Purpose, Stream};
use crate::task::Turn;
use anyhow::Context as _;
use candle::{Device, Tensor};
use std::hint::black_box;

pub(super) type Step = Box<dyn FnMut() -> anyhow::Result<()>>;

/// A 3x3 convolution of 128 square images: forward and both gradients.
pub(super) fn convolution(
    inputs: usize,
    outputs: usize,
    size: usize,
    stride: usize,
) -> anyhow::Result<Step> {
    let shape = ConvShape {
        images: 128,
        inputs,
        height: size,
        width: size,
        outputs,
        kernel: (3, 3),
        stride,
        padding: 1,
    };
    let (rows, columns) = shape.output().context("the kernel does not fit")?;
    let x = numbers("x", shape.images * inputs * size * size);
    let weights = numbers("weights", outputs * inputs * 9);
    let dy = numbers("dy", shape.images * outputs * rows * columns);
    Ok(Box::new(move || {
        black_box(conv::forward(&shape, &x, &weights));
        black_box(conv::input_gradient(&shape, &dy, &weights));
        black_box(conv::weight_gradient(&shape, &x, &dy));
        Ok(())
    }))
}

/// The network of Ioffe & Szegedy 2015, figure 1.
pub(super) fn mlp(depth: usize, width: usize, norm: bool) -> String {
    let hidden = vec![width.to_string(); depth].join(", ");
    let norm = if norm { "" } else { "norm.kind = 'none'\n" };
    format!("{norm}model = {{ kind = 'mlp', hidden = [{hidden}], activation = 'sigmoid' }}")
}

/// One training step of the network of `model`.
pub(super) fn training(
    model: &str,
    input: ImageShape,
    batch: usize,
    device: &Device,
) -> anyhow::Result<Step> {
    let settings = settings(model)?;
    let sizes = Sizes { input, classes: 10 };
    let networks = settings.networks(sizes, 0, device)?;
    let mut optimizer = settings.optimizer.build(networks.parameters().collect())?;
    let images = numbers("images", batch * input.pixels());
    let dims = (batch, input.channels, input.height, input.width);
    let images = Tensor::from_vec(images, dims, device)?;
    let mut stream = Stream::new(0, Purpose::Initialize("labels"));
    let labels: Vec<u32> = (0..batch).map(|_| stream.below(10) as u32).collect();
    let batch = Batch::new(images, Tensor::new(labels, device)?);
    Ok(Box::new(move || {
        let models = networks.models();
        let learned = networks.task().learn(0, models, &batch, &mut Turn::default())?;
        optimizer.step(&learned.gradients, 0.01)?;
        black_box(learned.scores);
        Ok(())
    }))
}

fn settings(model: &str) -> anyhow::Result<Settings> {
    let lines = format!(
        "{model}\noptimizer = {{ learning_rate = 0.01, momentum = 0.9 }}\ntrain.steps = 1\n"
    );
    Ok(Registry::built_in().settings(&lines)?)
}

fn numbers(name: &str, len: usize) -> Vec<f32> {
    let mut stream = Stream::new(0, Purpose::Initialize(name));
    (0..len).map(|_| stream.normal(0.0, 1.0)).collect()
}
