//! The passes as kernels over slices, on the CPU: no policies, and no tensors below this file.
//!
//! A slice is read as `[outer, channels, inner]` and cut into slabs by its shape, so results do not depend
//! on the number of threads. Where a slab of whole channels fits into a core's L2 cache, all passes
//! over it run before the next slab; elsewhere each pass runs over all slabs, and sums are added up in slab
//! order.
//!
//! Accumulation: at most 64 values per lane in the element's [`lanes::Real`] (f32; f64 for f64), then f64.
//! Mean within 1 ulp and variance within 1e-5 of what f64 finds, for |mean| up to 10⁶ standard deviations.

mod backward;
mod exp;
mod half_bits;
mod kernels;
mod lanes;
mod moments;
mod normalize;
mod output;
mod parallel;
mod plan;
mod tail;
#[cfg(test)]
mod tests;
mod walk;
mod weights;

use std::convert::Infallible;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

use candle::{DType, Tensor, bail};

use super::{ByGroup, Engine, Gradients, Normalized, Operands, Rule};
use crate::activation::Activation;
use crate::channel::{Channel, GradientTerms, Moment, Totals, Weight};
use crate::error::{Error, Result};
use crate::layout::ChannelView;
use crate::tensors::{Value, filled, with_slice};
use kernels::{Back, Input};
use lanes::{Element, Real};
use moments::Weights;
use walk::Geometry;
use weights::HostWeights;

/// The kernels for the operands' element type.
pub(super) fn engine(operands: Operands) -> Result<Box<dyn Engine>> {
    Ok(match operands.x.dtype() {
        DType::F32 => Box::new(Cpu::<f32>::new(operands)?),
        DType::F64 => Box::new(Cpu::<f64>::new(operands)?),
        DType::F16 => Box::new(Cpu::<half::f16>::new(operands)?),
        DType::BF16 => Box::new(Cpu::<half::bf16>::new(operands)?),
        got => {
            return Err(Error::DType {
                op: "batch norm".into(),
                name: "x".to_owned(),
                expected: "f16, bf16, f32 or f64",
                got,
            });
        }
    })
}

struct Cpu<T: Element> {
    x: Tensor,
    residual: Option<Tensor>,
    weights: Option<HostWeights<T::Real>>,
    activation: Activation,
    spans: Vec<Span>,
    totals: Vec<Weight>,
    element: PhantomData<T>,
}

/// One normalization group's run of the tensor's elements.
struct Span {
    elements: Range<usize>,
    outer: Range<usize>,
    geometry: Geometry,
}

impl Span {
    fn new(view: &ChannelView, examples: Range<usize>) -> Self {
        let per_example = view.outer / view.dims()[0].max(1);
        let outer = if examples.len() == view.dims()[0] {
            0..view.outer // channels may lie on axis 0
        } else {
            examples.start * per_example..examples.end * per_example
        };
        let row = view.channels * view.inner;
        Self {
            elements: outer.start * row..outer.end * row,
            geometry: Geometry { outer: outer.len(), channels: view.channels, inner: view.inner },
            outer,
        }
    }
}

impl<T: Element> Cpu<T> {
    fn new(operands: Operands) -> Result<Self> {
        let Operands { x, view, weights, residual, activation, group } = operands;
        let groups = view.groups(group).into_iter();
        let spans: Vec<Span> = groups.map(|examples| Span::new(&view, examples)).collect();
        let weights = weights.map(|w| HostWeights::new(&w, &view)).transpose()?;
        let total = |span: &Span| match &weights {
            Some(w) => w.total(&span.outer),
            None => Weight::of_count(span.outer.len() * span.geometry.inner),
        };
        let totals = spans.iter().map(total).collect();
        Ok(Self { x, residual, weights, activation, spans, totals, element: PhantomData })
    }

