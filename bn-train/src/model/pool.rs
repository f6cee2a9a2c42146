//! Pooling and reshaping layers.

use super::layer::{Layer, Named};
use super::pass::Pass;
use super::signal::Signal;
use super::tape::{Backward, GradientSink};
use crate::ops::pool;
use candle::{Result, Tensor};

/// Flattens `[N, …]` to `[N, elements per example]`.
#[derive(Debug)]
pub struct Flatten;

impl Layer for Flatten {
    fn forward(&self, x: &Signal, pass: &mut Pass<'_>) -> Result<Signal> {
        let y = x.tensor().flatten_from(1)?;
        Ok(pass.result(y, &[x], false, || ReshapeBackward { dims: x.tensor().dims().to_vec() }))
    }

    fn visit<'a>(&'a self, _: &mut dyn FnMut(Named<'a>)) {}
}

/// Reshapes each example: `[N, …]` becomes `[N, dimensions]`.
#[derive(Debug)]
pub struct Reshape(pub Vec<usize>);

impl Layer for Reshape {
    fn forward(&self, x: &Signal, pass: &mut Pass<'_>) -> Result<Signal> {
        let mut dims = vec![x.tensor().dim(0)?];
        dims.extend(&self.0);
        let y = x.tensor().reshape(dims)?;
        Ok(pass.result(y, &[x], false, || ReshapeBackward { dims: x.tensor().dims().to_vec() }))
    }

    fn visit<'a>(&'a self, _: &mut dyn FnMut(Named<'a>)) {}
}

#[derive(Debug)]
struct ReshapeBackward {
    dims: Vec<usize>,
}

impl Backward for ReshapeBackward {
    fn backward(self: Box<Self>, dy: Tensor, sink: &mut GradientSink<'_>) -> Result<()> {
        sink.input(0, dy.reshape(self.dims)?)
    }
}

/// 2x2 max pooling with stride 2. An odd last row or column is dropped. The gradient goes to the first maximum of a
/// window, in row order.
#[derive(Debug)]
pub struct MaxPool;

impl Layer for MaxPool {
    fn forward(&self, x: &Signal, pass: &mut Pass<'_>) -> Result<Signal> {
        let values = x.tensor().contiguous()?;
        let y = pool::max(&values)?;
        Ok(pass.result(y, &[x], false, || MaxPoolBackward { x: values }))
    }

    fn visit<'a>(&'a self, _: &mut dyn FnMut(Named<'a>)) {}
}

#[derive(Debug)]
struct MaxPoolBackward {
    x: Tensor,
}

impl Backward for MaxPoolBackward {
    fn backward(self: Box<Self>, dy: Tensor, sink: &mut GradientSink<'_>) -> Result<()> {
        sink.input(0, pool::max_gradient(&self.x, &dy)?)
    }
}

/// Global mean pooling: `[N, C, height, width]` becomes `[N, C]`.
#[derive(Debug)]
pub struct MeanOverMap;

impl Layer for MeanOverMap {
    fn forward(&self, x: &Signal, pass: &mut Pass<'_>) -> Result<Signal> {
        let (_, _, height, width) = x.tensor().dims4()?;
        let y = pool::mean(&x.tensor().contiguous()?)?;
        Ok(pass.result(y, &[x], false, || MeanBackward { map: (height, width) }))
    }

    fn visit<'a>(&'a self, _: &mut dyn FnMut(Named<'a>)) {}
}

#[derive(Debug)]
struct MeanBackward {
    map: (usize, usize),
}

impl Backward for MeanBackward {
    fn backward(self: Box<Self>, dy: Tensor, sink: &mut GradientSink<'_>) -> Result<()> {
        sink.input(0, pool::mean_gradient(&dy, self.map)?)
    }
}
