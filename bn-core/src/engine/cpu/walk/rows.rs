//! Rows of one channel (channels first).

use pulp::Simd;

use super::super::lanes::{Element, MOST_LANES, Real, Vector};
use super::{Constants, FLUSH, Geometry, Map, Slab, Sums};

#[inline(always)]
pub(super) fn sum_rows<T: Element, S: Simd, F: Sums<T, N>, const N: usize>(
    simd: S,
    f: &F,
    geometry: Geometry,
    slab: &Slab,
    constants: Constants<'_, T, N>,
    sums: &mut [[f64; 2]],
) {
    let lanes = T::Real::lanes::<S>();
    let (full, rest) = (slab.inner.len() / lanes, slab.inner.len() % lanes);
    let mask = tail_mask::<T::Real, S>(simd, rest);
    let zero = T::Real::splat(simd, T::Real::ZERO);
    let ahead = slab.rows_ahead();
    for (c, out) in slab.channels.clone().zip(sums) {
        let constants = splats::<T, S, N>(simd, constants, c - slab.channels.start);
        let mut a = [zero; 4];
        let mut b = [zero; 4];
        let mut total = [0.0; 2];
        let mut filled = 0;
        macro_rules! take {
            ($lane:expr, $place:expr) => {
                let (t, u) = f.terms(simd, &constants, $place);
                a[$lane] = T::Real::add(simd, a[$lane], t);
                b[$lane] = T::Real::mul_add(simd, t, u, b[$lane]);
            };
        }
        for o in slab.outer.clone() {
            let row = slab.row(geometry, c, o, ahead);
            let mut done = 0;
            while full - done >= 4 {
                let end = done + 4 * (FLUSH - filled).min((full - done) / 4);
                filled += (end - done) / 4;
                while done < end {
                    take!(0, row.plus(done * lanes));
                    take!(1, row.plus((done + 1) * lanes));
                    take!(2, row.plus((done + 2) * lanes));
                    take!(3, row.plus((done + 3) * lanes));
                    done += 4;
                }
                if filled == FLUSH {
                    flush::<T::Real, S>(simd, &mut a, &mut b, &mut total);
                    filled = 0;
                }
            }
            if done < full {
                take!(0, row.plus(done * lanes));
            }
            if done + 1 < full {
                take!(1, row.plus((done + 1) * lanes));
            }
            if done + 2 < full {
                take!(2, row.plus((done + 2) * lanes));
            }
            if rest > 0 {
                let (t, u) = f.terms(simd, &constants, row.plus(slab.inner.len() - lanes));
                let t = T::Real::mul(simd, t, mask);
                a[3] = T::Real::add(simd, a[3], t);
                b[3] = T::Real::mul_add(simd, t, u, b[3]);
            }
            if done < full || rest > 0 {
                filled += 1;
                if filled == FLUSH {
                    flush::<T::Real, S>(simd, &mut a, &mut b, &mut total);
                    filled = 0;
                }
            }
        }
        flush::<T::Real, S>(simd, &mut a, &mut b, &mut total);
        *out = total;
    }
}

/// 0 in the lanes that a moved-back vector repeats, 1 in its last `rest`.
#[inline(always)]
fn tail_mask<R: Real, S: Simd>(simd: S, rest: usize) -> R::Vector<S> {
    let mut mask = [R::ZERO; 2 * MOST_LANES];
    mask[MOST_LANES..].fill(R::from_f64(1.0));
    R::load(simd, &mask[MOST_LANES + rest - R::lanes::<S>()..])
}

#[inline(always)]
fn flush<R: Real, S: Simd>(
    simd: S,
    a: &mut [R::Vector<S>; 4],
    b: &mut [R::Vector<S>; 4],
    total: &mut [f64; 2],
) {
    let zero = R::splat(simd, R::ZERO);
    for (of, into) in [a, b].into_iter().zip(total) {
        let (low, high) = (R::add(simd, of[0], of[1]), R::add(simd, of[2], of[3]));
        *into += R::total(simd, R::add(simd, low, high));
        *of = [zero; 4];
    }
}

#[inline(always)]
pub(super) fn map_rows<T: Element, S: Simd, F: Map<T, N>, const N: usize>(
    simd: S,
    f: &F,
    geometry: Geometry,
    slab: &Slab,
    constants: Constants<'_, T, N>,
) {
    let lanes = T::Real::lanes::<S>();
    let width = slab.inner.len();
    let ahead = slab.rows_ahead();
    for c in slab.channels.clone() {
        let constants = splats::<T, S, N>(simd, constants, c - slab.channels.start);
        for o in slab.outer.clone() {
            let row = slab.row(geometry, c, o, ahead);
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

/// Constants of one channel in every lane.
#[inline(always)]
fn splats<T: Element, S: Simd, const N: usize>(
    simd: S,
    constants: Constants<'_, T, N>,
    channel: usize,
) -> [Vector<T, S>; N] {
    let mut splats = [T::Real::splat(simd, T::Real::ZERO); N];
    for n in 0..N {
        splats[n] = T::Real::splat(simd, constants[n][channel]);
    }
    splats
}
