//! The direct sum, for every kernel, stride and padding. Images are copied once into a zero-padded buffer, and the kernels loop
//! over points and taps.

mod correlate;
mod gather;
mod grid;
mod pack;

use super::lanes::{block, dispatch};
use super::share::{Division, Part, images_per_task};
use super::{ConvShape, pack as weight_pack};
use crate::ops::buffer::{Buffer, filled};
use crate::ops::{parallel, transpose};
use correlate::{Correlate, Runs};
use gather::Gather;
use grid::{Border, Grid};
use std::cell::RefCell;
use std::mem::MaybeUninit;

thread_local! {
    /// A padded image, and one with channels in lanes.
    static BUFFERS: RefCell<(Buffer, Buffer)> = RefCell::default();
}

/// y.
pub(super) fn forward(
    shape: &ConvShape,
    output: (usize, usize),
    x: &[f32],
    weights: &[f32],
) -> Vec<f32> {
    let (border, grid) = shape.forward_grid(output);
    let block = block(shape.outputs);
    let weights = weight_pack::forward_weights(shape, weights, block);
    let map = output.0 * output.1;
    let gathering = Gathering {
        from: x,
        planes: shape.inputs,
        border,
        grids: &[grid],
        weights: &weights,
        taps: shape.taps(),
        block,
    };
    // SAFETY: `images` writes every image's outputs.
    #[allow(unsafe_code)] // see `filled`
    unsafe {
        filled(shape.images * shape.outputs * map, |y| images(&gathering, shape.outputs, map, y))
    }
}

/// The gradient by x.
pub(super) fn input_gradient(
    shape: &ConvShape,
    output: (usize, usize),
    dy: &[f32],
    weights: &[f32],
) -> Vec<f32> {
    let (border, grids) = shape.input_gradient_grids(output);
    let block = block(shape.inputs);
    let weights = weight_pack::backward_weights(shape, weights, block);
    let gathering = Gathering {
        from: dy,
        planes: shape.outputs,
        border,
        grids: &grids,
        weights: &weights,
        taps: shape.taps(),
        block,
    };
    let map = shape.height * shape.width;
    // SAFETY: as in `forward`.
    #[allow(unsafe_code)] // see `filled`
    unsafe {
        filled(shape.images * shape.image(), |dx| images(&gathering, shape.inputs, map, dx))
    }
}

/// The gradient by the weights.
pub(super) fn weight_gradient(
    shape: &ConvShape,
    output: (usize, usize),
    x: &[f32],
    dy: &[f32],
) -> Vec<f32> {
    let (border, grid) = shape.forward_grid(output);
    let block = block(shape.outputs);
    let map = output.0 * output.1;
    let (image, result, plane) = (shape.image(), shape.outputs * map, shape.height * shape.width);
    let per_input = shape.taps() * block;
    let division = Division::new(shape, block);
    let (blocks, inputs) = (division.blocks(), division.inputs());
    let runs = Runs::new(&grid, shape.kernel, inputs, border.len());
    let total = division.sums(per_input, |Part { images, first_block, first_input }, sums| {
        let channels = first_block * block..shape.outputs.min((first_block + blocks) * block);
        with_buffers(|bordered, lanes| {
            let bordered = bordered.take(inputs * border.len());
            let lanes = lanes.take(blocks * map * block);
            bordered.fill(0.0);
            for n in images {
                let x = &x[n * image + first_input * plane..][..inputs * plane];
                let dy = &dy[n * result..][channels.start * map..channels.end * map];
                pack::into_border(x, border, bordered);
                transpose::to_lanes(dy, map, block, lanes);
                let each =
                    sums.chunks_exact_mut(inputs * per_input).zip(lanes.chunks_exact(map * block));
                for (dw, dy) in each {
                    let kernel = Correlate { grid: &grid, runs: &runs, x: bordered, dy, block, dw };
                    dispatch(block, kernel);
                }
            }
        });
    });
    weight_pack::unpacked_weights(shape, &total, block)
}

/// Arguments of [`images`].
struct Gathering<'a> {
    from: &'a [f32],
    planes: usize,
    border: Border,
    grids: &'a [Grid],
    weights: &'a [f32],
    taps: usize,
    block: usize,
}

/// Fills `to` with `channels` maps of `map` elements per image.
fn images(gathering: &Gathering<'_>, channels: usize, map: usize, to: &mut [MaybeUninit<f32>]) {
    let Gathering { from, planes, border, grids, weights, taps, block } = *gathering;
    let image = planes * border.inner.0 * border.inner.1;
    let blocks = channels.div_ceil(block);
    let size = channels * map;
    let count = to.len() / size;
    // Each task clears its border once.
    let per_task = images_per_task(count);
    parallel::chunks(to, per_task * size, |task, to| {
        with_buffers(|bordered, lanes| {
            let bordered = bordered.take(planes * border.len());
            let lanes = lanes.take(blocks * map * block);
            bordered.fill(0.0);
            for (index, to) in to.chunks_exact_mut(size).enumerate() {
                let n = task * per_task + index;
                pack::into_border(&from[n * image..][..image], border, bordered);
                let weights = weights.chunks_exact(planes * taps * block);
                for (y, weights) in lanes.chunks_exact_mut(map * block).zip(weights) {
                    for grid in grids {
                        let kernel = Gather {
                            grid,
                            x: bordered,
                            plane: border.len(),
                            weights,
                            kernel_taps: taps,
                            block,
                            y,
                        };
                        dispatch(block, kernel);
                    }
                }
                transpose::from_lanes(lanes, map, block, to);
            }
        });
    });
}

fn with_buffers(work: impl FnOnce(&mut Buffer, &mut Buffer)) {
    BUFFERS.with_borrow_mut(|(bordered, lanes)| work(bordered, lanes));
}
