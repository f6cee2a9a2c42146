//! The loops of every kernel: a pair of sums per channel ([`Sums`]), or a new value per element ([`Map`]),
//! over rows of one channel (channels first) or over columns of channels (channels last).
//!
//! A vector at the end of a run that is not filled is moved back to end with the run: maps then write some
//! values twice, sums mask the lanes they have already. No run is shorter than a vector (see
//! [`super::lanes::dispatch`]). Sums run in the element's [`Real`] for at most [`FLUSH`] terms per lane and
//! go on in f64; their order depends on the slab alone.

use std::ops::Range;

use pulp::Simd;

use super::lanes::{Element, MOST_LANES, Real, Vector};

/// Terms that a lane sums up before it goes to f64. In f32 the bound of their error is 64 · 2⁻²⁴ of the
/// sum of magnitudes.
const FLUSH: usize = 64;

/// Elements between a place and its prefetch.
const AHEAD: usize = 1024;
/// Elements of a tile of rows, in columns of channels: all its lines stay in L1 while its columns are done.
const TILE: usize = 8192;

/// A slice read as `[outer, channels, inner]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) outer: usize,
    pub(crate) channels: usize,
    pub(crate) inner: usize,
}

/// A part of a geometry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slab {
    pub(super) channels: Range<usize>,
    pub(super) outer: Range<usize>,
    pub(super) inner: Range<usize>,
}

/// Where a vector starts.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Index into the slice.
    pub(super) at: usize,
    /// Index on the outer axis.
    pub(super) outer: usize,
    /// `outer · inner size + inner`: index into a value per position.
    pub(super) position: usize,
    /// Where this place is in a coming row of the same channel: worth a prefetch. 0 where it is not.
    pub(super) next: usize,
}

/// Two sums per channel: `Σ t` and `Σ t·u`. `N` constants per channel.
pub(super) trait Sums<T: Element, const N: usize>: Sync {
    fn terms<S: Simd>(
        &self,
        simd: S,
        constants: &[Vector<T, S>; N],
        place: Place,
    ) -> (Vector<T, S>, Vector<T, S>);
}

/// A new value per element. `N` constants per channel.
pub(super) trait Map<T: Element, const N: usize>: Sync {
    fn apply<S: Simd>(&self, simd: S, constants: &[Vector<T, S>; N], place: Place);
}

/// Constants by channel, starting with the slab's first.
pub(super) type Constants<'a, T, const N: usize> = [&'a [<T as Element>::Real]; N];

impl Slab {
    /// The start of a row.
    #[inline(always)]
    fn row(&self, geometry: Geometry, c: usize, o: usize, ahead: usize) -> Place {
        let at = (o * geometry.channels + c) * geometry.inner + self.inner.start;
        Place {
            at,
            outer: o,
            position: o * geometry.inner + self.inner.start,
            next: at + ahead * geometry.channels * geometry.inner,
        }
    }

    /// Rows from one place to the one that is fetched there: a page or so ahead, because the machine's own
    /// prefetching stops at the end of a page and so at the end of most rows.
    fn rows_ahead(&self) -> usize {
        rows_ahead(self.inner.len())
    }

    /// The length of the runs that vectors are filled from.
    pub(super) fn run(&self, geometry: Geometry) -> usize {
        match geometry.inner {
            1 => self.channels.len(),
            _ => self.inner.len(),
        }
    }
}

fn rows_ahead(width: usize) -> usize {
    AHEAD.div_ceil(width)
}

#[inline(always)]
pub(super) fn sum<T: Element, S: Simd, F: Sums<T, N>, const N: usize>(
    simd: S,
    f: &F,
    geometry: Geometry,
    slab: &Slab,
    constants: Constants<'_, T, N>,
    sums: &mut [[f64; 2]],
) {
    match geometry.inner {
        1 => sum_columns(simd, f, geometry, slab, constants, sums),
        _ => sum_rows(simd, f, geometry, slab, constants, sums),
    }
}

#[inline(always)]
pub(super) fn map<T: Element, S: Simd, F: Map<T, N>, const N: usize>(
    simd: S,
    f: &F,
    geometry: Geometry,
    slab: &Slab,
    constants: Constants<'_, T, N>,
) {
    match geometry.inner {
        1 => map_columns(simd, f, geometry, slab, constants),
        _ => map_rows(simd, f, geometry, slab, constants),
    }
}

#[inline(always)]
fn sum_rows<T: Element, S: Simd, F: Sums<T, N>, const N: usize>(
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

impl Place {
    /// So many elements further in a row.
    #[inline(always)]
    fn plus(self, elements: usize) -> Self {
        Self {
            at: self.at + elements,
            outer: self.outer,
            position: self.position + elements,
            next: self.next + elements,
        }
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
fn map_rows<T: Element, S: Simd, F: Map<T, N>, const N: usize>(
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
fn sum_columns<T: Element, S: Simd, F: Sums<T, N>, const N: usize>(
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
            let skip = if whole < width {
                lanes - (width - whole)
            } else {
                lanes
            };
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
                let place = Place {
                    at,
                    outer: $row,
                    position: $row,
                    next: at + ahead_by,
                };
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
fn map_columns<T: Element, S: Simd, F: Map<T, N>, const N: usize>(
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
                    let place = Place {
                        at,
                        outer: row,
                        position: row,
                        next: at + ahead_by,
                    };
                    f.apply(simd, constants, place);
                }
            }
        });
    }
}
