//! The loops of every kernel: a pair of sums per channel ([`Sums`]), or a new value per element ([`Map`]),
//! over rows of one channel (channels first) or over columns of channels (channels last).
//!
//! A vector at the end of a run that is not filled is moved back to end with the run: maps then write some
//! values twice, sums mask the lanes they have already. No run is shorter than a vector (see
//! [`super::lanes::dispatch`]). Sums run in the element's [`super::lanes::Real`] for at most [`FLUSH`] terms per lane and
//! go on in f64; their order depends only on the slab.

mod columns;
mod rows;

use std::ops::Range;

use pulp::Simd;

use super::lanes::{Element, Vector};
use columns::{map_columns, sum_columns};
use rows::{map_rows, sum_rows};

/// Terms that a lane sums up before it goes to f64. In f32 the bound of their error is 64 · 2⁻²⁴ of the
/// sum of magnitudes.
const FLUSH: usize = 64;

/// Elements between a place and its prefetch.
const AHEAD: usize = 1024;

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