    /// The kernels' input for a group.
    fn input<'a>(&'a self, group: usize, x: &'a [T], residual: Option<&'a [T]>) -> Input<'a, T> {
        let span = &self.spans[group];
        let scale = self.weight_scale();
        Input {
            x: &x[span.elements.clone()],
            geometry: span.geometry,
            weights: match &self.weights {
                Some(w) => w.of(&span.outer),
                None => Weights::None,
            },
            total: self.totals[group].sum * scale,
            residual: residual.map(|residual| &residual[span.elements.clone()]),
            activation: self.activation,
        }
    }

    /// What the kernels' weights are, over what the caller's are.
    fn weight_scale(&self) -> f64 {
        self.weights.as_ref().map_or(1.0, |w| w.scale)
    }

    /// Calls `f` with the slices of x and of the residual.
    fn with_slices<R>(&self, f: impl FnOnce(&[T], Option<&[T]>) -> R) -> candle::Result<R> {
        let done = with_slice(&self.x, |x: &[T]| {
            with_optional(self.residual.as_ref(), |residual| f(x, residual))
        });
        match done.flatten() {
            Some(result) => Ok(result),
            None => bail!("batch norm: a tensor has changed its type or device"),
        }
    }

    /// [`Cpu::with_slices`] with y and dy.
    fn with_gradients<R>(
        &self,
        y: Option<&Tensor>,
        dy: &Tensor,
        f: impl FnOnce(&[T], Option<&[T]>, Option<&[T]>, &[T]) -> R,
    ) -> candle::Result<R> {
        let y = y.filter(|_| self.reads_value());
        let done = self.with_slices(|x, residual| {
            with_optional(y, |y| with_slice(dy, |dy: &[T]| f(x, residual, y, dy)))
        })?;
        match done.flatten() {
            Some(result) => Ok(result),
            None => bail!("batch norm: the gradient of y is not of its type"),
        }
    }

    /// Fills a tensor like x, group by group.
    fn fill<K>(
        &self,
        mut group: impl FnMut(usize, &[T], Option<&[T]>, &mut [MaybeUninit<T>]) -> K,
    ) -> candle::Result<(Value, Vec<K>)> {
        let mut fill = |x: &[T], residual: Option<&[T]>, mut y: &mut [MaybeUninit<T>]| {
            let mut results = Vec::with_capacity(self.spans.len());
            for (g, span) in self.spans.iter().enumerate() {
                let (part, rest) = y.split_at_mut(span.elements.len());
                y = rest;
                results.push(group(g, x, residual, part));
            }
            Ok::<_, Infallible>(results)
        };
        let (y, results) = self.with_slices(|x, residual| {
            // SAFETY: the spans are all of the tensor, and the kernels write all of a span: their plans
            // cover a geometry, which the plan's test holds them to.
            #[allow(unsafe_code)] // zeroing first would cost a pass over fresh memory
            let Ok(done) = unsafe { filled(x.len(), |y| fill(x, residual, y)) };
            done
        })?;
        Ok((Value::new(y, self.x.shape().clone()), results))
    }

    /// Fills dx, and dv where it is the gradient of a residual, group by group.
    fn fill_gradients<K>(
        &self,
        y: Option<&Tensor>,
        dy: &Tensor,
        mut group: impl FnMut(usize, Passed<'_, T>, Filled<'_, T>) -> K,
    ) -> candle::Result<(Value, Option<Value>, Vec<K>)> {
        let with_dv = self.residual.is_some() && self.activation != Activation::None;
        let ((dx, (dv, results)), shape) = self.with_gradients(y, dy, |x, residual, y, dy| {
            let mut fill = |mut dx: &mut [MaybeUninit<T>], mut dv: &mut [MaybeUninit<T>]| {
                let mut results = Vec::with_capacity(self.spans.len());
                for (g, span) in self.spans.iter().enumerate() {
                    let (dx_part, rest) = dx.split_at_mut(span.elements.len());
                    dx = rest;
                    let dv_len = if with_dv { span.elements.len() } else { 0 };
                    let (dv_part, rest) = dv.split_at_mut(dv_len);
                    dv = rest;
                    let passed = Passed {
                        input: self.input(g, x, residual),
                        y: y.map(|y| &y[span.elements.clone()]),
                        dy: &dy[span.elements.clone()],
                    };
                    results.push(group(g, passed, (dx_part, with_dv.then_some(dv_part))));
                }
                Ok::<_, Infallible>(results)
            };
            let dv_len = if with_dv { x.len() } else { 0 };
            // SAFETY: as in `fill`, for both tensors.
            #[allow(unsafe_code)] // as above
            let Ok(done) = unsafe { filled(x.len(), |dx| filled(dv_len, |dv| fill(dx, dv))) };
            (done, self.x.shape().clone())
        })?;
        let dv = with_dv.then(|| Value::new(dv, shape.clone()));
        Ok((Value::new(dx, shape), dv, results))
    }
}

