//! Copies between the layouts of tensors and kernels, in one pass each.

use super::shape::{Border, ConvShape};
use crate::ops::transpose::to_lanes;

/// Copies `planes` into the interior of padded planes, leaving their borders unchanged.
pub(super) fn into_border(planes: &[f32], border: Border, bordered: &mut [f32]) {
    match border.inner.1 {
        // For short rows, a call to memcpy takes longer than the copy.
        8 => rows_into_border::<8>(planes, border, bordered),
        16 => rows_into_border::<16>(planes, border, bordered),
        32 => rows_into_border::<32>(planes, border, bordered),
        _ => rows_into_border::<0>(planes, border, bordered),
    }
}

/// The same for rows of `WIDTH` elements; 0 means any width.
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

/// Packs weights `[outputs, inputs, taps]` for the forward pass: `[blocks, inputs, taps, lanes]`, with outputs in lanes.
pub(super) fn forward_weights(shape: &ConvShape, weights: &[f32], lanes: usize) -> Vec<f32> {
    let (inputs, taps) = (shape.inputs, shape.taps());
    let blocks = shape.outputs.div_ceil(lanes);
    let mut packed = vec![0.0; blocks * inputs * taps * lanes];
    to_lanes(weights, inputs * taps, lanes, &mut packed);
    packed
}

/// Packs weights for the gradient by the input: `[blocks, outputs, taps, lanes]`, with inputs in lanes.
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
