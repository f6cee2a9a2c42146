//! Rows of one channel (channels first).

use pulp::Simd;

use super::super::lanes::{Element, MOST_LANES, Real, Vector};
use super::{FLUSH, Map, Place, Region, Sums};

impl<T: Element, const N: usize> Region<'_, T, N> {
    #[inline(always)]
    pub(super) fn sum_rows<S: Simd, F: Sums<T, N>>(&self, simd: S, f: F, sums: &mut [[f64; 2]]) {
        let width = self.slab.inner.len();
        let lanes = T::Real::lanes::<S>();
        let (full, rest) = (width / lanes, width % lanes);
        let mask = tail_mask::<T::Real, S>(simd, rest);
        for (k, total) in sums.iter_mut().enumerate() {
            let constants = self.splats(simd, k);
            let mut sums = Pairs::<T, S>::new(simd);
            let mut filled = 0;
            for o in self.slab.outer.clone() {
                let row = self.row(k, o);
                let mut done = 0;
                while full - done >= 4 {
                    let end = done + 4 * (FLUSH - filled).min((full - done) / 4);
                    filled += (end - done) / 4;
                    while done < end {
                        for lane in 0..4 {
                            let place = row.plus((done + lane) * lanes);
                            sums.add(simd, lane, f.terms(simd, &constants, place));
                        }
                        done += 4;
                    }
                    if filled == FLUSH {
                        sums.flush(simd, total);
                        filled = 0;
                    }
                }
                for lane in 0..3 {
                    if done + lane < full {
                        let place = row.plus((done + lane) * lanes);
                        sums.add(simd, lane, f.terms(simd, &constants, place));
                    }
                }
                if rest > 0 {
                    let (t, u) = f.terms(simd, &constants, row.plus(width - lanes));
                    sums.add(simd, 3, (T::Real::mul(simd, t, mask), u));
                }
                if done < full || rest > 0 {
                    filled += 1;
                    if filled == FLUSH {
                        sums.flush(simd, total);
                        filled = 0;
                    }
                }
            }
            sums.flush(simd, total);
        }
    }

    #[inline(always)]
    pub(super) fn map_rows<S: Simd, F: Map<T, N>>(&self, simd: S, f: F) {
        let lanes = T::Real::lanes::<S>();
        let width = self.slab.inner.len();
        for k in 0..self.slab.channels.len() {
            let constants = self.splats(simd, k);
            for o in self.slab.outer.clone() {
                let row = self.row(k, o);
                let mut done = 0;
                while done + lanes <= width {
                    f.apply(simd, &constants, row.plus(done));
                    done += lanes;
                }
                if done < width {
                    f.apply(simd, &constants, row.plus(width - lanes));
                }
            }
        }
    }

    /// The start of a row of the slab's channel `k`.
    #[inline(always)]
    fn row(&self, k: usize, outer: usize) -> Place {
        let (geometry, slab) = (self.geometry, self.slab);
        let channel = slab.channels.start + k;
        let at = (outer * geometry.channels + channel) * geometry.inner + slab.inner.start;
        let position = outer * geometry.inner + slab.inner.start;
        Place { at, outer, position, next: at + self.ahead }
    }

    /// Constants of the slab's channel `k` in every lane.
    #[inline(always)]
    fn splats<S: Simd>(&self, simd: S, k: usize) -> [Vector<T, S>; N] {
        let mut splats = [T::Real::splat(simd, T::Real::ZERO); N];
        for (splat, constants) in splats.iter_mut().zip(self.constants) {
            *splat = T::Real::splat(simd, constants[k]);
        }
        splats
    }
}

/// `Σ t` and `Σ t·u` in four vectors each, so that an addition need not wait for the one before.
struct Pairs<T: Element, S: Simd> {
    t: [Vector<T, S>; 4],
    t_u: [Vector<T, S>; 4],
}

impl<T: Element, S: Simd> Pairs<T, S> {
    #[inline(always)]
    fn new(simd: S) -> Self {
        let zeros = [T::Real::splat(simd, T::Real::ZERO); 4];
        Self { t: zeros, t_u: zeros }
    }

    #[inline(always)]
    fn add(&mut self, simd: S, lane: usize, (t, u): (Vector<T, S>, Vector<T, S>)) {
        self.t[lane] = T::Real::add(simd, self.t[lane], t);
        self.t_u[lane] = T::Real::mul_add(simd, t, u, self.t_u[lane]);
    }

    /// Moves the sums into `total`.
    #[inline(always)]
    fn flush(&mut self, simd: S, total: &mut [f64; 2]) {
        for (total, [a, b, c, d]) in total.iter_mut().zip([self.t, self.t_u]) {
            let both = [T::Real::add(simd, a, b), T::Real::add(simd, c, d)];
            *total += T::Real::total(simd, T::Real::add(simd, both[0], both[1]));
        }
        *self = Self::new(simd);
    }
}

/// 0 in the lanes that a moved-back vector repeats, 1 in its last `rest`.
#[inline(always)]
fn tail_mask<R: Real, S: Simd>(simd: S, rest: usize) -> R::Vector<S> {
    let mut mask = [R::ZERO; 2 * MOST_LANES];
    mask[MOST_LANES..].fill(R::from_f64(1.0));
    R::load(simd, &mask[MOST_LANES + rest - R::lanes::<S>()..])
}
