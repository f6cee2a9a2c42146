//! The gradient: per channel `Σ dv` and `Σ dv·(x − mean)`, then
//! `dx = scale·dv − w·(p + (x − mean)·q)`, with dv the gradient before the activation and x̂ recomputed.

use pulp::{Simd, WithSimd};

use super::lanes::{Element, Real, Vector, dispatch, prefetch};
use super::moments::Weights;
use super::normalize::Affines;
use super::output::Output;
use super::tail::{Curve, Plain, Relu, SigmoidAt, Slope, TanhAt};
use super::walk::{Geometry, Map, Place, Slab, Sums, map, sum};
use crate::activation::Activation;
use crate::channel::{Channel, GradientTerms, Totals};

/// What a backward pass reads.
pub(super) struct Gradient<'a, T: Element> {
    pub(super) x: &'a [T],
    pub(super) dy: &'a [T],
    pub(super) geometry: Geometry,
    pub(super) weights: Weights<'a, T::Real>,
    pub(super) residual: Option<&'a [T]>,
    pub(super) activation: Activation,
    /// y, where it was kept for the gradient of the activation.
    pub(super) y: Option<&'a [T]>,
}

impl<T: Element> Gradient<'_, T> {
    /// `Σ dv` and `Σ dv·(x − mean rounded)` over a slab.
    pub(super) fn sums(&self, slab: &Slab, affines: &Affines<T::Real>) -> Vec<[f64; 2]> {
        let mut sums = vec![[0.0; 2]; slab.channels.len()];
        let out = &mut sums;
        match (self.activation, self.y) {
            (Activation::None, _) => self.sum_with(Plain, slab, affines, out),
            (Activation::Relu, _) => self.sum_with(Relu, slab, affines, out),
            (Activation::Sigmoid, Some(_)) => self.sum_with(SigmoidAt, slab, affines, out),
            (Activation::Tanh, Some(_)) => self.sum_with(TanhAt, slab, affines, out),
            (other, _) => self.sum_with(Curve(other), slab, affines, out),
        }
        sums
    }

    fn sum_with<A: Slope>(
        &self,
        tail: A,
        slab: &Slab,
        affines: &Affines<T::Real>,
        sums: &mut [[f64; 2]],
    ) {
        let constants = [&affines.mean[..], &affines.scale[..], &affines.offset[..]];
        let terms = Terms { all: self, tail };
        dispatch::<T::Real, _>(slab.run(self.geometry), SumSlab { terms, slab, constants, sums });
    }

    /// Sums about the mean as rounded, to totals about the mean itself.
    pub(super) fn totals(&self, channels: &[Channel], sums: &[[f64; 2]]) -> Vec<Totals> {
        let each = channels.iter().zip(sums);
        each.map(|(channel, [dv, moment])| {
            let lost = lost_in::<T::Real>(channel.affine.mean);
            Totals { dv: *dv, dv_x_hat: channel.inv_std * (moment - lost * dv) }
        })
        .collect()
    }

    /// dx (and dv) of a slab. Slabs that run at the same time must not overlap.
    pub(super) fn run(
        &self,
        slab: &Slab,
        affines: &Affines<T::Real>,
        channels: &[Channel],
        terms: &[GradientTerms],
        outputs: Outputs<'_, '_, T>,
    ) {
        let mut slopes = vec![T::Real::ZERO; channels.len()];
        let mut levels = vec![T::Real::ZERO; channels.len()];
        let into = slopes.iter_mut().zip(&mut levels);
        for ((channel, terms), (slope, level)) in channels.iter().zip(terms).zip(into) {
            *slope = T::Real::from_f64(-terms.q);
            let shift = lost_in::<T::Real>(channel.affine.mean) * terms.q;
            *level = T::Real::from_f64(shift - terms.p);
        }
        let constants =
            [&affines.mean[..], &affines.scale[..], &affines.offset[..], &slopes[..], &levels[..]];
        match (self.activation, self.y) {
            (Activation::None, _) => self.map_with(Plain, slab, constants, outputs),
            (Activation::Relu, _) => self.map_with(Relu, slab, constants, outputs),
            (Activation::Sigmoid, Some(_)) => self.map_with(SigmoidAt, slab, constants, outputs),
            (Activation::Tanh, Some(_)) => self.map_with(TanhAt, slab, constants, outputs),
            (other, _) => self.map_with(Curve(other), slab, constants, outputs),
        }
        outputs.0.finish();
        if let Some(dv) = outputs.1 {
            dv.finish();
        }
    }

    fn map_with<A: Slope>(
        &self,
        tail: A,
        slab: &Slab,
        constants: [&[T::Real]; 5],
        outputs: Outputs<'_, '_, T>,
    ) {
        let terms = Written { terms: Terms { all: self, tail }, outputs };
        dispatch::<T::Real, _>(slab.run(self.geometry), MapSlab { terms, slab, constants });
    }
}

