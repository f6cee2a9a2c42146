//! The loops of every kernel: a pair of sums per channel ([`Sums`]), or a new value per element ([`Map`]).
//! They run over rows of one channel (channels first) or over columns of channels (channels last).
//!
//! A run of elements may end with part of a vector. Its last vector is then moved back to end with the run: maps
//! write some values twice, sums mask the lanes that were already added. No run is shorter than a vector (see
//! [`dispatch`]). Sums run in the element's [`Real`] for at most [`FLUSH`] terms per lane, then in f64. Their order
//! depends only on the slab.

mod columns;
mod rows;

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::lanes::{Element, Real, Vector, dispatch};

/// Terms that a lane adds before its sum moves to f64. In f32 their error is at most 64 · 2⁻²⁴ times the sum of
/// magnitudes.
const FLUSH: usize = 64;

/// Elements between a place and its prefetch, at least.
const AHEAD: usize = 1024;

/// A slice read as `[outer, channels, inner]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) outer: usize,
    pub(super) channels: usize,
    pub(super) inner: usize,
}

/// A part of a geometry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slab {
    pub(super) channels: Range<usize>,
    pub(super) outer: Range<usize>,
    pub(super) inner: Range<usize>,
}

impl Geometry {
    /// Elements.
    pub(super) fn len(self) -> usize {
        self.outer * self.channels * self.inner
    }
}

impl Slab {
    /// The length of the runs that vectors are filled from.
    fn run(&self, geometry: Geometry) -> usize {
        if geometry.inner == 1 { self.channels.len() } else { self.inner.len() }
    }
}

/// Where a vector starts. Only this module makes places, and their vectors lie within the kernel's geometry. So a
/// slice of the geometry's length may be read without a check.
#[derive(Clone, Copy)]
pub(super) struct Place {
    at: usize,
    outer: usize,
    position: usize,
    next: usize,
}

impl Place {
    /// Index into the slice.
    #[inline(always)]
    pub(super) fn at(self) -> usize {
        self.at
    }

    /// This place in a later row of the same channel, to prefetch. It may lie beyond the slice.
    #[inline(always)]
    pub(super) fn next(self) -> usize {
        self.next
    }

    /// The vector of a slice with one value per element.
    ///
    /// # Safety
    /// The slice has the geometry's length.
    #[inline(always)]
    #[allow(unsafe_code)] // a check per vector took a quarter of a kernel's instructions
    pub(super) unsafe fn load<T: Element, S: Simd>(self, simd: S, from: &[T]) -> Vector<T, S> {
        let end = self.at + T::Real::lanes::<S>();
        debug_assert!(end <= from.len());
        // SAFETY: within the geometry, as all places are, and so within the slice, by the caller.
        T::load(simd, unsafe { from.get_unchecked(self.at..end) })
    }

    /// Index on the outer axis.
    #[inline(always)]
    pub(super) fn outer(self) -> usize {
        self.outer
    }

    /// `outer · inner size + inner`: index into a value per position.
    #[inline(always)]
    pub(super) fn position(self) -> usize {
        self.position
    }

    /// This many elements further in a row.
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

/// Two sums per channel: `Σ t` and `Σ t·u`. `N` constants per channel.
pub(super) trait Sums<T: Element, const N: usize>: Copy {
    /// The shape of the slices that are read and written.
    fn geometry(&self) -> Geometry;

    fn terms<S: Simd>(
        &self,
        simd: S,
        constants: &[Vector<T, S>; N],
        place: Place,
    ) -> (Vector<T, S>, Vector<T, S>);
}

/// A new value per element. `N` constants per channel.
pub(super) trait Map<T: Element, const N: usize>: Copy {
    /// The shape of the slices that are read and written.
    fn geometry(&self) -> Geometry;

    fn apply<S: Simd>(&self, simd: S, constants: &[Vector<T, S>; N], place: Place);
}

/// Constants by channel, starting with the slab's first.
pub(super) type Constants<'a, T, const N: usize> = [&'a [<T as Element>::Real]; N];

/// A slab of a slice, and the constants of its channels.
struct Region<'a, T: Element, const N: usize> {
    geometry: Geometry,
    slab: &'a Slab,
    constants: Constants<'a, T, N>,
    /// Distance, in elements, from a place to the one that is prefetched.
    ahead: usize,
}

impl<'a, T: Element, const N: usize> Region<'a, T, N> {
    fn new(geometry: Geometry, slab: &'a Slab, constants: Constants<'a, T, N>) -> Self {
        // All places lie within the geometry: see `Place`.
        assert!(slab.channels.end <= geometry.channels && slab.channels.start < slab.channels.end);
        assert!(slab.outer.end <= geometry.outer && slab.inner.end <= geometry.inner);
        // The hardware's prefetching stops at the end of a page, where most rows end; in a column, each line lies
        // in another page.
        let ahead = if geometry.inner == 1 {
            (2 * AHEAD).div_ceil(geometry.channels).max(4) * geometry.channels
        } else {
            AHEAD.div_ceil(slab.inner.len()) * geometry.channels * geometry.inner
        };
        Self { geometry, slab, constants, ahead }
    }
}

/// Both sums of each of the slab's channels.
pub(super) fn sum<T: Element, F: Sums<T, N>, const N: usize>(
    f: F,
    slab: &Slab,
    constants: Constants<'_, T, N>,
) -> Vec<[f64; 2]> {
    let region = Region::new(f.geometry(), slab, constants);
    dispatch::<T::Real, _>(slab.run(region.geometry), SumLoop { f, region })
}

/// Applies `f` to every element of the slab.
pub(super) fn map<T: Element, F: Map<T, N>, const N: usize>(
    f: F,
    slab: &Slab,
    constants: Constants<'_, T, N>,
) {
    let region = Region::new(f.geometry(), slab, constants);
    dispatch::<T::Real, _>(slab.run(region.geometry), MapLoop { f, region });
}

struct SumLoop<'a, T: Element, F, const N: usize> {
    f: F,
    region: Region<'a, T, N>,
}

impl<T: Element, F: Sums<T, N>, const N: usize> WithSimd for SumLoop<'_, T, F, N> {
    type Output = Vec<[f64; 2]>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let Self { f, region } = self;
        let mut sums = vec![[0.0; 2]; region.slab.channels.len()];
        if region.geometry.inner == 1 {
            region.sum_columns(simd, f, &mut sums);
        } else {
            region.sum_rows(simd, f, &mut sums);
        }
        sums
    }
}

struct MapLoop<'a, T: Element, F, const N: usize> {
    f: F,
    region: Region<'a, T, N>,
}

impl<T: Element, F: Map<T, N>, const N: usize> WithSimd for MapLoop<'_, T, F, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { f, region } = self;
        if region.geometry.inner == 1 {
            region.map_columns(simd, f);
        } else {
            region.map_rows(simd, f);
        }
    }
}
