//! Inputs of kernels: slices whose lengths are checked once, so that vectors need no checks.

use std::mem::MaybeUninit;

use pulp::Simd;

use super::lanes::{Element, Real, Vector};
use super::output::Output;
use super::walk::{Geometry, Place};
use crate::activation::Activation;
use crate::channel::Channel;

/// Weights of the values; all channels share them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Weights<'a, R> {
    /// All 1.
    None,
    /// One per index of the outer axis.
    PerOuter(&'a [R]),
    /// One per position, `[outer, inner]`.
    PerPosition(&'a [R]),
}

/// Weights in a kernel. Kernels are compiled for each kind: [`UNIT`], [`OUTER`] and [`POSITION`].
#[derive(Clone, Copy)]
pub(super) struct Weighting<'a, R, const BY: u8>(pub(super) &'a [R]);

pub(super) const UNIT: u8 = 0;
pub(super) const OUTER: u8 = 1;
pub(super) const POSITION: u8 = 2;

impl<R: Real, const BY: u8> Weighting<'_, R, BY> {
    #[inline(always)]
    pub(super) fn times<S: Simd>(self, simd: S, v: R::Vector<S>, place: Place) -> R::Vector<S> {
        match BY {
            UNIT => v,
            OUTER => R::mul(simd, R::splat(simd, self.0[place.outer()]), v),
            _ => R::mul(simd, R::load(simd, &self.0[place.position()..]), v),
        }
    }
}

/// Evaluates an expression with the [`Weighting`] of some [`Weights`], compiled for each.
macro_rules! with_weighting {
    ($weights:expr, |$weighting:ident| $body:expr) => {{
        use $crate::engine::cpu::input::{OUTER, POSITION, UNIT, Weighting, Weights};
        match $weights {
            Weights::None => {
                let $weighting = Weighting::<_, UNIT>(&[]);
                $body
            }
            Weights::PerOuter(w) => {
                let $weighting = Weighting::<_, OUTER>(w);
                $body
            }
            Weights::PerPosition(w) => {
                let $weighting = Weighting::<_, POSITION>(w);
                $body
            }
        }
    }};
}
pub(super) use with_weighting;

impl<R: Real> Weights<'_, R> {
    /// The weight at a position, `outer · inner size + inner`.
    pub(super) fn at(self, outer: usize, position: usize) -> f64 {
        match self {
            Weights::None => 1.0,
            Weights::PerOuter(w) => w[outer].to_f64(),
            Weights::PerPosition(w) => w[position].to_f64(),
        }
    }
}

/// The input of a layer, as slices.
#[derive(Clone, Copy)]
pub(super) struct Input<'a, T: Element> {
    x: &'a [T],
    residual: Option<&'a [T]>,
    geometry: Geometry,
    pub(super) weights: Weights<'a, T::Real>,
    /// Sum of all weights; without weights, the number of values per channel.
    pub(super) total: f64,
    pub(super) activation: Activation,
}

impl<'a, T: Element> Input<'a, T> {
    /// Without weights, residual or activation. Panics unless `x` has the geometry's length.
    pub(super) fn new(x: &'a [T], geometry: Geometry) -> Self {
        assert!(x.len() == geometry.len());
        let total = (geometry.outer * geometry.inner) as f64;
        let activation = Activation::None;
        Self { x, residual: None, geometry, weights: Weights::None, total, activation }
    }

    pub(super) fn with_weights(self, weights: Weights<'a, T::Real>, total: f64) -> Self {
        Self { weights, total, ..self }
    }

    pub(super) fn with_activation(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    /// Panics unless the residual has x's length.
    pub(super) fn with_residual(self, residual: Option<&'a [T]>) -> Self {
        assert!(residual.is_none_or(|residual| residual.len() == self.x.len()));
        Self { residual, ..self }
    }

    #[inline(always)]
    pub(super) fn geometry(&self) -> Geometry {
        self.geometry
    }

    #[inline(always)]
    pub(super) fn x(&self) -> &'a [T] {
        self.x
    }

    /// Panics unless the slice has x's length.
    pub(super) fn output<'b>(&self, slice: &'b mut [MaybeUninit<T>]) -> Output<'b, T> {
        assert!(slice.len() == self.x.len());
        Output::new(slice, self.geometry)
    }

    /// `x − mean`.
    #[inline(always)]
    #[allow(unsafe_code)] // see `Place::load`
    pub(super) fn centred<S: Simd>(
        &self,
        simd: S,
        mean: Vector<T, S>,
        place: Place,
    ) -> Vector<T, S> {
        // SAFETY: x has the geometry's length.
        T::Real::sub(simd, unsafe { place.load(simd, self.x) }, mean)
    }

    /// The activation's argument, by mean, scale and offset.
    #[inline(always)]
    #[allow(unsafe_code)] // see `Place::load`
    pub(super) fn before_activation<S: Simd>(
        &self,
        simd: S,
        centred: Vector<T, S>,
        [_, scale, offset]: &[Vector<T, S>; 3],
        place: Place,
    ) -> Vector<T, S> {
        let v = T::Real::mul_add(simd, centred, *scale, *offset);
        match self.residual {
            // SAFETY: the residual has the geometry's length.
            Some(residual) => T::Real::add(simd, v, unsafe { place.load(simd, residual) }),
            None => v,
        }
    }
}

/// What a backward pass reads.
#[derive(Clone, Copy)]
pub(super) struct Back<'a, T: Element> {
    pub(super) input: Input<'a, T>,
    pub(super) channels: &'a [Channel],
    y: Option<&'a [T]>,
    dy: &'a [T],
}

impl<'a, T: Element> Back<'a, T> {
    /// `y` is the forward pass's result, if the gradient [reads it](reads_value). Panics unless all slices have x's
    /// length and there is a channel for each of the geometry's.
    pub(super) fn new(
        input: Input<'a, T>,
        channels: &'a [Channel],
        y: Option<&'a [T]>,
        dy: &'a [T],
    ) -> Self {
        let len = input.x.len();
        assert!(dy.len() == len && y.is_none_or(|y| y.len() == len));
        assert!(channels.len() == input.geometry.channels);
        Self { input, channels, y, dy }
    }

    #[inline(always)]
    pub(super) fn dy(&self) -> &'a [T] {
        self.dy
    }

    #[inline(always)]
    #[allow(unsafe_code)] // see `Place::load`
    pub(super) fn load_dy<S: Simd>(&self, simd: S, place: Place) -> Vector<T, S> {
        // SAFETY: dy has the geometry's length.
        unsafe { place.load(simd, self.dy) }
    }

    #[inline(always)]
    #[allow(unsafe_code)] // see `Place::load`
    pub(super) fn load_y<S: Simd>(&self, simd: S, place: Place) -> Option<Vector<T, S>> {
        match self.y {
            // SAFETY: y has the geometry's length.
            Some(y) => Some(unsafe { place.load(simd, y) }),
            None => None,
        }
    }
}

/// Whether the gradient is cheaper with y than without.
pub(super) fn reads_value<T: Element>(activation: Activation) -> bool {
    T::PLAIN && matches!(activation, Activation::Sigmoid | Activation::Tanh)
}
