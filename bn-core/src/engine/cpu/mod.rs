//! The CPU engine: kernels over slices. Only this file and `weights.rs` see tensors; policies are the pass's.
//!
//! A slice is read as `[outer, channels, inner]` and cut into slabs. The shape decides the cuts, so results do not
//! depend on the number of threads. Where a slab with all values of its channels fits into a core's L2 cache, all
//! passes over it run before the next slab. Elsewhere each pass runs over all slabs, and their sums are added in slab
//! order.
//!
//! Accumulation: at most 64 values per lane in the element's [`lanes::Real`] (f32; f64 for f64), then f64.
//! Mean within 1 ulp and variance within 1e-5 of what f64 finds, for |mean| up to 10⁶ standard deviations.

mod backward;
mod exp;
mod half_bits;
mod input;
mod kernels;
mod lanes;
mod memory;
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

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Deref, Range};

use candle::{DType, Tensor, bail};

use super::{ByGroup, Engine, Gradients, Normalized, Operands, Rule};
use crate::activation::Activation;
use crate::channel::{Channel, GradientTerms, Moment, Totals, Weight};
use crate::error::{Error, Result};
use crate::layout::ChannelView;
use crate::tensors::{Value, room, slice};
use input::{Back, Input, Weights};
use lanes::{Element, Real};
use walk::Geometry;
use weights::HostWeights;

/// The kernels for the operands' element type.
pub(super) fn engine(operands: Operands) -> Result<Box<dyn Engine>> {
    Ok(match operands.x.dtype() {
        DType::F32 => Box::new(Cpu::<f32>::new(operands)?),
        DType::F64 => Box::new(Cpu::<f64>::new(operands)?),
        DType::F16 => Box::new(Cpu::<half::f16>::new(operands)?),
        DType::BF16 => Box::new(Cpu::<half::bf16>::new(operands)?),
        got => return Err(Error::dtype("batch norm", "x", "f16, bf16, f32 or f64", got)),
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

/// The part of the tensor that one normalization group has.
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

    /// Locks the tensors that a forward pass reads.
    fn read(&self) -> candle::Result<Read<impl Deref<Target = [T]>>> {
        let residual = self.residual.as_ref().map(required).transpose()?;
        Ok(Read { x: required(&self.x)?, residual })
    }

    /// Locks the tensors that a backward pass reads in addition.
    fn read_back<'a>(
        &self,
        y: Option<&'a Tensor>,
        dy: &'a Tensor,
    ) -> candle::Result<ReadBack<impl Deref<Target = [T]> + use<'a, T>>> {
        let y = y.filter(|_| self.reads_value()).map(required).transpose()?;
        Ok(ReadBack { y, dy: required(dy)? })
    }

    /// The kernels' input for a group.
    fn input<'a>(&'a self, group: usize, read: &'a Read<impl Deref<Target = [T]>>) -> Input<'a, T> {
        let span = &self.spans[group];
        let part = |all: &'a [T]| &all[span.elements.clone()];
        let weights = match &self.weights {
            Some(w) => w.of(&span.outer),
            None => Weights::None,
        };
        Input::new(part(&read.x), span.geometry)
            .with_weights(weights, self.totals[group].sum * self.weight_scale())
            .with_activation(self.activation)
            .with_residual(read.residual.as_deref().map(part))
    }

    /// What a group's backward kernels read.
    fn back<'a>(
        &'a self,
        group: usize,
        (read, read_back): (
            &'a Read<impl Deref<Target = [T]>>,
            &'a ReadBack<impl Deref<Target = [T]>>,
        ),
        channels: &'a ByGroup<Channel>,
    ) -> Back<'a, T> {
        let part = |all: &'a [T]| &all[self.spans[group].elements.clone()];
        let y = read_back.y.as_deref().map(part);
        Back::new(self.input(group, read), &channels[group], y, part(&read_back.dy))
    }

    /// The factor from the caller's weights to the kernels'.
    fn weight_scale(&self) -> f64 {
        self.weights.as_ref().map_or(1.0, |w| w.scale)
    }

    /// Room for dv, if it is the gradient of a residual and differs from dy.
    fn room_for_dv(&self) -> Option<Box<[MaybeUninit<T>]>> {
        let needed = self.residual.is_some() && self.activation != Activation::None;
        needed.then(|| room(self.x.elem_count()))
    }

    /// A value of x's shape.
    ///
    /// # Safety
    /// Every element has been written.
    #[allow(unsafe_code)] // see `room`
    unsafe fn value(&self, written: Box<[MaybeUninit<T>]>) -> Value {
        // SAFETY: by the caller.
        let values = unsafe { written.assume_init() };
        Value::new(values.into_vec(), self.x.shape().clone())
    }
}

/// The values of a forward pass's tensors.
struct Read<S> {
    x: S,
    residual: Option<S>,
}

