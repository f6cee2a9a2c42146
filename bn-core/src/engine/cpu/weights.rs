//! Batch weights as slices, checked and summed, by the rules of [`crate::weights`].

use std::ops::Range;

use candle::{DType, Tensor};

use super::input::Weights;
use super::lanes::Real;
use crate::channel::Weight;
use crate::error::Result;
use crate::layout::ChannelView;
use crate::tensors::values;
use crate::weights::{checked_values, flat_weights};

/// Weights in the kernels' type.
pub(super) struct HostWeights<R> {
    values: Vec<R>,
    /// The factor from the caller's weights to the kernels': a power of two, 1 if those fit the kernels' type. Moments
    /// and gradients depend only on ratios of weights.
    pub(super) scale: f64,
    /// Weights per index of the outer axis: 1, or the inner size.
    inner: usize,
    /// How many values each weight counts for: the inner size, or 1.
    repeats: usize,
}

impl<R: Real> HostWeights<R> {
    /// # Errors
    /// As [`flat_weights`].
    pub(super) fn new(w: &Tensor, view: &ChannelView) -> Result<Self> {
        const OP: &str = "batch norm";
        let examples = view.dims()[0];
        let per_example = view.axis() != 0
            && w.dims().first() == Some(&examples)
            && w.elem_count() == examples
            && (w.rank() == 1 || w.rank() == view.dims().len());
        let full = w.dims() == view.weight_dims();
        // The common shapes need no tensor ops to broadcast them.
        let wide = if per_example || full {
            checked_values(OP, w)?
        } else {
            values(&flat_weights(OP, w, view)?)?
        };
        let scale = if w.dtype() == DType::F64 { scale::<R>(&wide) } else { 1.0 };
        let narrow = |w: &f64| R::from_f64(w * scale);
        let each = wide.iter().map(narrow);
        if !per_example {
            return Ok(Self { values: each.collect(), scale, inner: view.inner, repeats: 1 });
        }
        let times = view.outer / examples.max(1);
        let values: Vec<R> = if times == 1 {
            each.collect()
        } else {
            each.flat_map(|w| std::iter::repeat_n(w, times)).collect()
        };
        Ok(Self { values, scale, inner: 1, repeats: view.inner })
    }

    /// The weights of a run of the outer axis.
    pub(super) fn of(&self, outer: &Range<usize>) -> Weights<'_, R> {
        let values = self.slice(outer);
        if self.inner == 1 { Weights::PerOuter(values) } else { Weights::PerPosition(values) }
    }

    fn slice(&self, outer: &Range<usize>) -> &[R] {
        &self.values[outer.start * self.inner..outer.end * self.inner]
    }

    /// Σw and Σw² of a run of the outer axis, of the caller's weights.
    pub(super) fn total(&self, outer: &Range<usize>) -> Weight {
        let mut sums = [[0.0; 8]; 2];
        for chunk in self.slice(outer).chunks(8) {
            for (lane, w) in chunk.iter().enumerate() {
                let w = w.to_f64();
                sums[0][lane] += w;
                sums[1][lane] += w * w;
            }
        }
        let total = |of: [f64; 8]| of.iter().sum::<f64>() * self.repeats as f64;
        let [sum, squares] = sums.map(total);
        Weight { sum: sum / self.scale, squares: squares / self.scale / self.scale }
    }
}

/// A power of two that brings the largest weight near 1 if weights leave the range of the kernels' type; else 1.
fn scale<R: Real>(weights: &[f64]) -> f64 {
    const ROOM: f64 = 1e-12;
    if R::TINY == 0.0 {
        return 1.0; // f64
    }
    let positive = weights.iter().copied().filter(|w| *w > 0.0);
    let (least, most) = positive.fold((f64::INFINITY, 0.0), |(a, b), w| (w.min(a), w.max(b)));
    if most == 0.0 || (least >= ROOM && most <= ROOM.recip()) {
        return 1.0;
    }
    most.log2().floor().exp2().recip()
}
