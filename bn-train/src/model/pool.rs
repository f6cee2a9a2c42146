//! Layers without variables: what they do to the shape of an image.

use super::layer::{Backward, Gradients, Layer, Wanted};
use super::norm::Mode;
use crate::ops::buffer::{Numbers, tensor};
use crate::ops::pool;
use candle::{D, Result, Tensor, Var};

/// `[N, …]` becomes `[N, numbers of an example]`.
#[derive(Debug)]
pub(super) struct Flatten;

impl Layer for Flatten {
    fn forward(&self, x: &Tensor, _: Mode) -> Result<Tensor> {
        x.flatten_from(1)
    }

    fn forward_saved(&self, x: &Tensor) -> Result<(Tensor, Backward<'_>)> {
        let dims = x.dims().to_vec();
        let backward = move |dy: Tensor, _: Wanted, _: &mut Gradients| dy.reshape(dims).map(Some);
        Ok((x.flatten_from(1)?, Box::new(backward)))
    }

    fn trainable(&self) -> Vec<(String, Var)> {
        Vec::new()
    }
}

/// The largest number of each 2x2 window; what does not fill a window is left out.
#[derive(Debug)]
pub(super) struct MaxPool;

impl Layer for MaxPool {
    fn forward(&self, x: &Tensor, _: Mode) -> Result<Tensor> {
        // Not candle's `max_pool2d`: its gradient is four times too small (it takes the mean of the window's mask).
        let (images, channels, height, width) = x.dims4()?;
        let (rows, columns) = (height / 2, width / 2);
        let windows = x.narrow(2, 0, 2 * rows)?.narrow(3, 0, 2 * columns)?;
        let windows = windows.contiguous()?;
        let windows = windows.reshape((images * channels, rows, 2, columns, 2))?;
        let largest = windows.max(4)?.max(2)?;
        largest.reshape((images, channels, rows, columns))
    }

    fn forward_saved(&self, x: &Tensor) -> Result<(Tensor, Backward<'_>)> {
        let (images, channels, height, width) = x.dims4()?;
        let x = x.contiguous()?;
        let y = pool::max(&Numbers::of(&x)?, (height, width));
        let y = tensor(y, (images, channels, height / 2, width / 2))?;
        let backward = move |dy: Tensor, _: Wanted, _: &mut Gradients| {
            let dx = pool::max_gradient(&Numbers::of(&x)?, &Numbers::of(&dy)?, (height, width));
            tensor(dx, x.dims()).map(Some)
        };
        Ok((y, Box::new(backward)))
    }

    fn trainable(&self) -> Vec<(String, Var)> {
        Vec::new()
    }
}

/// `[N, C, height, width]` becomes `[N, C]`, the mean of each map.
#[derive(Debug)]
pub(super) struct MeanOverMap;

impl Layer for MeanOverMap {
    fn forward(&self, x: &Tensor, _: Mode) -> Result<Tensor> {
        x.flatten_from(2)?.mean(D::Minus1)
    }

    fn forward_saved(&self, x: &Tensor) -> Result<(Tensor, Backward<'_>)> {
        let (images, channels, height, width) = x.dims4()?;
        let x = x.contiguous()?;
        let y = tensor(pool::mean(&Numbers::of(&x)?, height * width), (images, channels))?;
        let dims = x.dims().to_vec();
        let backward = move |dy: Tensor, _: Wanted, _: &mut Gradients| {
            let dx = pool::mean_gradient(&Numbers::of(&dy)?, height * width);
            tensor(dx, dims).map(Some)
        };
        Ok((y, Box::new(backward)))
    }

    fn trainable(&self) -> Vec<(String, Var)> {
        Vec::new()
    }
}
