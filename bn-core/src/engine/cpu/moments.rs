//! Mean and biased variance per channel: sums of `x − pivot` and of its square about a pivot near the mean.
//!
//! The pivot is the mean of a few values spread over the channel; for a constant channel it is that constant.
//! If it is more than two standard deviations from the mean, the sums are taken again about the mean found. So
//! cancellation costs a factor of 5 at most. Where that does not help, or if squares overflow or underflow f32, the
//! channel is computed again in f64.

use std::ops::Range;

use pulp::Simd;

use super::input::{Input, Weighting, with_weighting};
use super::lanes::{Element, Real, Vector};
use super::memory::prefetch;
use super::walk::{Geometry, Place, Slab, Sums, sum};
use crate::channel::Moment;

#[derive(Clone, Copy)]
struct Deviations<'a, T: Element, const BY: u8> {
    input: Input<'a, T>,
    weights: Weighting<'a, T::Real, BY>,
}

impl<T: Element, const BY: u8> Sums<T, 1> for Deviations<'_, T, BY> {
    fn geometry(&self) -> Geometry {
        self.input.geometry()
    }

    #[inline(always)]
    fn terms<S: Simd>(
        &self,
        simd: S,
        [pivot]: &[Vector<T, S>; 1],
        place: Place,
    ) -> (Vector<T, S>, Vector<T, S>) {
        prefetch(self.input.x().as_ptr(), place.next());
        let d = self.input.centred(simd, *pivot, place);
        (self.weights.times(simd, d, place), d)
    }
}

impl<T: Element> Input<'_, T> {
    /// `Σ w(x − pivot)` and `Σ w(x − pivot)²` over a slab, by channel.
    pub(super) fn sums(&self, slab: &Slab, pivots: &[T::Real]) -> Vec<[f64; 2]> {
        let input = *self;
        with_weighting!(self.weights, |weights| {
            sum(Deviations { input, weights }, slab, [pivots])
        })
    }

    /// A value near the mean of each channel of a run; the constant itself for a constant channel.
    fn pivots(&self, run: Range<usize>) -> Vec<T::Real> {
        const PROBES: usize = 16;
        let Geometry { outer, channels, inner } = self.geometry();
        let step = |probe: usize, size: usize| probe * size / PROBES;
        // Rows and places within rows advance independently; otherwise the pivot would be that of an image's diagonal.
        let places: [_; PROBES] =
            std::array::from_fn(|p| (step(p, outer), step(p * 7 % PROBES, inner)));
        let rows = places.map(|(o, i)| &self.x()[(o * channels + run.start) * inner + i..]);
        let value = |x: &T| x.to_real().to_f64();
        let firsts: Vec<f64> = rows[0].iter().step_by(inner).map(value).take(run.len()).collect();
        let mut off = vec![0.0; run.len()];
        for row in &rows[1..] {
            match inner {
                // A case for stride 1, which becomes vector instructions.
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

    /// Moments from sums about a pivot; `Err` with a better pivot if cancellation cost too many digits.
    #[inline(always)]
    fn moment(
        &self,
        c: usize,
        pivot: T::Real,
        [sum, squares]: [f64; 2],
    ) -> Result<Moment, T::Real> {
        let off = sum / self.total;
        let mean = pivot.to_f64() + off;
        let variance = squares / self.total - off * off;
        // One test accepts almost every channel; NaN fails it.
        if off * off <= 4.0 * variance && squares >= T::Real::TINY && squares < f64::INFINITY {
            return Ok(Moment { mean, variance });
        }
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

    /// Variance from the squares about a pivot at distance `off` from the mean.
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
        let Geometry { outer, channels, inner } = self.geometry();
        let value =
            |o: usize, i: usize| self.x()[(o * channels + c) * inner + i].to_real().to_f64();
        // The first value of nonzero weight: one of weight 0 may be anything.
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

    /// Moments of a slab's channels, all of whose values it holds.
    pub(super) fn slab_moments(&self, slab: &Slab) -> Vec<Moment> {
        self.moments_by(slab.channels.clone(), |pivots| self.sums(slab, pivots))
    }

    /// Moments of a run of channels by [`Input::sums`] over all of their values.
    pub(super) fn moments_by(
        &self,
        channels: Range<usize>,
        sums: impl Fn(&[T::Real]) -> Vec<[f64; 2]>,
    ) -> Vec<Moment> {
        let mut pivots = self.pivots(channels.clone());
        let mut moments = vec![Moment::default(); channels.len()];
        let mut again = Vec::new();
        for (k, of_channel) in sums(&pivots).into_iter().enumerate() {
            match self.moment(channels.start + k, pivots[k], of_channel) {
                Ok(moment) => moments[k] = moment,
                Err(better) => {
                    pivots[k] = better;
                    again.push(k);
                }
            }
        }
        if again.is_empty() {
            return moments;
        }
        let second = sums(&pivots);
        for k in again {
            let [sum, squares] = second[k];
            let off = sum / self.total;
            let variance = self.variance(squares, off);
            moments[k] = if off * off > 4.0 * variance {
                // Values of weight 0 put the first pivot far from the mean.
                self.in_f64(channels.start + k)
            } else {
                Moment { mean: pivots[k].to_f64() + off, variance }
            };
        }
        moments
    }
}

/// Adds to each sum a value's distance from the first.
fn deviate(off: &mut [f64], firsts: &[f64], values: impl Iterator<Item = f64>) {
    for ((off, first), value) in off.iter_mut().zip(firsts).zip(values) {
        *off += value - first;
    }
}
