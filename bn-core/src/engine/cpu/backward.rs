//! The gradient: per channel `Σ dv` and `Σ dv·(x − mean)`, then
//! `dx = scale·dv − w·(p + (x − mean)·q)`, with dv the gradient before the activation and x̂ recomputed.

use std::ops::Range;

use pulp::Simd;

use super::input::{Back, Weighting, with_weighting};
use super::lanes::{Element, Real, Vector};
use super::memory::prefetch;
use super::normalize::lost_in;
use super::output::Output;
use super::tail::{Tail, with_tail};
use super::walk::{Geometry, Map, Place, Slab, Sums, map, sum};
use crate::channel::{Channel, GradientTerms, Totals};

/// What is added to `scale·dv` for dx, by channel: `slope·(x − mean) + level`, in the kernels' type.
pub(super) struct Lines<R> {
    slope: Vec<R>,
    level: Vec<R>,
}

impl<R: Real> Lines<R> {
    pub(super) fn new(channels: &[Channel], terms: &[GradientTerms]) -> Self {
        let mut slope = vec![R::ZERO; channels.len()];
        let mut level = slope.clone();
        let into = slope.iter_mut().zip(&mut level);
        for ((channel, terms), (slope, level)) in channels.iter().zip(terms).zip(into) {
            *slope = R::from_f64(-terms.q);
            *level = R::from_f64(lost_in::<R>(channel.affine.mean) * terms.q - terms.p);
        }
        Self { slope, level }
    }

    /// Slope and level of some of the channels.
    pub(super) fn of(&self, channels: Range<usize>) -> [&[R]; 2] {
        [&self.slope[channels.clone()], &self.level[channels]]
    }
}

/// dx, and dv if it is the gradient of a residual.
#[derive(Clone, Copy)]
pub(super) struct Outputs<'a, T> {
    pub(super) dx: Output<'a, T>,
    pub(super) dv: Option<Output<'a, T>>,
}

/// `Σ dv` and `Σ dv·(x − mean rounded)` over a slab.
pub(super) fn sum_slab<T: Element>(
    back: &Back<'_, T>,
    slab: &Slab,
    affines: [&[T::Real]; 3],
) -> Vec<[f64; 2]> {
    with_tail!(back.input.activation, |tail| sum(Gradient { back: *back, tail }, slab, affines))
}

/// Converts sums about the rounded mean to totals about the exact one.
pub(super) fn totals<R: Real>(channels: &[Channel], sums: &[[f64; 2]]) -> Vec<Totals> {
    let mut totals = vec![Totals::default(); channels.len()];
    for ((channel, [dv, moment]), total) in channels.iter().zip(sums).zip(&mut totals) {
        let lost = lost_in::<R>(channel.affine.mean);
        *total = Totals { dv: *dv, dv_x_hat: channel.inv_std * (moment - lost * dv) };
    }
    totals
}

/// Fills a slab of dx (and dv). Slabs that run at the same time must not overlap.
pub(super) fn write_slab<T: Element>(
    back: &Back<'_, T>,
    slab: &Slab,
    [mean, scale, offset]: [&[T::Real]; 3],
    [slope, level]: [&[T::Real]; 2],
    outputs: &Outputs<'_, T>,
) {
    let constants = [mean, scale, offset, slope, level];
    with_tail!(back.input.activation, |tail| {
        let gradient = Gradient { back: *back, tail };
        with_weighting!(back.input.weights, |weights| {
            map(Written { gradient, weights, outputs: *outputs }, slab, constants);
        });
    });
    outputs.dx.finish();
    if let Some(dv) = &outputs.dv {
        dv.finish();
    }
}

#[derive(Clone, Copy)]
struct Gradient<'a, T: Element, const TAIL: u8> {
    back: Back<'a, T>,
    tail: Tail<TAIL>,
}

impl<T: Element, const TAIL: u8> Gradient<'_, T, TAIL> {
    /// `x − mean` and dv, for mean, scale and offset.
    #[inline(always)]
    fn centred_and_dv<S: Simd>(
        &self,
        simd: S,
        affine: &[Vector<T, S>; 3],
        place: Place,
    ) -> (Vector<T, S>, Vector<T, S>) {
        let Back { input, .. } = &self.back;
        let centred = input.centred(simd, affine[0], place);
        let dy = self.back.load_dy(simd, place);
        if Tail::<TAIL>::IDENTITY {
            return (centred, dy);
        }
        if Tail::<TAIL>::BY_VALUE
            && let Some(y) = self.back.load_y(simd, place)
        {
            return (centred, self.tail.gradient_by_value::<T::Real, S>(simd, y, dy));
        }
        let v = input.before_activation(simd, centred, affine, place);
        (centred, self.tail.gradient::<T::Real, S>(simd, v, dy))
    }
}

impl<T: Element, const TAIL: u8> Sums<T, 3> for Gradient<'_, T, TAIL> {
    fn geometry(&self) -> Geometry {
        self.back.input.geometry()
    }

    #[inline(always)]
    fn terms<S: Simd>(
        &self,
        simd: S,
        affine: &[Vector<T, S>; 3],
        place: Place,
    ) -> (Vector<T, S>, Vector<T, S>) {
        prefetch(self.back.input.x().as_ptr(), place.next());
        prefetch(self.back.dy().as_ptr(), place.next());
        let (centred, dv) = self.centred_and_dv(simd, affine, place);
        (dv, centred)
    }
}

#[derive(Clone, Copy)]
struct Written<'a, T: Element, const TAIL: u8, const BY: u8> {
    gradient: Gradient<'a, T, TAIL>,
    weights: Weighting<'a, T::Real, BY>,
    outputs: Outputs<'a, T>,
}

impl<T: Element, const TAIL: u8, const BY: u8> Map<T, 5> for Written<'_, T, TAIL, BY> {
    fn geometry(&self) -> Geometry {
        self.gradient.back.input.geometry()
    }

    #[inline(always)]
    #[allow(unsafe_code)] // see `Output`
    fn apply<S: Simd>(&self, simd: S, constants: &[Vector<T, S>; 5], place: Place) {
        let [mean, scale, offset, slope, level] = *constants;
        self.outputs.dx.prefetch(place.next());
        let (centred, dv) = self.gradient.centred_and_dv(simd, &[mean, scale, offset], place);
        let through = T::Real::mul_add(simd, centred, slope, level);
        let through = self.weights.times(simd, through, place);
        let dx = T::Real::mul_add(simd, scale, dv, through);
        // SAFETY: dx and dv are outputs of this input; tasks have slabs that do not overlap.
        unsafe { self.outputs.dx.store(simd, place, dx) };
        if let Some(out) = self.outputs.dv {
            // SAFETY: as above.
            unsafe { out.store(simd, place, dv) };
        }
    }
}
