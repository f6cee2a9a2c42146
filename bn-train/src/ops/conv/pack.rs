//! Packs weights for the kernels and unpacks their gradient, in one pass each.

use super::ConvShape;
use crate::ops::buffer::filled;
use crate::ops::transpose::{from_lanes, to_lanes};

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

/// The inverse of [`forward_weights`], for a gradient.
pub(super) fn unpacked_weights(shape: &ConvShape, packed: &[f32], lanes: usize) -> Vec<f32> {
    let rows = shape.inputs * shape.taps();
    // SAFETY: `from_lanes` writes all of its output.
    #[allow(unsafe_code)] // see `filled`
    unsafe {
        filled(shape.weights(), |weights| from_lanes(packed, rows, lanes, weights))
    }
}
