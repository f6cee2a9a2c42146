//! A call's tensors, checked and arranged for an engine.

use candle::{DType, Tensor};

use super::layer::{Layer, OP};
use crate::activation::Activation;
use crate::call::{Call, Statistics};
use crate::engine::Operands;
use crate::error::{Error, Result};
use crate::layout::{
    ChannelView, DataFormat, memory_order, require_device, require_float, statistics_dtype,
};
use crate::weights::full_rank;

/// What an engine computes of a call. `x` and `residual` are still in the graph, with their axes in the order
/// of memory.
pub(super) struct Input {
    pub(super) x: Tensor,
    pub(super) residual: Option<Tensor>,
    pub(super) weights: Option<Tensor>,
    pub(super) view: ChannelView,
    /// The caller's axes in the order of memory; `None` if x was contiguous.
    pub(super) order: Option<Vec<usize>>,
    activation: Activation,
    group: Option<usize>,
}

impl Input {
    /// With a `tail` that follows, x̂ only: no residual, no activation, and half floats as f32, whose
    /// products with gamma would be rounded twice.
    /// # Errors
    /// As [`BatchNorm::forward_with`](crate::BatchNorm::forward_with) says of x, weights and residual.
    pub(super) fn new(layer: &Layer, x: &Tensor, call: &Call<'_>, tail: bool) -> Result<Self> {
        require_float(OP, "x", x)?;
        require_device(OP, "x", x, &layer.device)?;
        let view = ChannelView::new(OP, x.dims(), layer.config.data_format)?;
        if view.channels != layer.channels {
            let (channels, axis) = (layer.channels, view.axis());
            let expected = format!("[.., C, ..] with {channels} channels on axis {axis}");
            return Err(Error::shape(OP, "x", expected, x.dims()));
        }
        if let Some(w) = call.weights {
            require_device(OP, "weights", w, x.device())?;
        }
        check_residual(x, call.residual)?;
        let x = if tail { x.to_dtype(statistics_dtype(x.dtype()))? } else { x.clone() };
        let residual = call.residual.filter(|_| !tail);
        let residual = residual.map(|r| r.to_dtype(x.dtype())).transpose()?;
        let by_batch = matches!(call.statistics, Statistics::Batch);
        let mut input = Self {
            x,
            residual,
            weights: call.weights.cloned(),
            view,
            order: None,
            activation: if tail { Activation::None } else { layer.config.activation },
            group: layer.config.normalization_batch.filter(|_| by_batch),
        };
        input.arrange()?;
        Ok(input)
    }

    /// Makes the tensors contiguous: by the order of x's memory, or by a copy.
    fn arrange(&mut self) -> Result<()> {
        // Groups are made of examples, so they need axis 0 first.
        let grouped = self.group.is_some();
        let Some(order) = memory_order(&self.x).filter(|order| order[0] == 0 || !grouped) else {
            self.x = self.x.contiguous()?;
            self.residual = self.residual.take().map(|r| r.contiguous()).transpose()?;
            return Ok(());
        };
        let axis = order.iter().position(|axis| *axis == self.view.axis()).unwrap_or_default();
        let permute = |t: &Tensor| t.permute(order.as_slice())?.contiguous();
        if let Some(w) = &self.weights {
            self.weights = Some(permute(&full_rank(OP, w, &self.view)?)?);
        }
        self.residual = self.residual.as_ref().map(permute).transpose()?;
        self.x = self.x.permute(order.as_slice())?;
        self.view = ChannelView::new(OP, self.x.dims(), DataFormat::Axis(axis))?;
        self.order = Some(order);
        Ok(())
    }

    /// Goes on in f64, for values above [`Engine::limit`](crate::engine::Engine::limit).
    pub(super) fn widen(&mut self) -> candle::Result<()> {
        self.x = self.x.to_dtype(DType::F64)?;
        self.residual = self.residual.take().map(|r| r.to_dtype(DType::F64)).transpose()?;
        Ok(())
    }

    pub(super) fn operands(&self) -> Operands {
        Operands {
            x: self.x.detach(),
            view: self.view.clone(),
            weights: self.weights.clone(),
            residual: self.residual.as_ref().map(Tensor::detach),
            activation: self.activation,
            group: self.group,
        }
    }
}

fn check_residual(x: &Tensor, residual: Option<&Tensor>) -> Result<()> {
    let Some(residual) = residual else { return Ok(()) };
    require_float(OP, "residual", residual)?;
    require_device(OP, "residual", residual, x.device())?;
    if residual.dims() == x.dims() {
        return Ok(());
    }
    Err(Error::shape(OP, "residual", format!("{:?}", x.dims()), residual.dims()))
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
