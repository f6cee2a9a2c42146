//! Copies between the layouts of tensors and those that the kernels read and write. Each is one pass.

use super::shape::{Border, ConvShape};
use crate::ops::transpose::to_lanes;

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
    let Border { inner, before, outer } = border;
    let start = before.0 * outer.1 + before.1;
    let both = planes.chunks_exact(inner.0 * inner.1).zip(bordered.chunks_exact_mut(border.len()));
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