/// dx, and dv where it is the gradient of a residual.
type Outputs<'a, 'b, T> = (&'a Output<'b, T>, Option<&'a Output<'b, T>>);

/// What the mean loses where it is rounded to the kernels' type; 0 where that is no number.
#[inline(always)]
fn lost_in<R: Real>(mean: f64) -> f64 {
    let lost = mean - R::from_f64(mean).to_f64();
    if lost.is_finite() { lost } else { 0.0 }
}

struct Terms<'a, T: Element, A> {
    all: &'a Gradient<'a, T>,
    tail: A,
}

/// Terms that are written.
struct Written<'a, 'b, T: Element, A> {
    terms: Terms<'a, T, A>,
    outputs: Outputs<'a, 'b, T>,
}

impl<T: Element, A: Slope> Terms<'_, T, A> {
    /// `x − mean` and dv.
    #[inline(always)]
    fn centred_and_dv<S: Simd>(
        &self,
        simd: S,
        [mean, scale, offset]: [Vector<T, S>; 3],
        place: Place,
    ) -> (Vector<T, S>, Vector<T, S>) {
        let centred = T::Real::sub(simd, T::load(simd, &self.all.x[place.at..]), mean);
        let dy = T::load(simd, &self.all.dy[place.at..]);
        if A::IDENTITY {
            return (centred, dy);
        }
        if A::OF_VALUE
            && let Some(y) = self.all.y
        {
            let y = T::load(simd, &y[place.at..]);
            return (centred, self.tail.gradient::<T::Real, S>(simd, y, dy));
        }
        let mut v = T::Real::mul_add(simd, centred, scale, offset);
        if let Some(residual) = self.all.residual {
            v = T::Real::add(simd, v, T::load(simd, &residual[place.at..]));
        }
        (centred, self.tail.gradient::<T::Real, S>(simd, v, dy))
    }
}

struct SumSlab<'a, T: Element, A> {
    terms: Terms<'a, T, A>,
    slab: &'a Slab,
    constants: [&'a [T::Real]; 3],
    sums: &'a mut [[f64; 2]],
}

impl<T: Element, A: Slope> WithSimd for SumSlab<'_, T, A> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let geometry = self.terms.all.geometry;
        sum(simd, &self.terms, geometry, self.slab, self.constants, self.sums);
    }
}

impl<T: Element, A: Slope> Sums<T, 3> for Terms<'_, T, A> {
    #[inline(always)]
    fn terms<S: Simd>(
        &self,
        simd: S,
        constants: &[Vector<T, S>; 3],
        place: Place,
    ) -> (Vector<T, S>, Vector<T, S>) {
        prefetch(self.all.x.as_ptr(), place.next);
        prefetch(self.all.dy.as_ptr(), place.next);
        let (centred, dv) = self.centred_and_dv(simd, *constants, place);
        (dv, centred)
    }
}

struct MapSlab<'a, 'b, T: Element, A> {
    terms: Written<'a, 'b, T, A>,
    slab: &'a Slab,
    constants: [&'a [T::Real]; 5],
}

impl<T: Element, A: Slope> WithSimd for MapSlab<'_, '_, T, A> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let geometry = self.terms.terms.all.geometry;
        map(simd, &self.terms, geometry, self.slab, self.constants);
    }
}

impl<T: Element, A: Slope> Map<T, 5> for Written<'_, '_, T, A> {
    #[inline(always)]
    #[allow(unsafe_code)] // see `Output`
    fn apply<S: Simd>(&self, simd: S, constants: &[Vector<T, S>; 5], place: Place) {
        let [mean, scale, offset, slope, level] = *constants;
        self.outputs.0.prefetch(place.next);
        let (centred, dv) = self.terms.centred_and_dv(simd, [mean, scale, offset], place);
        let through = T::Real::mul_add(simd, centred, slope, level);
        let through = self.terms.all.weights.times(simd, through, place);
        let dx = T::Real::mul_add(simd, scale, dv, through);
        // SAFETY: tasks have slabs that do not overlap.
        unsafe { self.outputs.0.store(simd, place.at, dx) };
        if let Some(out) = self.outputs.1 {
            // SAFETY: as above.
            unsafe { out.store(simd, place.at, dv) };
        }
    }
}
