//! Columns of channels (channels last).

use std::ops::Range;

use pulp::Simd;

use super::super::lanes::{Element, Real, Vector};
use super::{AHEAD, Constants, FLUSH, Geometry, Map, Place, Slab, Sums};

/// Elements of a tile of rows: all its lines stay in L1 while its columns are done.
const TILE: usize = 8192;

/// Runs a block of `$columns` vectors at each column of the slab, which has its sums at `$slot`. The last
/// vector may be moved back.
macro_rules! by_blocks {
    ($width:expr, $lanes:expr, |$columns:ident, $column:ident, $slot:ident| $body:expr) => {{
        let (width, lanes) = ($width, $lanes);
        let mut at = 0;
        while at + 4 * lanes <= width {
            const $columns: usize = 4;
            let ($column, $slot) = (at, at);
            $body;
            at += 4 * lanes;
        }
        while at + 2 * lanes <= width {
            const $columns: usize = 2;
            let ($column, $slot) = (at, at);
            $body;
            at += 2 * lanes;
        }
        if at + lanes <= width {
            const $columns: usize = 1;
            let ($column, $slot) = (at, at);
            $body;
            at += lanes;
        }
        if at < width {
            const $columns: usize = 1;
            let ($column, $slot) = (width - lanes, at);
            $body;
        }
    }};
}

#[inline(always)]
pub(super) fn sum_columns<T: Element, S: Simd, F: Sums<T, N>, const N: usize>(
    simd: S,
    f: &F,
    geometry: Geometry,
    slab: &Slab,
    constants: Constants<'_, T, N>,
    sums: &mut [[f64; 2]],
) {
    let lanes = T::Real::lanes::<S>();
    let width = slab.channels.len();
    sums.fill([0.0; 2]);
    // The last, moved-back vector has sums of its own behind the others.
    let whole = width / lanes * lanes;
    let mut a = vec![T::Real::ZERO; whole + lanes];
    let mut b = vec![T::Real::ZERO; whole + lanes];
    let step = (TILE / width).clamp(4, FLUSH);
    let mut start = slab.outer.start;
    let mut filled = 0;
    while start < slab.outer.end {
        let tile = start..slab.outer.end.min(start + step);
        start = tile.end;
        by_blocks!(width, lanes, |COLUMNS, column, slot| {
            let base = slab.channels.start + column;
            let constants = block::<T, S, N, COLUMNS>(simd, constants, column);
            // Four sums in flight, of four columns or of as many rows: one add waits for the last.
            const ROWS: usize = 4 / COLUMNS;
            let (a, b) = (&mut a[slot..], &mut b[slot..]);
            column_sums::<T, S, F, N, COLUMNS, ROWS>(
                simd, f, geometry, &tile, base, constants, a, b,
            );
        });
        filled += tile.len();
        if filled + step > FLUSH || start == slab.outer.end {
            let skip = if whole < width { lanes - (width - whole) } else { lanes };
            for (of, index) in [(&mut a, 0), (&mut b, 1)] {
                for (sum, v) in sums.iter_mut().zip(&of[..whole]) {
                    sum[index] += v.to_f64();
                }
                for (sum, v) in sums[whole..].iter_mut().zip(&of[whole + skip..]) {
                    sum[index] += v.to_f64();
                }
                of.fill(T::Real::ZERO);
            }
            filled = 0;
        }
    }
}

/// Constants of `K` vectors of channels.
#[inline(always)]
fn block<T: Element, S: Simd, const N: usize, const K: usize>(
    simd: S,
    constants: Constants<'_, T, N>,
    column: usize,
) -> [[Vector<T, S>; N]; K] {
    let lanes = T::Real::lanes::<S>();
    let mut block = [[T::Real::splat(simd, T::Real::ZERO); N]; K];
    for k in 0..K {
        for n in 0..N {
            block[k][n] = T::Real::load(simd, &constants[n][column + k * lanes..]);
        }
    }
    block
}

/// Adds the sums of `K` vectors of channels over the rows of a tile, `ROWS` rows at a time, to `into`.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn column_sums<
    T: Element,
    S: Simd,
    F: Sums<T, N>,
    const N: usize,
    const K: usize,
    const ROWS: usize,
>(
    simd: S,
    f: &F,
    geometry: Geometry,
    tile: &Range<usize>,
    base: usize,
    constants: [[Vector<T, S>; N]; K],
    into_a: &mut [T::Real],
    into_b: &mut [T::Real],
) {
    let lanes = T::Real::lanes::<S>();
    let zero = T::Real::splat(simd, T::Real::ZERO);
    let mut a = [[zero; K]; ROWS];
    let mut b = [[zero; K]; ROWS];
    // The next tile's place of this column: lines of a column block are far apart.
    let ahead_by = (2 * AHEAD).div_ceil(geometry.channels).max(4) * geometry.channels;
    // A macro: a closure would be compiled without the vectors' instructions.
    macro_rules! take {
        ($row:expr, $ahead:expr) => {
            for k in 0..K {
                let at = $row * geometry.channels + base + k * lanes;
                let place = Place { at, outer: $row, position: $row, next: at + ahead_by };
                let (t, u) = f.terms(simd, &constants[k], place);
                a[$ahead][k] = T::Real::add(simd, a[$ahead][k], t);
                b[$ahead][k] = T::Real::mul_add(simd, t, u, b[$ahead][k]);
            }
        };
    }
    let mut row = tile.start;
    while row + ROWS <= tile.end {
        for ahead in 0..ROWS {
            take!(row + ahead, ahead);
        }
        row += ROWS;
    }
    while row < tile.end {
        take!(row, 0);
        row += 1;
    }
    for k in 0..K {
        let (mut first, mut second) = (a[0][k], b[0][k]);
        for ahead in 1..ROWS {
            first = T::Real::add(simd, first, a[ahead][k]);
            second = T::Real::add(simd, second, b[ahead][k]);
        }
        add_to::<T::Real, S>(simd, &mut into_a[k * lanes..], first);
        add_to::<T::Real, S>(simd, &mut into_b[k * lanes..], second);
    }
}

#[inline(always)]
fn add_to<R: Real, S: Simd>(simd: S, into: &mut [R], v: R::Vector<S>) {
    let sum = R::add(simd, R::load(simd, into), v);
    into[..R::lanes::<S>()].copy_from_slice(pulp::bytemuck::cast_slice(std::slice::from_ref(&sum)));
}

#[inline(always)]
pub(super) fn map_columns<T: Element, S: Simd, F: Map<T, N>, const N: usize>(
    simd: S,
    f: &F,
    geometry: Geometry,
    slab: &Slab,
    constants: Constants<'_, T, N>,
) {
    let lanes = T::Real::lanes::<S>();
    let width = slab.channels.len();
    let step = (TILE / width).clamp(4, FLUSH);
    let ahead_by = (2 * AHEAD).div_ceil(geometry.channels).max(4) * geometry.channels;
    let mut start = slab.outer.start;
    while start < slab.outer.end {
        let tile = start..slab.outer.end.min(start + step);
        start = tile.end;
        by_blocks!(width, lanes, |COLUMNS, column, _slot| {
            let base = slab.channels.start + column;
            let constants = block::<T, S, N, COLUMNS>(simd, constants, column);
            for row in tile.clone() {
                for (k, constants) in constants.iter().enumerate() {
                    let at = row * geometry.channels + base + k * lanes;
                    let place = Place { at, outer: row, position: row, next: at + ahead_by };
                    f.apply(simd, constants, place);
                }
            }
        });
    }
}
