//! The channel axis: [`DataFormat`] for users, [`ChannelView`] inside the crate.
//!
//! Every shape is read as `(outer, channels, inner)` around the channel axis; this is the only file
//! that knows which axis that is.

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use std::ops::Range;

use candle::{DType, Device, Tensor};

use crate::error::{Error, ErrorKind, Result};

/// Which axis holds the channels.
///
/// | format | rank 2 | rank 4 | in general |
/// |---|---|---|---|
/// | `Nchw` | `[N, C]` | `[N, C, H, W]` | axis 1 |
/// | `Nhwc` | `[N, C]` | `[N, H, W, C]` | the last axis |
/// | `Axis(i)` | | | axis `i`, counted from 0 |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(rename_all = "snake_case"))]
pub enum DataFormat {
    /// Channels on axis 1, as in PyTorch and candle.
    Nchw,
    /// Channels last, the default of TensorFlow.
    #[default]
    Nhwc,
    /// Channels on this axis.
    Axis(usize),
}

/// A shape of rank 2 or more, read as `(outer, channels, inner)`.
///
/// Element `(o, c, i)` of a contiguous tensor is at `(o * channels + c) * inner + i`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChannelView {
    dims: Vec<usize>,
    axis: usize,
    /// Product of the sizes before the channel axis.
    pub(crate) outer: usize,
    /// Size of the channel axis.
    pub(crate) channels: usize,
    /// Product of the sizes after the channel axis.
    pub(crate) inner: usize,
}

impl ChannelView {
    /// # Errors
    /// [`ErrorKind::Shape`] below rank 2; [`ErrorKind::Axis`] if the axis does not exist.
    pub(crate) fn new(op: &'static str, dims: &[usize], format: DataFormat) -> Result<Self> {
        if dims.len() < 2 {
            return Err(Error::shape(op, "x", "[N, C, ..], of rank 2 or more", dims));
        }
        let axis = match format {
            DataFormat::Nchw => 1,
            DataFormat::Nhwc => dims.len() - 1,
            DataFormat::Axis(axis) => axis,
        };
        if axis >= dims.len() {
            return Err(ErrorKind::Axis { axis, rank: dims.len() }.at(op));
        }
        Ok(Self {
            outer: dims[..axis].iter().product(),
            channels: dims[axis],
            inner: dims[axis + 1..].iter().product(),
            dims: dims.to_vec(),
            axis,
        })
    }

    /// The full shape.
    pub(crate) fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Index of the channel axis.
    pub(crate) fn axis(&self) -> usize {
        self.axis
    }

    /// Values that each channel has: `outer * inner`.
    pub(crate) fn values_per_channel(&self) -> usize {
        self.outer * self.inner
    }

    /// Sizes of a tensor of one value per channel that broadcasts to the shape: `[1, .., C, .., 1]`.
    pub(crate) fn channel_dims(&self) -> Vec<usize> {
        self.dims_with(|axis| axis == self.axis)
    }

    /// The shape with 1 at the channel axis: what weights broadcast to.
    pub(crate) fn weight_dims(&self) -> Vec<usize> {
        self.dims_with(|axis| axis != self.axis)
    }

    /// Sizes of a value per example and channel, `[N, 1, .., C, .., 1]`. Needs a channel axis other than 0.
    pub(crate) fn example_channel_dims(&self) -> Vec<usize> {
        self.dims_with(|axis| axis == 0 || axis == self.axis)
    }

    fn dims_with(&self, keep: impl Fn(usize) -> bool) -> Vec<usize> {
        let kept = |(axis, &size)| if keep(axis) { size } else { 1 };
        self.dims.iter().enumerate().map(kept).collect()
    }

    /// The view that a slice of `len` rows of axis 0 has.
    pub(crate) fn rows(&self, len: usize) -> Self {
        let mut dims = self.dims.clone();
        dims[0] = len;
        let outer = dims[..self.axis].iter().product();
        Self { dims, outer, ..self.clone() }
    }

    /// Examples of axis 0 in groups of `size`; the last group takes the rest. `None` means one group.
    pub(crate) fn groups(&self, size: Option<usize>) -> Vec<Range<usize>> {
        let examples = self.dims[0];
        let size = size.unwrap_or(examples).clamp(1, examples.max(1));
        let starts = (0..examples.max(1)).step_by(size);
        starts.map(|start| start..examples.min(start + size)).collect()
    }

    /// `x` as `[outer, C, inner]`, or `[outer, C]` where `inner` is 1 (candle's loops over rows are faster).
    pub(crate) fn flatten(&self, x: &Tensor) -> candle::Result<Tensor> {
        self.flat(x, self.outer, self.channels, self.inner)
    }

    /// A `[C]` tensor in the shape that broadcasts to [`Self::flatten`]'s.
    pub(crate) fn per_channel(&self, v: &Tensor) -> candle::Result<Tensor> {
        self.flat(v, 1, self.channels, 1)
    }

    /// Weights of [`Self::weight_dims`] in the shape that broadcasts to [`Self::flatten`]'s.
    pub(crate) fn flatten_weights(&self, w: &Tensor) -> candle::Result<Tensor> {
        self.flat(w, self.outer, 1, self.inner)
    }

    fn flat(&self, t: &Tensor, outer: usize, c: usize, inner: usize) -> candle::Result<Tensor> {
        if self.inner == 1 { t.reshape((outer, c)) } else { t.reshape((outer, c, inner)) }
    }

    /// The axes of a flattened tensor but for the channels.
    pub(crate) fn flat_axes(&self) -> &'static [usize] {
        if self.inner == 1 { &[0] } else { &[0, 2] }
    }
}

/// The order of axes in which a permuted view is contiguous; `None` if it is contiguous already, or in no
/// order.
pub(crate) fn memory_order(x: &Tensor) -> Option<Vec<usize>> {
    if x.is_contiguous() {
        return None;
    }
    let mut order: Vec<usize> = (0..x.rank()).collect();
    order.sort_by_key(|&axis| std::cmp::Reverse(x.stride()[axis]));
    let permuted = x.permute(order.as_slice()).ok()?;
    permuted.is_contiguous().then_some(order)
}

/// Refuses element types that batch normalization does not compute with.
pub(crate) fn require_float(op: &'static str, name: &str, x: &Tensor) -> Result<()> {
    if matches!(x.dtype(), DType::F16 | DType::BF16 | DType::F32 | DType::F64) {
        return Ok(());
    }
    Err(Error::dtype(op, name, "f16, bf16, f32 or f64", x.dtype()))
}

/// Refuses a tensor on another device.
pub(crate) fn require_device(op: &'static str, name: &str, x: &Tensor, on: &Device) -> Result<()> {
    if x.device().same_device(on) {
        return Ok(());
    }
    let [expected, got] = [on, x.device()].map(|device| format!("{:?}", device.location()));
    Err(ErrorKind::Device { name: name.to_owned(), expected, got }.at(op))
}

/// The type of statistics and parameters for an input type: at least f32.
pub(crate) fn statistics_dtype(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}