/// The values that a backward pass reads in addition.
struct ReadBack<S> {
    y: Option<S>,
    dy: S,
}

fn required<T: Element>(t: &Tensor) -> candle::Result<impl Deref<Target = [T]>> {
    match slice(t) {
        Some(slice) => Ok(slice),
        None => bail!(
            "batch norm: expected a contiguous tensor on the CPU of x's type, got {:?} of type {:?}",
            t.layout(),
            t.dtype()
        ),
    }
}

// The passes below write every element of their outputs: the spans cover the tensor, a plan's slabs cover a span (a
// test checks that), and the kernels write every element of a slab.
impl<T: Element> Engine for Cpu<T> {
    fn weights(&self) -> &[Weight] {
        &self.totals
    }

    fn limit(&self) -> f64 {
        T::Real::LARGE
    }

    fn reads_value(&self) -> bool {
        input::reads_value::<T>(self.activation)
    }

    fn moments(&self) -> Result<ByGroup<Moment>> {
        let read = self.read()?;
        let groups = 0..self.spans.len();
        Ok(groups.map(|group| kernels::moments(&self.input(group, &read))).collect())
    }

    #[allow(unsafe_code)] // see above
    fn normalize(&self, channels: &ByGroup<Channel>) -> Result<Value> {
        let read = self.read()?;
        let mut y = room(read.x.len());
        for (group, span) in self.spans.iter().enumerate() {
            let y = &mut y[span.elements.clone()];
            kernels::normalize(&self.input(group, &read), &channels[group], y);
        }
        // SAFETY: see above.
        Ok(unsafe { self.value(y) })
    }

    #[allow(unsafe_code)] // see above
    fn moments_and_normalize(&self, rule: &dyn Rule) -> Result<Normalized> {
        let read = self.read()?;
        let mut y = room(read.x.len());
        let (mut moments, mut channels) = (Vec::new(), Vec::new());
        for (group, span) in self.spans.iter().enumerate() {
            let rule = |first: usize, moments: &[Moment]| rule(group, first, moments);
            let y = &mut y[span.elements.clone()];
            let (of_moments, of_channels) = kernels::forward(&self.input(group, &read), rule, y);
            moments.push(of_moments);
            channels.push(of_channels);
        }
        // SAFETY: see above.
        Ok(Normalized { y: unsafe { self.value(y) }, moments, channels })
    }

    fn gradient_sums(
        &self,
        channels: &ByGroup<Channel>,
        y: Option<&Tensor>,
        dy: &Tensor,
    ) -> Result<ByGroup<Totals>> {
        let (read, read_back) = (self.read()?, self.read_back(y, dy)?);
        let groups = 0..self.spans.len();
        let backs = groups.map(|group| self.back(group, (&read, &read_back), channels));
        Ok(backs.map(|back| kernels::gradient_sums(&back)).collect())
    }

    #[allow(unsafe_code)] // see above
    fn input_gradient(
        &self,
        channels: &ByGroup<Channel>,
        terms: &ByGroup<GradientTerms>,
        y: Option<&Tensor>,
        dy: &Tensor,
    ) -> Result<(Value, Option<Value>)> {
        let (read, read_back) = (self.read()?, self.read_back(y, dy)?);
        let (mut dx, mut dv) = (room(read.x.len()), self.room_for_dv());
        let scale = self.weight_scale();
        for (group, span) in self.spans.iter().enumerate() {
            let terms: Vec<_> = terms[group].iter().map(|terms| terms.for_weights(scale)).collect();
            let back = self.back(group, (&read, &read_back), channels);
            let part = span.elements.clone();
            let dv = dv.as_mut().map(|dv| &mut dv[part.clone()]);
            kernels::input_gradient(&back, &terms, &mut dx[part], dv);
        }
        // SAFETY: see above.
        Ok(unsafe { (self.value(dx), dv.map(|dv| self.value(dv))) })
    }

    #[allow(unsafe_code)] // see above
    fn gradients(
        &self,
        channels: &ByGroup<Channel>,
        y: Option<&Tensor>,
        dy: &Tensor,
    ) -> Result<Gradients> {
        let (read, read_back) = (self.read()?, self.read_back(y, dy)?);
        let (mut dx, mut dv) = (room(read.x.len()), self.room_for_dv());
        let mut totals = Vec::with_capacity(self.spans.len());
        for (group, span) in self.spans.iter().enumerate() {
            let back = self.back(group, (&read, &read_back), channels);
            let part = span.elements.clone();
            let dv = dv.as_mut().map(|dv| &mut dv[part.clone()]);
            totals.push(kernels::backward(&back, &mut dx[part], dv));
        }
        // SAFETY: see above.
        let (dx, dv) = unsafe { (self.value(dx), dv.map(|dv| self.value(dv))) };
        Ok(Gradients { totals, dx, dv })
    }
}
