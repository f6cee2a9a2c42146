//! Copies between the layouts of tensors and those that the kernels read and write. Each is one pass.

use super::shape::{Border, ConvShape};
use crate::ops::buffer::Slot;

/// A buffer that is kept between calls, and starts on a cache line so that no vector straddles two.
#[derive(Debug, Default)]
pub(super) struct Buffer(Vec<f32>);

impl Buffer {
    /// `len` numbers, whatever they were.
    pub(super) fn take(&mut self, len: usize) -> &mut [f32] {
        const LINE: usize = 64 / size_of::<f32>();
        if self.0.len() < len + LINE {
            self.0.resize(len + LINE, 0.0);
        }
        let start = self.0.as_ptr().align_offset(64).min(LINE);
        &mut self.0[start..start + len]
    }
}

/// Copies `planes` into the inside of bordered ones, whose borders stay what they are.
pub(super) fn into_border(planes: &[f32], border: Border, bordered: &mut [f32]) {
    match border.inner.1 {
        // A call to copy a short row takes longer than the copy.
        8 => rows_into_border::<8>(planes, border, bordered),
        16 => rows_into_border::<16>(planes, border, bordered),
        32 => rows_into_border::<32>(planes, border, bordered),
        _ => rows_into_border::<0>(planes, border, bordered),
    }
}

/// The same for rows of `WIDTH` numbers, or of any width where that is 0.
fn rows_into_border<const WIDTH: usize>(planes: &[f32], border: Border, bordered: &mut [f32]) {
    let Border {
        inner,
        before,
        outer,
    } = border;
    let start = before.0 * outer.1 + before.1;
    let both = planes
        .chunks_exact(inner.0 * inner.1)
        .zip(bordered.chunks_exact_mut(border.len()));
    for (plane, bordered) in both {
        let rows = plane.chunks_exact(inner.1);
        for (row, bordered) in rows.zip(bordered[start..].chunks_mut(outer.1)) {
            match (row.first_chunk::<WIDTH>(), bordered.first_chunk_mut()) {
                (Some(row), Some(bordered)) if WIDTH > 0 => *bordered = *row,
                _ => bordered[..inner.1].copy_from_slice(row),
            }
        }
    }
}

/// Blocks of `lanes` channels, channels last: `[channels, points]` becomes `[blocks, points, lanes]`; lanes without a
/// channel become 0.
pub(super) fn to_lanes(planes: &[f32], points: usize, lanes: usize, blocks: &mut [f32]) {
    let channels = planes
        .chunks(points * lanes)
        .zip(blocks.chunks_exact_mut(points * lanes));
    for (planes, block) in channels {
        let full = planes.len() / points;
        if full < lanes {
            block.fill(0.0);
        }
        transpose(planes, full, points, points, block, lanes);
    }
}

/// Back again: `[blocks, points, lanes]` becomes `[channels, points]`.
pub(super) fn from_lanes<T: Slot>(blocks: &[f32], points: usize, lanes: usize, planes: &mut [T]) {
    let channels = planes
        .chunks_mut(points * lanes)
        .zip(blocks.chunks_exact(points * lanes));
    for (planes, block) in channels {
        let full = planes.len() / points;
        transpose(block, points, full, lanes, planes, points);
    }
}

/// `to[c][r] = from[r][c]`; rows of `from` are `from_step` apart, those of `to` `to_step`.
fn transpose<T: Slot>(
    from: &[f32],
    rows: usize,
    columns: usize,
    from_step: usize,
    to: &mut [T],
    to_step: usize,
) {
    let mut r = 0;
    while r + 4 <= rows {
        let mut c = 0;
        while c + 4 <= columns {
            // Four by four, which the compiler turns into shuffles of whole vectors.
            let block: [[f32; 4]; 4] = std::array::from_fn(|i| {
                let row = &from[(r + i) * from_step + c..][..4];
                [row[0], row[1], row[2], row[3]]
            });
            for j in 0..4 {
                let column = [block[0][j], block[1][j], block[2][j], block[3][j]];
                to[(c + j) * to_step + r..][..4].copy_from_slice(&column.map(T::of));
            }
            c += 4;
        }
        for c in c..columns {
            for r in r..r + 4 {
                to[c * to_step + r].put(from[r * from_step + c]);
            }
        }
        r += 4;
    }
    for r in r..rows {
        for c in 0..columns {
            to[c * to_step + r].put(from[r * from_step + c]);
        }
    }
}

/// Weights `[outputs, inputs, taps]` as the forward pass reads them: `[blocks, inputs, taps, lanes]`, lanes of outputs.
pub(super) fn forward_weights(shape: &ConvShape, weights: &[f32], lanes: usize) -> Vec<f32> {
    let (inputs, taps) = (shape.inputs, shape.taps());
    let blocks = shape.outputs.div_ceil(lanes);
    let mut packed = vec![0.0; blocks * inputs * taps * lanes];
    to_lanes(weights, inputs * taps, lanes, &mut packed);
    packed
}

/// As the gradient of the input reads them: `[blocks, outputs, taps, lanes]`, lanes of inputs.
pub(super) fn backward_weights(shape: &ConvShape, weights: &[f32], lanes: usize) -> Vec<f32> {
    let (inputs, taps) = (shape.inputs, shape.taps());
    let blocks = inputs.div_ceil(lanes);
    let mut packed = vec![0.0; blocks * shape.outputs * taps * lanes];
    for (output, weights) in weights.chunks_exact(inputs * taps).enumerate() {
        for (input, weights) in weights.chunks_exact(taps).enumerate() {
            let start = ((input / lanes) * shape.outputs + output) * taps * lanes + input % lanes;
            for (tap, weight) in weights.iter().enumerate() {
                packed[start + tap * lanes] = *weight;
            }
        }
    }
    packed
}
