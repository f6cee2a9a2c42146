//! Mean and biased variance per channel: sums of `x − pivot` and of its square about a pivot near the mean.
//!
//! The pivot is the mean of a few values from all over the channel, exactly the value of a constant channel.
//! If it turns out to be more than two standard deviations off, the sums are taken again about the mean
//! found, so at most a factor of 5 is lost to cancellation. Where that does not help, or squares overflow or
//! underflow f32, the channel is done again in f64.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::lanes::{Element, Real, Vector, dispatch, prefetch};
use super::walk::{Geometry, Place, Slab, Sums, sum};
use crate::channel::Moment;

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

impl<R: Real> Weights<'_, R> {
    #[inline(always)]
    pub(super) fn times<S: Simd>(self, simd: S, v: R::Vector<S>, place: Place) -> R::Vector<S> {
        match self {
            Weights::None => v,
            Weights::PerOuter(w) => R::mul(simd, R::splat(simd, w[place.outer]), v),
            Weights::PerPosition(w) => R::mul(simd, R::load(simd, &w[place.position..]), v),
        }
    }

    fn at(self, outer: usize, position: usize) -> f64 {
        match self {
            Weights::None => 1.0,
            Weights::PerOuter(w) => w[outer].to_f64(),
            Weights::PerPosition(w) => w[position].to_f64(),
        }
    }
}

/// What moments are taken of. `total` is the sum of all weights.
#[derive(Clone, Copy)]
pub(super) struct Sample<'a, T: Element> {
    pub(super) x: &'a [T],
    pub(super) geometry: Geometry,
    pub(super) weights: Weights<'a, T::Real>,
    pub(super) total: f64,
}

struct Deviations<'a, T: Element> {
    x: &'a [T],
    weights: Weights<'a, T::Real>,
}

impl<T: Element> Sums<T, 1> for Deviations<'_, T> {
    #[inline(always)]
    fn terms<S: Simd>(
        &self,
        simd: S,
        [pivot]: &[Vector<T, S>; 1],
        place: Place,
    ) -> (Vector<T, S>, Vector<T, S>) {
        prefetch(self.x.as_ptr(), place.next);
        let d = T::Real::sub(simd, T::load(simd, &self.x[place.at..]), *pivot);
        (self.weights.times(simd, d, place), d)
    }
}