/// What a group's backward kernels read.
struct Passed<'a, T: Element> {
    input: Input<'a, T>,
    y: Option<&'a [T]>,
    dy: &'a [T],
}

impl<'a, T: Element> Passed<'a, T> {
    fn back(&self, channels: &'a [Channel]) -> Back<'a, T> {
        Back { channels, y: self.y, dy: self.dy }
    }
}

/// dx and dv, to be filled.
type Filled<'a, T> = (&'a mut [MaybeUninit<T>], Option<&'a mut [MaybeUninit<T>]>);

/// Calls `f` with a tensor's values, if there is a tensor; see [`with_slice`].
fn with_optional<T: Element, R>(
    t: Option<&Tensor>,
    f: impl FnOnce(Option<&[T]>) -> R,
) -> Option<R> {
    match t {
        None => Some(f(None)),
        Some(t) => with_slice(t, |t: &[T]| f(Some(t))),
    }
}

impl<T: Element> Engine for Cpu<T> {
    fn weights(&self) -> &[Weight] {
        &self.totals
    }

    fn limit(&self) -> f64 {
        T::Real::LARGE
    }

    fn reads_value(&self) -> bool {
        kernels::wants_value::<T>(self.activation)
    }

    fn moments(&self) -> Result<ByGroup<Moment>> {
        let groups = 0..self.spans.len();
        Ok(self.with_slices(|x, residual| {
            groups.map(|g| kernels::moments(&self.input(g, x, residual))).collect()
        })?)
    }

    fn normalize(&self, channels: &ByGroup<Channel>) -> Result<Value> {
        let (y, _) = self.fill(|g, x, residual, y| {
            kernels::normalize(&self.input(g, x, residual), &channels[g], y);
        })?;
        Ok(y)
    }

    fn moments_and_normalize(&self, rule: &dyn Rule) -> Result<Normalized> {
        let (y, groups) = self.fill(|g, x, residual, y| {
            kernels::forward(&self.input(g, x, residual), |first, m| rule(g, first, m), y)
        })?;
        let (moments, channels) = groups.into_iter().unzip();
        Ok(Normalized { y, moments, channels })
    }

    fn gradient_sums(
        &self,
        channels: &ByGroup<Channel>,
        y: Option<&Tensor>,
        dy: &Tensor,
    ) -> Result<ByGroup<Totals>> {
        Ok(self.with_gradients(y, dy, |x, residual, y, dy| {
            let each = self.spans.iter().zip(channels).enumerate();
            let sums = each.map(|(g, (span, channels))| {
                let y = y.map(|y| &y[span.elements.clone()]);
                let back = Back { channels, y, dy: &dy[span.elements.clone()] };
                kernels::gradient_sums(&self.input(g, x, residual), back)
            });
            sums.collect()
        })?)
    }

    fn input_gradient(
        &self,
        channels: &ByGroup<Channel>,
        terms: &ByGroup<GradientTerms>,
        y: Option<&Tensor>,
        dy: &Tensor,
    ) -> Result<(Value, Option<Value>)> {
        let scale = self.weight_scale();
        let (dx, dv, _) = self.fill_gradients(y, dy, |g, passed, (dx, dv)| {
            let terms: Vec<_> = terms[g].iter().map(|terms| terms.for_weights(scale)).collect();
            kernels::input_gradient(&passed.input, passed.back(&channels[g]), &terms, dx, dv);
        })?;
        Ok((dx, dv))
    }

    fn gradients(
        &self,
        channels: &ByGroup<Channel>,
        y: Option<&Tensor>,
        dy: &Tensor,
    ) -> Result<Gradients> {
        let (dx, dv, totals) = self.fill_gradients(y, dy, |g, passed, (dx, dv)| {
            let total = passed.input.total;
            let terms = |channel: &Channel, totals: &Totals| {
                channel.terms(channel.through_statistics(totals), total)
            };
            kernels::backward(&passed.input, passed.back(&channels[g]), terms, dx, dv)
        })?;
        Ok(Gradients { totals, dx, dv })
    }
}
