//! Pooling of tensors `[N, channels, height, width]`: by kernels over slices, `[maps, height, width]`, for f32 on the CPU, and
//! by tensor operations elsewhere.

mod tensors;

use std::mem::MaybeUninit;

use super::buffer::{Numbers, Slot, filled, is_plain, tensor};
use super::parallel;
use candle::{Result, Tensor};

/// Maps per task.
const MAPS: usize = 64;

/// The maximum of each 2x2 window of a contiguous x. NaN counts as largest.
pub(crate) fn max(x: &Tensor) -> Result<Tensor> {
    let (images, channels, height, width) = x.dims4()?;
    if !is_plain(x) {
        return tensors::max(x);
    }
    let y = max_of(&Numbers::of(x)?, (height, width));
    tensor(y, (images, channels, height / 2, width / 2))
}

/// The gradient of [`max`]: dy at the first maximum of each window, 0 elsewhere.
pub(crate) fn max_gradient(x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    if !is_plain(x) {
        return tensors::max_gradient(x, dy);
    }
    tensor(max_gradient_of(&Numbers::of(x)?, &Numbers::of(dy)?, (height, width)), x.dims())
}

/// The mean of each map of a contiguous x, `[N, channels]`.
pub(crate) fn mean(x: &Tensor) -> Result<Tensor> {
    let (images, channels, height, width) = x.dims4()?;
    if !is_plain(x) {
        return tensors::mean(x);
    }
    tensor(mean_of(&Numbers::of(x)?, height * width), (images, channels))
}

/// The gradient of [`mean`], for maps of this height and width.
pub(crate) fn mean_gradient(dy: &Tensor, map: (usize, usize)) -> Result<Tensor> {
    if !is_plain(dy) {
        return tensors::mean_gradient(dy, map);
    }
    let (images, channels) = dy.dims2()?;
    let dx = mean_gradient_of(&Numbers::of(dy)?, map.0 * map.1);
    tensor(dx, (images, channels, map.0, map.1))
}

fn max_of(x: &[f32], (height, width): (usize, usize)) -> Vec<f32> {
    let (rows, columns) = (height / 2, width / 2);
    let map = rows * columns;
    let maps = x.len() / (height * width).max(1);
    let pooled = |y: &mut [MaybeUninit<f32>]| {
        parallel::chunks(y, (MAPS * map).max(1), |task, y| {
            for (index, y) in y.chunks_exact_mut(map).enumerate() {
                let x = &x[(task * MAPS + index) * height * width..];
                for row in 0..rows {
                    for column in 0..columns {
                        let (at, _) = largest(x, width, row, column);
                        y[row * columns + column].put(x[at]);
                    }
                }
            }
        });
    };
    // SAFETY: the chunks cover y, and each writes every element of its maps.
    #[allow(unsafe_code)] // see `filled`
    unsafe {
        filled(maps * map, pooled)
    }
}

fn max_gradient_of(x: &[f32], dy: &[f32], (height, width): (usize, usize)) -> Vec<f32> {
    let (rows, columns) = (height / 2, width / 2);
    let mut dx = vec![0.0; x.len()];
    parallel::chunks(&mut dx, (MAPS * height * width).max(1), |task, dx| {
        for (index, dx) in dx.chunks_exact_mut(height * width).enumerate() {
            let map = task * MAPS + index;
            let x = &x[map * height * width..];
            let dy = &dy[map * rows * columns..];
            for row in 0..rows {
                for column in 0..columns {
                    let (at, _) = largest(x, width, row, column);
                    dx[at] = dy[row * columns + column];
                }
            }
        }
    });
    dx
}

/// The index and value of a window's maximum.
fn largest(x: &[f32], width: usize, row: usize, column: usize) -> (usize, f32) {
    let corner = 2 * row * width + 2 * column;
    let mut best = (corner, x[corner]);
    for at in [corner + 1, corner + width, corner + width + 1] {
        if x[at] > best.1 || x[at].is_nan() && !best.1.is_nan() {
            best = (at, x[at]);
        }
    }
    best
}

/// Of maps of `size` elements.
fn mean_of(x: &[f32], size: usize) -> Vec<f32> {
    let mut means = vec![0.0; x.len() / size.max(1)];
    parallel::chunks(&mut means, MAPS, |task, means| {
        let maps = x[task * MAPS * size..].chunks_exact(size);
        for (mean, map) in means.iter_mut().zip(maps) {
            *mean = map.iter().sum::<f32>() / size as f32;
        }
    });
    means
}

fn mean_gradient_of(dy: &[f32], size: usize) -> Vec<f32> {
    let spread = |dx: &mut [MaybeUninit<f32>]| {
        parallel::chunks(dx, (MAPS * size).max(1), |task, dx| {
            for (map, dy) in dx.chunks_exact_mut(size).zip(&dy[task * MAPS..]) {
                map.fill(MaybeUninit::new(dy / size as f32));
            }
        });
    };
    // SAFETY: the chunks cover dx in complete maps, and dy has an element per map.
    #[allow(unsafe_code)] // see `filled`
    unsafe {
        filled(dy.len() * size, spread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradient_goes_to_the_first_maximum() {
        #[rustfmt::skip]
        let x = [
            1.0, 4.0, 7.0, 7.0, 9.0,
            3.0, 2.0, 7.0, 1.0, 9.0,
            5.0, 5.0, 5.0, 5.0, 9.0,
        ];
        assert_eq!(max_of(&x, (3, 5)), [4.0, 7.0]);
        let mut want = [0.0; 15];
        (want[1], want[2]) = (10.0, 20.0);
        assert_eq!(max_gradient_of(&x, &[10.0, 20.0], (3, 5)), want);
        assert!(max_of(&[1.0, f32::NAN, 3.0, 4.0], (2, 2))[0].is_nan());
    }

    #[test]
    fn means_and_their_gradients() {
        assert_eq!(mean_of(&[1.0, 2.0, 3.0, 6.0], 2), [1.5, 4.5]);
        assert_eq!(mean_gradient_of(&[3.0, 5.0], 2), [1.5, 1.5, 2.5, 2.5]);
        assert_eq!(mean_of(&[], 4), [0.0; 0]);
        assert_eq!(mean_gradient_of(&[3.0, 5.0], 0), [0.0; 0]);
        // More maps than fit in one task.
        let x: Vec<f32> = (0..1000).map(|i| i as f32).collect();
        for threads in [1, 3] {
            let (means, dx) =
                parallel::on_threads(threads, || (mean_of(&x, 4), mean_gradient_of(&x, 3)));
            assert!(means.iter().enumerate().all(|(i, mean)| *mean == 4.0 * i as f32 + 1.5));
            assert!(dx.iter().enumerate().all(|(i, dx)| *dx == (i / 3) as f32 / 3.0));
        }
    }
}
