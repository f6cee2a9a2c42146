//! Two-dimensional f32 convolution, NCHW: [`conv2d`] for tensors, and [`forward`] and its gradients for slices.
//!
//! One algorithm covers every kernel, stride and padding. Images are copied once into a zero-padded buffer, and the kernels
//! loop over points and taps with output channels in the vector lanes. A task is a few images. The gradient by the weights
//! is summed over a fixed number of groups of images; with more threads than groups, the channels of a group are divided
//! too. Results are therefore bitwise equal for any number of threads.

mod correlate;
mod gather;
mod lanes;
mod op;
mod pack;
mod shape;
#[cfg(test)]
mod tests;

pub(crate) use op::conv_shape;
pub use op::conv2d;
pub use shape::ConvShape;

use super::buffer::{Buffer, filled};
use super::{parallel, transpose};
use correlate::{Correlate, Runs};
use gather::Gather;
use lanes::{block, dispatch};
use shape::{Border, Grid};
use std::cell::RefCell;
use std::mem::MaybeUninit;

/// Minimum number of tasks per batch.
const TASKS: usize = 16;
/// Number of image groups whose gradients by the weights are summed separately.
const GROUPS: usize = 8;

thread_local! {
    /// A padded image, and one with channels in lanes.
    static BUFFERS: RefCell<(Buffer, Buffer)> = RefCell::default();
}

/// `y = x ∗ w`. Shapes as in [`ConvShape`]; y is `[images, outputs, rows, columns]`.
///
/// # Panics
/// A slice does not have the length of the shape, the kernel does not fit, or a size other than `images` is 0.
pub fn forward(shape: &ConvShape, x: &[f32], weights: &[f32]) -> Vec<f32> {
    let output = checked(shape);
    shape.check_input(x);
    shape.check_weights(weights);
    let (border, grid) = shape.forward_grid(output);
    let block = block(shape.outputs);
    let weights = pack::forward_weights(shape, weights, block);
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
///
/// # Panics
/// As [`forward`].
pub fn input_gradient(shape: &ConvShape, dy: &[f32], weights: &[f32]) -> Vec<f32> {
    let output = checked(shape);
    shape.check_result(dy, output);
    shape.check_weights(weights);
    let (border, grids) = shape.input_gradient_grids(output);
    let block = block(shape.inputs);
    let weights = pack::backward_weights(shape, weights, block);
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
///
/// # Panics
/// As [`forward`].
pub fn weight_gradient(shape: &ConvShape, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let output = checked(shape);
    shape.check_input(x);
    shape.check_result(dy, output);
    if shape.images == 0 {
        return vec![0.0; shape.weights()];
    }
    let (border, grid) = shape.forward_grid(output);
    let block = block(shape.outputs);
    let blocks = shape.outputs.div_ceil(block);
    let map = output.0 * output.1;
    let (image, result, plane) = (shape.image(), shape.outputs * map, shape.height * shape.width);
    let per_input = shape.taps() * block;
    let per_block = shape.inputs * per_input;
    let size = shape.images.div_ceil(GROUPS);
    let groups = shape.images.div_ceil(size);
    let share = Share::new(rayon::current_num_threads(), groups, blocks, shape.inputs);
    let runs = Runs::new(&grid, shape.kernel, share.inputs, border.len());
    let mut partial = vec![0.0; groups * blocks * per_block];
    parallel::chunks(&mut partial, share.blocks * share.inputs * per_input, |task, partial| {
        let Part { group, first_block, first_input } = share.part(task, blocks, shape.inputs);
        let images = group * size..shape.images.min((group + 1) * size);
        let channels = first_block * block..shape.outputs.min((first_block + share.blocks) * block);
        with_buffers(|bordered, lanes| {
            let bordered = bordered.take(share.inputs * border.len());
            let lanes = lanes.take(share.blocks * map * block);
            bordered.fill(0.0);
            for n in images {
                let x = &x[n * image + first_input * plane..][..share.inputs * plane];
                let dy = &dy[n * result..][channels.start * map..channels.end * map];
                pack::into_border(x, border, bordered);
                transpose::to_lanes(dy, map, block, lanes);
                let each = partial
                    .chunks_exact_mut(share.inputs * per_input)
                    .zip(lanes.chunks_exact(map * block));
                for (dw, dy) in each {
                    let kernel = Correlate { grid: &grid, runs: &runs, x: bordered, dy, block, dw };
                    dispatch(block, kernel);
                }
            }
        });
    });
    let (total, rest) = partial.split_at_mut(blocks * per_block);
    for group in rest.chunks_exact(blocks * per_block) {
        for (total, part) in total.iter_mut().zip(group) {
            *total += part;
        }
    }
    let rows = shape.inputs * shape.taps();
    // SAFETY: `from_lanes` writes all of its output.
    #[allow(unsafe_code)] // see `filled`
    unsafe {
        filled(shape.weights(), |dw| transpose::from_lanes(total, rows, block, dw))
    }
}

/// The share of the gradient by the weights that a task computes: a full group of images if there are enough groups for
/// all threads, otherwise some inputs of one block of outputs. Sums always run over a group's images in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    /// Output blocks per task.
    blocks: usize,
    /// Inputs per task; divides the number of inputs.
    inputs: usize,
}

/// The start of a task's share.
struct Part {
    group: usize,
    first_block: usize,
    first_input: usize,
}

impl Share {
    fn new(threads: usize, groups: usize, blocks: usize, inputs: usize) -> Self {
        if threads <= groups {
            return Self { blocks, inputs };
        }
        // The largest parts that still give every thread one.
        let wanted = threads.div_ceil(groups * blocks).min(inputs);
        let divides = |parts: &usize| inputs.is_multiple_of(*parts);
        let parts = (wanted..=inputs).find(divides).unwrap_or(inputs);
        Self { blocks: 1, inputs: inputs / parts }
    }

    fn part(self, task: usize, blocks: usize, inputs: usize) -> Part {
        let parts = inputs / self.inputs;
        let strip = task / parts * self.blocks;
        Part {
            group: strip / blocks,
            first_block: strip % blocks,
            first_input: task % parts * self.inputs,
        }
    }
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
    // The number of tasks does not affect results. Each task clears its border once.
    let tasks = TASKS.max(4 * rayon::current_num_threads());
    let per_task = count.div_ceil(tasks).max(1);
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

/// The size of an output map.
fn checked(shape: &ConvShape) -> (usize, usize) {
    let output = shape.output();
    let Some(output) = output else { panic!("the kernel does not fit: {shape:?}") };
    assert!(shape.inputs > 0 && shape.outputs > 0, "no channels: {shape:?}");
    output
}

impl ConvShape {
    fn check_input(&self, x: &[f32]) {
        assert_eq!(x.len(), self.images * self.image(), "images of {self:?}");
    }

    fn check_weights(&self, weights: &[f32]) {
        assert_eq!(weights.len(), self.weights(), "weights of {self:?}");
    }

    fn check_result(&self, dy: &[f32], output: (usize, usize)) {
        let results = self.images * self.outputs * output.0 * output.1;
        assert_eq!(dy.len(), results, "results of {self:?}");
    }
}