impl<T: Element> Sample<'_, T> {
    /// `Σ w(x − pivot)` and `Σ w(x − pivot)²` over a slab, by channel.
    pub(super) fn sums(&self, slab: &Slab, pivots: &[T::Real]) -> Vec<[f64; 2]> {
        let mut sums = vec![[0.0; 2]; slab.channels.len()];
        dispatch::<T::Real, _>(
            slab.run(self.geometry),
            SumSlab { sample: self, slab, pivots, sums: &mut sums },
        );
        sums
    }

    /// A value near the mean of each channel of a run: exact for a constant channel.
    pub(super) fn pivots(&self, run: Range<usize>) -> Vec<T::Real> {
        const PROBES: usize = 16;
        let Geometry { outer, channels, inner } = self.geometry;
        let step = |probe: usize, size: usize| probe * size / PROBES;
        // Rows and places within them are stepped apart, or a picture's diagonal would stand for it.
        let places: [_; PROBES] =
            std::array::from_fn(|p| (step(p, outer), step(p * 7 % PROBES, inner)));
        let rows = places.map(|(o, i)| &self.x[(o * channels + run.start) * inner + i..]);
        let value = |x: &T| x.to_real().to_f64();
        let firsts: Vec<f64> = rows[0].iter().step_by(inner).map(value).take(run.len()).collect();
        let mut off = vec![0.0; run.len()];
        for row in &rows[1..] {
            match inner {
                // Apart, for it becomes vector instructions.
                1 => deviate(&mut off, &firsts, row.iter().map(value)),
                _ => deviate(&mut off, &firsts, row.iter().step_by(inner).map(value)),
            }
        }
        let pivot = |(first, off): (&f64, f64)| {
            let pivot = first + off / PROBES as f64;
            T::Real::from_f64(if pivot.is_finite() { pivot } else { 0.0 })
        };
        firsts.iter().zip(off).map(pivot).collect()
    }

    /// Moments from sums about a pivot; `Err` with a better pivot where cancellation took too many digits.
    pub(super) fn settle(
        &self,
        c: usize,
        pivot: T::Real,
        [sum, squares]: [f64; 2],
    ) -> Result<Moment, T::Real> {
        let off = sum / self.total;
        let mean = pivot.to_f64() + off;
        let variance = self.variance(squares, off);
        if T::Real::TINY > 0.0 {
            let overflow = squares.is_infinite() && !sum.is_nan();
            let underflow = sum != 0.0 && squares < T::Real::TINY;
            if overflow || underflow {
                return Ok(self.in_f64(c));
            }
        }
        let better = T::Real::from_f64(mean);
        if off * off > 4.0 * variance && better != pivot && better.to_f64().is_finite() {
            return Err(better);
        }
        if squares.is_nan() || !off.is_finite() {
            return Ok(Moment { mean, variance: f64::NAN });
        }
        Ok(Moment { mean, variance })
    }

    /// Variance from the squares about a pivot that is `off` the mean.
    fn variance(&self, squares: f64, off: f64) -> f64 {
        if squares.is_infinite() {
            return f64::INFINITY;
        }
        let variance = squares / self.total - off * off;
        // Not `max`, which would make 0 of NaN.
        if variance < 0.0 { 0.0 } else { variance }
    }

    /// The plain two passes, in f64, about a value of the channel.
    fn in_f64(&self, c: usize) -> Moment {
        let Geometry { outer, channels, inner } = self.geometry;
        let value = |o: usize, i: usize| self.x[(o * channels + c) * inner + i].to_real().to_f64();
        // A value that counts: one of weight 0 may be anything.
        let places = (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i)));
        let mut counted = places.filter(|(o, i)| self.weights.at(*o, o * inner + i) > 0.0);
        let first = counted.next().map_or(0.0, |(o, i)| value(o, i));
        let pivot = if first.is_finite() { first } else { 0.0 };
        let total = |f: &dyn Fn(f64) -> f64| {
            let mut sum = 0.0;
            for o in 0..outer {
                for i in 0..inner {
                    sum += self.weights.at(o, o * inner + i) * f(value(o, i));
                }
            }
            sum / self.total
        };
        let off = total(&|v| v - pivot);
        let variance = total(&|v| (v - pivot - off) * (v - pivot - off));
        Moment { mean: pivot + off, variance }
    }

    /// Moments of channels that the slab holds all values of.
    pub(super) fn of_whole(&self, slab: &Slab) -> Vec<Moment> {
        let channels = slab.channels.clone();
        let mut pivots = self.pivots(channels.clone());
        let sums = self.sums(slab, &pivots);
        self.settle_all(channels.start, &mut pivots, sums, |pivots| self.sums(slab, pivots))
    }

    /// [`Sample::settle`] for a run of channels, with a second round of sums if any needs it.
    pub(super) fn settle_all(
        &self,
        first: usize,
        pivots: &mut [T::Real],
        sums: Vec<[f64; 2]>,
        again: impl Fn(&[T::Real]) -> Vec<[f64; 2]>,
    ) -> Vec<Moment> {
        let mut moments = vec![Moment::default(); sums.len()];
        let mut again_for = Vec::new();
        for (k, sums) in sums.into_iter().enumerate() {
            match self.settle(first + k, pivots[k], sums) {
                Ok(moment) => moments[k] = moment,
                Err(pivot) => {
                    pivots[k] = pivot;
                    again_for.push(k);
                }
            }
        }
        if again_for.is_empty() {
            return moments;
        }
        let sums = again(pivots);
        for k in again_for {
            let [sum, squares] = sums[k];
            let off = sum / self.total;
            let variance = self.variance(squares, off);
            moments[k] = if off * off > 4.0 * variance {
                // Values of weight 0 had led the first pivot far away.
                self.in_f64(first + k)
            } else {
                Moment { mean: pivots[k].to_f64() + off, variance }
            };
        }
        moments
    }
}

/// Adds to each sum how far a value is from the first.
fn deviate(off: &mut [f64], firsts: &[f64], values: impl Iterator<Item = f64>) {
    for ((off, first), value) in off.iter_mut().zip(firsts).zip(values) {
        *off += value - first;
    }
}

struct SumSlab<'a, T: Element> {
    sample: &'a Sample<'a, T>,
    slab: &'a Slab,
    pivots: &'a [T::Real],
    sums: &'a mut [[f64; 2]],
}

impl<T: Element> WithSimd for SumSlab<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Sample { x, geometry, weights, .. } = *self.sample;
        let f = Deviations { x, weights };
        sum(simd, &f, geometry, self.slab, [self.pivots], self.sums);
    }
}
