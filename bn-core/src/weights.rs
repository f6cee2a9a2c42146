//! Batch weights: what shapes and values are accepted, and their one form inside the crate.
//!
//! A mask is 0/1 weights.

use candle::{DType, Tensor};

use crate::error::{Error, ErrorKind, Result};
use crate::layout::ChannelView;
use crate::tensors::values;

/// Weights as `[outer, 1, inner]` in f64 (see [`ChannelView::flatten`]), outside the graph.
///
/// Accepted: `[N]`, one per example of axis 0; or any shape that broadcasts to the input (aligned at the
/// last axis) with 1 at the channel axis.
pub(crate) fn flat_weights(op: &'static str, w: &Tensor, view: &ChannelView) -> Result<Tensor> {
    let wide = full_rank(op, w, view)?.broadcast_as(view.weight_dims())?;
    checked_values(op, w)?; // wherever they are: their total is read too
    Ok(view.flatten_weights(&wide.detach().to_dtype(DType::F64)?.contiguous()?)?)
}

/// Weights with an axis for each of x's: `[N]` as `[N, 1, ..]`, others aligned at the last axis.
pub(crate) fn full_rank(op: &'static str, w: &Tensor, view: &ChannelView) -> Result<Tensor> {
    let (full, rank) = (view.weight_dims(), view.dims().len());
    let mut dims = vec![1; rank];
    if w.dims() == [view.dims()[0]] && view.axis() != 0 {
        dims[0] = w.dims()[0];
    } else if w.rank() <= rank {
        dims[rank - w.rank()..].copy_from_slice(w.dims());
    }
    let fits =
        w.rank() <= rank && dims.iter().zip(&full).all(|(len, full)| [1, *full].contains(len));
    if !fits {
        let expected = format!("[N = {}] or a shape that broadcasts to {full:?}", view.dims()[0]);
        return Err(Error::shape(op, "weights", expected, w.dims()));
    }
    Ok(w.reshape(dims)?)
}

/// Refuses negative and non-finite weights, if they can be read at no cost: on the CPU.
pub(crate) fn require_values(op: &'static str, weights: &Tensor) -> Result<()> {
    if weights.device().is_cpu() { checked_values(op, weights).map(drop) } else { Ok(()) }
}

/// The values of weights, of which none is negative or not finite.
pub(crate) fn checked_values(op: &'static str, weights: &Tensor) -> Result<Vec<f64>> {
    let values = values(weights)?;
    let sound = |w: f64| (0.0..f64::INFINITY).contains(&w);
    // Without an early end the loop becomes vector instructions.
    if values.iter().fold(true, |all, w| all & sound(*w)) {
        return Ok(values);
    }
    let index = values.iter().position(|w| !sound(*w)).unwrap_or_default();
    Err(ErrorKind::Weight { index, value: values[index] }.at(op))
}
