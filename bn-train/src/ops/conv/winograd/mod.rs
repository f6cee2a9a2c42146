//! 3x3 convolutions of stride 1 by F(2x2, 3x3) of Winograd's minimal filtering (Lavin & Gray 2016, section 4): a tile of 2x2
//! outputs takes 16 products per pair of channels in place of 36.
//!
//! For a tile d of 4x4 inputs, weights g and a tile of 2x2 outputs,
//!
//! ```text
//! y  = Aᵀ [ Σ_channel (G g Gᵀ) ⊙ (Bᵀ d B) ] A
//! dg = Gᵀ [ Σ_tile (A dy Aᵀ) ⊙ (Bᵀ d B) ] G
//! ```
//!
//! The gradient by x is the first with channels exchanged and kernels turned by 180 degrees. Each of the 16 places of a tile
//! is a matrix product over channels (or tiles). Sums run over channels (or over the tiles of a group's images) in order, so
//! results do not depend on the number of threads. Transforms add numbers before they are multiplied: rounding errors are
//! some three times those of the direct sum.

mod kernels;
mod maps;
mod product;
mod tiles;
mod transform;

use super::lanes::{block, dispatch};
use super::share::{Division, Part, images_per_task};
use super::{ConvShape, pack};
use crate::ops::buffer::{Buffer, filled};
use crate::ops::parallel;
use kernels::{Forward, WeightGradient};
use maps::Maps;
use std::cell::RefCell;
use std::mem::MaybeUninit;
use tiles::Tiles;
use transform::{PLACES, WeightGradientTransform, WeightTransform};

thread_local! {
    /// Images of the input and of the output in lanes, and the transformed ones.
    static BUFFERS: RefCell<[Buffer; 3]> = RefCell::default();
}

/// Tiles that are transformed and multiplied together: their numbers stay in the L2 cache. A multiple of the tiles that
/// products take at a time.
const STRIP: usize = 48;

/// f32 elements per cache line. Places lie a line more than their size apart: at multiples of 4 KiB they would share the few
/// lines of one set of the L1 cache.
const LINE: usize = 16;

/// Channels from which on the transforms cost less than the products they save.
const FEWEST_CHANNELS: usize = 16;

/// Whether this algorithm is faster than the direct sum.
pub(super) fn applies(shape: &ConvShape) -> bool {
    let is_kind = shape.kernel == (3, 3) && shape.stride == 1 && shape.padding <= 2;
    let is_deep = shape.inputs.min(shape.outputs) >= FEWEST_CHANNELS;
    let Some((rows, columns)) = shape.output().filter(|_| is_kind && is_deep) else { return false };
    // Tiles that reach beyond small maps waste work: 16 products per tile should be at most three quarters of 9 per point.
    64 * Tiles::count((rows, columns)) <= 27 * rows * columns
}

/// y.
pub(super) fn forward(
    shape: &ConvShape,
    output: (usize, usize),
    x: &[f32],
    weights: &[f32],
) -> Vec<f32> {
    let image = (shape.height, shape.width);
    let block = block(shape.outputs);
    let weights = transformed(&pack::forward_weights(shape, weights, block), block, false);
    let from = Maps::new(shape.inputs, image);
    let to = Maps { block, ..Maps::new(shape.outputs, output) };
    let tiles = Tiles::new(image, output, shape.padding);
    convolved(&Convolution { tiles, from, to, weights }, shape.images, x)
}

/// The gradient by x: a convolution of dy with kernels turned by 180 degrees, padded so that the sizes come back.
pub(super) fn input_gradient(
    shape: &ConvShape,
    output: (usize, usize),
    dy: &[f32],
    weights: &[f32],
) -> Vec<f32> {
    let image = (shape.height, shape.width);
    let block = block(shape.inputs);
    let weights = transformed(&pack::backward_weights(shape, weights, block), block, true);
    let from = Maps::new(shape.outputs, output);
    let to = Maps { block, ..Maps::new(shape.inputs, image) };
    let tiles = Tiles::new(output, image, 2 - shape.padding);
    convolved(&Convolution { tiles, from, to, weights }, shape.images, dy)
}

