//! Batch weights: what shapes and values are accepted, and their one form inside the crate.
//!
//! A mask is 0/1 weights. Values are read for checking on the CPU only: on another device that would
//! make the host wait in every training step.

use candle::{DType, Tensor};

use crate::error::{Error, Result};
use crate::layout::ChannelView;
use crate::tensors::values;

/// Weights as `[outer, 1, inner]` in f64 (see [`ChannelView::flatten`]), outside the graph.
///
/// Accepted: `[N]`, one per example of axis 0; or any shape that broadcasts to the input (aligned at the
/// last axis) with 1 at the channel axis.
pub(crate) fn flat_weights(
    op: &'static str,
    weights: &Tensor,
    view: &ChannelView,
) -> Result<Tensor> {
    require_values(op, weights)?;
    let full = example_weights(weights, view)?;
    let full = match full {
        Some(full) => full,
        None => weights.clone(),
    };
    let aligned = full.rank() <= view.dims().len();
    let broadcast = aligned.then(|| full.broadcast_as(view.weight_dims()).ok()).flatten();
    let Some(broadcast) = broadcast else {
        let dims = view.weight_dims();
        let expected = format!("[N = {}] or a shape that broadcasts to {dims:?}", view.dims()[0]);
        return Err(Error::shape(op, "weights", expected, weights.dims()));
    };
    let wide = broadcast.detach().to_dtype(DType::F64)?.contiguous()?;
    Ok(view.flatten_weights(&wide)?)
}

/// `[N]` as `[N, 1, .., 1]`; `None` for weights of another shape.
fn example_weights(weights: &Tensor, view: &ChannelView) -> Result<Option<Tensor>> {
    let per_example =
        weights.rank() == 1 && weights.dims()[0] == view.dims()[0] && view.axis() != 0;
    if !per_example {
        return Ok(None);
    }
    let mut dims = vec![1; view.dims().len()];
    dims[0] = weights.dims()[0];
    Ok(Some(weights.reshape(dims)?))
}

/// Refuses negative and non-finite weights, where they can be read at no cost.
pub(crate) fn require_values(op: &'static str, weights: &Tensor) -> Result<()> {
    if !weights.device().is_cpu() {
        return Ok(());
    }
    checked_values(op, weights).map(drop)
}

/// The values of weights, of which none is negative or not finite.
pub(crate) fn checked_values(op: &'static str, weights: &Tensor) -> Result<Vec<f64>> {
    let values = values(weights)?;
    match values.iter().position(|w| !(w.is_finite() && *w >= 0.0)) {
        None => Ok(values),
        Some(index) => Err(Error::Weight { op: op.into(), index, value: values[index] }),
    }
}
