//! How images and channels are divided among threads, without effect on results.

use super::ConvShape;
use std::ops::Range;

use crate::ops::parallel;

/// Minimum number of tasks per batch.
const TASKS: usize = 16;
/// Number of image groups whose gradients by the weights are summed separately.
const GROUPS: usize = 8;

/// Images per task where each image has results of its own.
pub(super) fn images_per_task(images: usize) -> usize {
    images.div_ceil(TASKS.max(4 * rayon::current_num_threads())).max(1)
}

/// The tasks of a gradient by the weights.
#[derive(Clone, Copy, Debug)]
pub(super) struct Division {
    images: usize,
    /// Images per group.
    size: usize,
    blocks: usize,
    inputs: usize,
    share: Share,
}

/// What one task sums.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) images: Range<usize>,
    pub(super) first_block: usize,
    pub(super) first_input: usize,
}

impl Division {
    /// The division for blocks of `block` outputs; there must be images.
    pub(super) fn new(shape: &ConvShape, block: usize) -> Self {
        let size = shape.images.div_ceil(GROUPS);
        let (groups, blocks) = (shape.images.div_ceil(size), shape.outputs.div_ceil(block));
        let share = Share::new(rayon::current_num_threads(), groups, blocks, shape.inputs);
        Self { images: shape.images, size, blocks, inputs: shape.inputs, share }
    }

    /// Blocks of outputs per task.
    pub(super) fn blocks(&self) -> usize {
        self.share.blocks
    }

    /// Inputs per task.
    pub(super) fn inputs(&self) -> usize {
        self.share.inputs
    }

    /// Sums over all images, `[blocks, inputs, per_input]`, from what `add` adds for a part of them to `[share's blocks, share's
    /// inputs, per_input]`.
    pub(super) fn sums(&self, per_input: usize, add: impl Fn(Part, &mut [f32]) + Sync) -> Vec<f32> {
        let Self { images, size, blocks, inputs, share } = *self;
        let all = blocks * inputs * per_input;
        let mut partial = vec![0.0; images.div_ceil(size) * all];
        parallel::chunks(&mut partial, share.blocks * share.inputs * per_input, |task, partial| {
            let Place { group, first_block, first_input } = share.place(task, blocks, inputs);
            let images = group * size..images.min((group + 1) * size);
            add(Part { images, first_block, first_input }, partial);
        });
        let mut total = partial;
        let (sums, rest) = total.split_at_mut(all);
        parallel::chunks(sums, CHUNK, |index, sums| {
            for group in rest.chunks_exact(all) {
                for (sum, part) in sums.iter_mut().zip(&group[index * CHUNK..]) {
                    *sum += part;
                }
            }
        });
        total.truncate(all);
        total
    }
}

/// Sums of groups that are added by one task.
const CHUNK: usize = 1 << 13;

/// The share of the gradient by the weights that a task computes: a full group of images if there are enough groups for
/// all threads, otherwise some inputs of one block of outputs. Sums always run over a group's images in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// Output blocks per task.
    pub(super) blocks: usize,
    /// Inputs per task; divides the number of inputs.
    pub(super) inputs: usize,
}

/// The start of a task's share.
pub(super) struct Place {
    pub(super) group: usize,
    pub(super) first_block: usize,
    pub(super) first_input: usize,
}

impl Share {
    pub(super) fn new(threads: usize, groups: usize, blocks: usize, inputs: usize) -> Self {
        if threads <= groups {
            return Self { blocks, inputs };
        }
        // The largest parts that still give every thread one.
        let wanted = threads.div_ceil(groups * blocks).min(inputs);
        let divides = |parts: &usize| inputs.is_multiple_of(*parts);
        let parts = (wanted..=inputs).find(divides).unwrap_or(inputs);
        Self { blocks: 1, inputs: inputs / parts }
    }

    pub(super) fn place(self, task: usize, blocks: usize, inputs: usize) -> Place {
        let parts = inputs / self.inputs;
        let strip = task / parts * self.blocks;
        Place {
            group: strip / blocks,
            first_block: strip % blocks,
            first_input: task % parts * self.inputs,
        }
    }
}