/// The gradient by the weights.
pub(super) fn weight_gradient(
    shape: &ConvShape,
    output: (usize, usize),
    x: &[f32],
    dy: &[f32],
) -> Vec<f32> {
    let image = (shape.height, shape.width);
    let block = block(shape.outputs);
    let tiles = Tiles::new(image, output, shape.padding);
    let division = Division::new(shape, block);
    let of_x = Maps::new(division.inputs(), image);
    let plane = of_x.points;
    let result = shape.outputs * output.0 * output.1;
    let total = division.sums(PLACES * block, |Part { images, first_block, first_input }, sums| {
        let channels =
            first_block * block..shape.outputs.min((first_block + division.blocks()) * block);
        let of_dy = Maps { block, ..Maps::new(channels.len(), output) };
        let step = images_per_strip(&tiles);
        with_buffers(|lanes_of_x, lanes_of_dy, scratch| {
            let lanes_of_x = lanes_of_x.take(step * of_x.image());
            let lanes_of_dy = lanes_of_dy.take(step * of_dy.image());
            let scratch = scratch.take(of_x.strip() + of_dy.strip());
            for first in images.clone().step_by(step) {
                let count = step.min(images.end - first);
                for (index, n) in (first..first + count).enumerate() {
                    of_x.pack(&x[n * shape.image() + first_input * plane..], index, lanes_of_x);
                    of_dy.pack(
                        &dy[n * result + channels.start * of_dy.points..],
                        index,
                        lanes_of_dy,
                    );
                }
                let kernel = WeightGradient {
                    tiles: &tiles,
                    images: count,
                    x: lanes_of_x,
                    of_x,
                    dy: lanes_of_dy,
                    of_dy,
                    scratch,
                    sums,
                };
                dispatch(block, kernel);
            }
        });
    });
    let mut lanes = vec![0.0; total.len() / PLACES * shape.taps()];
    dispatch(block, WeightGradientTransform { sums: &total, block, to: &mut lanes });
    pack::unpacked_weights(shape, &lanes, block)
}

/// `G g Gᵀ` of packed weights.
fn transformed(weights: &[f32], block: usize, turned: bool) -> Vec<f32> {
    let mut to = vec![0.0; weights.len() / 9 * PLACES];
    dispatch(block, WeightTransform { weights, block, turned, to: &mut to });
    to
}

/// A convolution whose weights are transformed.
struct Convolution {
    tiles: Tiles,
    from: Maps,
    to: Maps,
    weights: Vec<f32>,
}

/// The results for `images` images.
fn convolved(convolution: &Convolution, images: usize, x: &[f32]) -> Vec<f32> {
    let Convolution { tiles, from, to, weights } = convolution;
    let size = to.channels * to.points;
    let fill = |y: &mut [MaybeUninit<f32>]| {
        let per_task = images_per_task(images);
        parallel::chunks(y, per_task * size, |task, y| {
            let step = images_per_strip(tiles);
            with_buffers(|lanes_of_x, lanes_of_y, scratch| {
                let lanes_of_x = lanes_of_x.take(step * from.image());
                let lanes_of_y = lanes_of_y.take(step * to.image());
                let scratch = scratch.take(from.strip() + to.strip());
                for (strip, y) in y.chunks_mut(step * size).enumerate() {
                    let first = task * per_task + strip * step;
                    let count = y.len() / size;
                    for index in 0..count {
                        let x = &x[(first + index) * from.channels * from.points..];
                        from.pack(x, index, lanes_of_x);
                    }
                    let kernel = Forward {
                        tiles,
                        images: count,
                        x: lanes_of_x,
                        of_x: *from,
                        weights,
                        scratch,
                        y: lanes_of_y,
                        of_y: *to,
                    };
                    dispatch(to.block, kernel);
                    for (index, y) in y.chunks_exact_mut(size).enumerate() {
                        to.unpack(lanes_of_y, index, y);
                    }
                }
            });
        });
    };
    // SAFETY: `unpack` writes every channel of every image.
    #[allow(unsafe_code)] // see `filled`
    unsafe {
        filled(images * size, fill)
    }
}

/// How many images make about a strip of tiles, at least 1.
fn images_per_strip(tiles: &Tiles) -> usize {
    (STRIP / tiles.len()).max(1)
}

fn with_buffers(work: impl FnOnce(&mut Buffer, &mut Buffer, &mut Buffer)) {
    BUFFERS.with_borrow_mut(|[x, y, scratch]| work(x, y, scratch));
}
