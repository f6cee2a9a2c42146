//! A call's tensors, checked and arranged for an engine.

use candle::Tensor;

use super::layer::Layer;
use crate::call::Call;
use crate::config::BatchNormConfig;
use crate::engine::Operands;
use crate::error::{Error, Result};
use crate::layout::{ChannelView, DataFormat, memory_order, require_device, require_float};

const OP: &str = "batch norm";

/// A checked call. `x` and `residual` are in the graph still, in the order of axes that lies in memory.
pub(super) struct Input {
    pub(super) x: Tensor,
    pub(super) residual: Option<Tensor>,
    pub(super) weights: Option<Tensor>,
    pub(super) view: ChannelView,
    /// The caller's axes in the order of memory; `None` if x was contiguous.
    pub(super) order: Option<Vec<usize>>,
}

impl Input {
    /// # Errors
    /// As [`BatchNorm::forward_with`](crate::BatchNorm::forward_with) says of x, weights and residual.
    pub(super) fn new(layer: &Layer<'_>, x: &Tensor, call: &Call<'_>) -> Result<Self> {
        require_float(OP, "x", x)?;
        require_device(OP, "x", x, layer.device)?;
        let view = ChannelView::new(OP, x.dims(), layer.config.data_format)?;
        if view.channels != layer.channels {
            return Err(Error::Channels {
                op: OP.into(),
                expected: layer.channels,
                axis: view.axis(),
                shape: x.dims().to_vec(),
            });
        }
        if let Some(w) = call.weights {
            require_device(OP, "weights", w, x.device())?;
        }
        layer.check_residual(x, call)?;
        let residual = call.residual.map(|r| r.to_dtype(x.dtype())).transpose()?;
        let weights = call.weights.cloned();
        let grouped = layer.config.normalization_batch.is_some();
        let order = memory_order(x).filter(|order| order[0] == 0 || !grouped);
        let Some(order) = order else {
            let contiguous = |t: Tensor| t.contiguous();
            let residual = residual.map(contiguous).transpose()?;
            return Ok(Self { x: x.contiguous()?, residual, weights, view, order: None });
        };
        let permute = |t: &Tensor| t.permute(order.as_slice())?.contiguous();
        let axis = order.iter().position(|axis| *axis == view.axis()).unwrap_or_default();
        Ok(Self {
            residual: residual.as_ref().map(permute).transpose()?,
            weights: match weights {
                Some(w) => Some(full_rank(w, &view)?.permute(order.as_slice())?.contiguous()?),
                None => None,
            },
            x: x.permute(order.as_slice())?,
            view: {
                let dims: Vec<usize> = order.iter().map(|axis| x.dims()[*axis]).collect();
                ChannelView::new(OP, &dims, DataFormat::Axis(axis))?
            },
            order: Some(order),
        })
    }

    /// What the engine computes with.
    pub(super) fn operands(&self, config: &BatchNormConfig, by_batch: bool) -> Operands {
        Operands {
            x: self.x.detach(),
            view: self.view.clone(),
            weights: self.weights.clone(),
            residual: self.residual.as_ref().map(Tensor::detach),
            activation: config.activation,
            group: config.normalization_batch.filter(|_| by_batch),
        }
    }
}

/// A tensor of the memory's order back in the caller's order of axes.
pub(super) fn restored(t: Tensor, order: Option<&[usize]>) -> candle::Result<Tensor> {
    let Some(order) = order else { return Ok(t) };
    let mut inverse = vec![0; order.len()];
    for (to, from) in order.iter().enumerate() {
        inverse[*from] = to;
    }
    t.permute(inverse)
}

/// Weights with an axis for each of x's: `[N]` as `[N, 1, ..]`, others aligned at the last axis.
fn full_rank(w: Tensor, view: &ChannelView) -> Result<Tensor> {
    let rank = view.dims().len();
    let mut dims = vec![1; rank];
    if w.rank() == 1 && w.dims()[0] == view.dims()[0] && view.axis() != 0 {
        dims[0] = w.dims()[0];
    } else if w.rank() <= rank {
        dims[rank - w.rank()..].copy_from_slice(w.dims());
    } else {
        let expected = format!("at most rank {rank}");
        return Err(Error::shape(OP, "weights", expected, w.dims()));
    }
    Ok(w.reshape(dims)?)
}
