//! Pooling and reshaping layers.

use super::layer::{Layer, Named};
use super::pass::Pass;
use super::signal::Signal;
use super::tape::{Backward, GradientSink};
use crate::ops::buffer::{Numbers, tensor};
use crate::ops::pool;
use candle::{D, DType, Result, Tensor};

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
        if !pass.uses_kernels(x)? {
            return max_by_graph(x.tensor()).map(Signal::new);
        }
        let (images, channels, height, width) = x.tensor().dims4()?;
        let values = x.tensor().contiguous()?;
        let y = pool::max(&Numbers::of(&values)?, (height, width));
        let y = tensor(y, (images, channels, height / 2, width / 2))?;
        Ok(pass.result(y, &[x], false, || MaxPoolBackward { x: values, map: (height, width) }))
    }

    fn visit<'a>(&'a self, _: &mut dyn FnMut(Named<'a>)) {}
}

/// Max pooling by candle's operations. Its own `max_pool2d` is not used, because its gradient is four times too small (it
/// averages the window's mask) and goes to every one of several equal maxima.
fn max_by_graph(x: &Tensor) -> Result<Tensor> {
    let (images, channels, height, width) = x.dims4()?;
    let (rows, columns) = (height / 2, width / 2);
    let windows = x.narrow(2, 0, 2 * rows)?.narrow(3, 0, 2 * columns)?.contiguous()?;
    let windows = windows.reshape((images * channels, rows, 2, columns, 2))?;
    let corner = |row: usize, column: usize| {
        let corner = windows.narrow(2, row, 1)?.narrow(4, column, 1)?;
        corner.reshape((images, channels, rows, columns))
    };
    let mut best = corner(0, 0)?;
    for (row, column) in [(0, 1), (1, 0), (1, 1)] {
        best = larger(&best, &corner(row, column)?)?;
    }
    Ok(best)
}

/// The elementwise maximum, with NaN as the largest value. On ties, the gradient goes to `first`.
fn larger(first: &Tensor, second: &Tensor) -> Result<Tensor> {
    let larger = second.gt(first)?.where_cond(second, first)?;
    let second_or_nan = first.ne(first)?.where_cond(first, second)?;
    second.ne(second)?.where_cond(&second_or_nan, &larger)
}

#[derive(Debug)]
struct MaxPoolBackward {
    x: Tensor,
    map: (usize, usize),
}

impl Backward for MaxPoolBackward {
    fn backward(self: Box<Self>, dy: Tensor, sink: &mut GradientSink<'_>) -> Result<()> {
        let dx = pool::max_gradient(&Numbers::of(&self.x)?, &Numbers::of(&dy)?, self.map);
        sink.input(0, tensor(dx, self.x.dims())?)
    }
}

/// Global mean pooling: `[N, C, height, width]` becomes `[N, C]`.
#[derive(Debug)]
pub struct MeanOverMap;

impl Layer for MeanOverMap {
    fn forward(&self, x: &Signal, pass: &mut Pass<'_>) -> Result<Signal> {
        if !pass.uses_kernels(x)? {
            // Summed in f32, whatever the values are.
            let wide = x.tensor().flatten_from(2)?.to_dtype(DType::F32)?;
            return wide.mean(D::Minus1)?.to_dtype(x.tensor().dtype()).map(Signal::new);
        }
        let (images, channels, height, width) = x.tensor().dims4()?;
        let values = x.tensor().contiguous()?;
        let y = tensor(pool::mean(&Numbers::of(&values)?, height * width), (images, channels))?;
        Ok(pass.result(y, &[x], false, || MeanBackward { dims: values.dims().to_vec() }))
    }

    fn visit<'a>(&'a self, _: &mut dyn FnMut(Named<'a>)) {}
}

#[derive(Debug)]
struct MeanBackward {
    dims: Vec<usize>,
}

impl Backward for MeanBackward {
    fn backward(self: Box<Self>, dy: Tensor, sink: &mut GradientSink<'_>) -> Result<()> {
        let map = self.dims[2..].iter().product();
        sink.input(0, tensor(pool::mean_gradient(&Numbers::of(&dy)?, map), self.dims)?)
    }
}
