//! Pooling by tensor operations, for devices and types without kernels of this crate. Candle's own `max_pool2d` is not used,
//! because its gradient is four times too small (it averages the window's mask) and goes to every one of several equal maxima.

use candle::{D, DType, Result, Tensor};

/// As [`max`](super::max), for `[N, channels, height, width]`.
pub(super) fn max(x: &Tensor) -> Result<Tensor> {
    let [first, rest @ ..] = corners(x)?;
    rest.iter().try_fold(first, |best, corner| larger(&best, corner))
}

/// The elementwise maximum, with NaN as the largest value.
fn larger(first: &Tensor, second: &Tensor) -> Result<Tensor> {
    let larger = second.gt(first)?.where_cond(second, first)?;
    let second_or_nan = is_nan(first)?.where_cond(first, second)?;
    is_nan(second)?.where_cond(&second_or_nan, &larger)
}

fn is_nan(x: &Tensor) -> Result<Tensor> {
    x.ne(x)
}

/// As [`max_gradient`](super::max_gradient).
pub(super) fn max_gradient(x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let (images, channels, height, width) = x.dims4()?;
    let (rows, columns) = (height / 2, width / 2);
    let (y, none) = (max(x)?, dy.zeros_like()?);
    // What no corner has taken yet.
    let mut left = dy.clone();
    let mut taken = Vec::with_capacity(4);
    for corner in corners(x)? {
        let is_largest = (corner.eq(&y)? + is_nan(&corner)?)?;
        taken.push(is_largest.where_cond(&left, &none)?);
        left = is_largest.where_cond(&none, &left)?;
    }
    let line = |left: &Tensor, right: &Tensor| {
        Tensor::stack(&[left, right], D::Minus1)?.reshape((images, channels, rows, 2 * columns))
    };
    let lines = [line(&taken[0], &taken[1])?, line(&taken[2], &taken[3])?];
    let dx = Tensor::stack(&lines, 3)?.reshape((images, channels, 2 * rows, 2 * columns))?;
    // An odd last row or column belongs to no window.
    dx.pad_with_zeros(2, 0, height % 2)?.pad_with_zeros(3, 0, width % 2)
}

/// The elements of 2x2 windows in row order, `[N, channels, height / 2, width / 2]` each.
fn corners(x: &Tensor) -> Result<[Tensor; 4]> {
    let (images, channels, height, width) = x.dims4()?;
    let (rows, columns) = (height / 2, width / 2);
    let windows = x.narrow(2, 0, 2 * rows)?.narrow(3, 0, 2 * columns)?.contiguous()?;
    let windows = windows.reshape((images * channels, rows, 2, columns, 2))?;
    let corner = |row: usize, column: usize| {
        let corner = windows.narrow(2, row, 1)?.narrow(4, column, 1)?;
        corner.reshape((images, channels, rows, columns))
    };
    Ok([corner(0, 0)?, corner(0, 1)?, corner(1, 0)?, corner(1, 1)?])
}

/// The mean of each map. Summed in f32, whatever the values are.
pub(super) fn mean(x: &Tensor) -> Result<Tensor> {
    let wide = x.flatten_from(2)?.to_dtype(DType::F32)?;
    wide.mean(D::Minus1)?.to_dtype(x.dtype())
}

/// The gradient of [`mean`], for maps of these sizes.
pub(super) fn mean_gradient(dy: &Tensor, (height, width): (usize, usize)) -> Result<Tensor> {
    let (images, channels) = dy.dims2()?;
    let share = (dy / (height * width) as f64)?.reshape((images, channels, 1, 1))?;
    share.broadcast_as((images, channels, height, width))?.contiguous()
}
