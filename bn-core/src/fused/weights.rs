//! Batch weights as slices, checked and summed; the same rules as [`crate::weights`].

use candle::{DType, Tensor};

use super::span::Span;
use crate::error::{Error, Result};
use crate::host::{read, with_slice};
use crate::kernel::{Real, Weights};
use crate::layout::ChannelView;
use crate::weights::flat_weights;

/// Weights in the kernels' type.
pub(super) struct HostWeights<R> {
    values: Vec<R>,
    /// Values per index of the outer axis: 1, or the inner size.
    inner: usize,
    /// Times that each value counts: the inner size, or 1.
    repeats: usize,
}

/// Sums of a group's weights.
#[derive(Clone, Copy, Debug)]
pub(super) struct Total {
    /// Σw as the kernels have the weights.
    pub(super) rounded: f64,
    /// Σw².
    pub(super) squares: f64,
}

impl<R: Real> HostWeights<R> {
    /// # Errors
    /// As [`flat_weights`].
    pub(super) fn new(w: &Tensor, view: &ChannelView) -> Result<Self> {
        const OP: &str = "BatchNorm";
        let examples = view.dims()[0];
        let w = &w.contiguous()?;
        let per_example = view.axis() != 0
            && w.dims().first() == Some(&examples)
            && w.elem_count() == examples
            && (w.rank() == 1 || w.rank() == view.dims().len());
        let full = w.dims() == view.weight_dims();
        let direct = match w.dtype() {
            _ if !(per_example || full) => None,
            DType::F32 => with_slice(w, |w: &[f32]| checked(OP, w)).transpose()?,
            DType::F64 => with_slice(w, |w: &[f64]| checked(OP, w)).transpose()?,
            _ => None,
        };
        let values: Vec<R> = match direct {
            Some(values) if per_example && view.outer == examples => {
                return Ok(Self { values, inner: 1, repeats: view.inner });
            }
            Some(values) if per_example => {
                let times = view.outer / examples;
                let mut outer = Vec::with_capacity(view.outer);
                for value in values {
                    outer.extend(std::iter::repeat_n(value, times));
                }
                return Ok(Self { values: outer, inner: 1, repeats: view.inner });
            }
            Some(values) => values,
            None => {
                let flat = flat_weights(OP, w, view)?;
                let values = read(&flat).unwrap_or_default();
                values.into_iter().map(R::from_f64).collect()
            }
        };
        Ok(Self { values, inner: view.inner, repeats: 1 })
    }

    /// The weights of a group.
    pub(super) fn of(&self, span: &Span) -> Weights<'_, R> {
        let values = &self.values[span.outer.start * self.inner..span.outer.end * self.inner];
        match self.inner {
            1 => Weights::PerOuter(values),
            _ => Weights::PerPosition(values),
        }
    }

    pub(super) fn total(&self, span: &Span) -> Total {
        let (Weights::PerOuter(values) | Weights::PerPosition(values)) = self.of(span) else {
            return Total { rounded: 0.0, squares: 0.0 };
        };
        let mut sums = [[0.0; 8]; 2];
        for chunk in values.chunks(8) {
            for (lane, w) in chunk.iter().enumerate() {
                let w = w.to_f64();
                sums[0][lane] += w;
                sums[1][lane] += w * w;
            }
        }
        let times = self.repeats as f64;
        Total {
            rounded: sums[0].iter().sum::<f64>() * times,
            squares: sums[1].iter().sum::<f64>() * times,
        }
    }
}

/// The values, unless one is negative or not finite.
fn checked<W: Real, R: Real>(op: &'static str, w: &[W]) -> Result<Vec<R>> {
    let valid = |w: &W| *w >= W::ZERO && w.to_f64() < f64::INFINITY;
    // All of them without a branch each; the one at fault is looked for only if there is one.
    if !w.iter().fold(true, |all, w| all & valid(w)) {
        let fault = w.iter().position(|w| !valid(w)).unwrap_or_default();
        return Err(Error::Weight { op, index: fault, value: w[fault].to_f64() });
    }
    Ok(w.iter().map(|w| R::from_f64(w.to_f64())).collect())
}
