//! Columns of channels (channels last).

use std::ops::Range;

use pulp::Simd;
use pulp::bytemuck::cast_slice;

use super::super::lanes::{Element, Real, Vector};
use super::{FLUSH, Map, Place, Region, Sums};

/// Elements of a tile of rows, which stays in L1 while its columns are computed.
const TILE: usize = 8192;

/// Runs a block of `$columns` vectors at each `$column` of `$width`; its sums are at `$slot`. The last vector may be
/// moved back.
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
        while at < width {
            const $columns: usize = 1;
            let ($column, $slot) = (at.min(width - lanes), at);
            $body;
            at += lanes;
        }
    }};
}

impl<T: Element, const N: usize> Region<'_, T, N> {
    #[inline(always)]
    pub(super) fn sum_columns<S: Simd, F: Sums<T, N>>(&self, simd: S, f: F, sums: &mut [[f64; 2]]) {
        let lanes = T::Real::lanes::<S>();
        let width = self.slab.channels.len();
        // The sums of the moved-back vector are behind the others.
        let whole = width / lanes * lanes;
        let repeated = lanes - (width - whole);
        let mut t = vec![T::Real::ZERO; whole + lanes];
        let mut t_u = t.clone();
        let step = self.tile_rows();
        let mut tile = self.first_tile();
        let mut filled = 0;
        while !tile.is_empty() {
            by_blocks!(width, lanes, |COLUMNS, column, slot| {
                // Four independent sums, of columns or of rows: an addition waits for the one before.
                const ROWS: usize = 4 / COLUMNS;
                let into = [&mut t[slot..], &mut t_u[slot..]];
                self.sum_block::<S, F, COLUMNS, ROWS>(simd, f, &tile, column, into);
            });
            filled += tile.len();
            tile = self.next_tile(&tile);
            if filled + step > FLUSH || tile.is_empty() {
                for (index, of) in [&mut t, &mut t_u].into_iter().enumerate() {
                    for (sum, v) in sums.iter_mut().zip(&of[..whole]) {
                        sum[index] += v.to_f64();
                    }
                    for (sum, v) in sums[whole..].iter_mut().zip(&of[whole + repeated..]) {
                        sum[index] += v.to_f64();
                    }
                    of.fill(T::Real::ZERO);
                }
                filled = 0;
            }
        }
    }

    /// Adds the sums of `K` vectors of channels over the rows of a tile, `ROWS` rows at a time, to `into`.
    #[inline(always)]
    fn sum_block<S: Simd, F: Sums<T, N>, const K: usize, const ROWS: usize>(
        &self,
        simd: S,
        f: F,
        tile: &Range<usize>,
        column: usize,
        into: [&mut [T::Real]; 2],
    ) {
        let lanes = T::Real::lanes::<S>();
        let constants = self.block::<S, K>(simd, column);
        let zero = T::Real::splat(simd, T::Real::ZERO);
        let mut t = [[zero; K]; ROWS];
        let mut t_u = [[zero; K]; ROWS];
        // Not a closure: that would be compiled without the vectors' instructions.
        macro_rules! take {
            ($row:expr, $ahead:expr) => {
                for k in 0..K {
                    let place = self.place($row, column + k * lanes);
                    let (of_t, of_u) = f.terms(simd, &constants[k], place);
                    t[$ahead][k] = T::Real::add(simd, t[$ahead][k], of_t);
                    t_u[$ahead][k] = T::Real::mul_add(simd, of_t, of_u, t_u[$ahead][k]);
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
        for (into, of) in into.into_iter().zip([t, t_u]) {
            for k in 0..K {
                let mut sum = of[0][k];
                for of_row in &of[1..] {
                    sum = T::Real::add(simd, sum, of_row[k]);
                }
                let sum = T::Real::add(simd, T::Real::load(simd, &into[k * lanes..]), sum);
                let sum = cast_slice::<Vector<T, S>, T::Real>(std::slice::from_ref(&sum));
                into[k * lanes..][..lanes].copy_from_slice(sum);
            }
        }
    }

    #[inline(always)]
    pub(super) fn map_columns<S: Simd, F: Map<T, N>>(&self, simd: S, f: F) {
        let lanes = T::Real::lanes::<S>();
        let mut tile = self.first_tile();
        while !tile.is_empty() {
            by_blocks!(self.slab.channels.len(), lanes, |COLUMNS, column, _slot| {
                let constants = self.block::<S, COLUMNS>(simd, column);
                for row in tile.clone() {
                    for (k, constants) in constants.iter().enumerate() {
                        f.apply(simd, constants, self.place(row, column + k * lanes));
                    }
                }
            });
            tile = self.next_tile(&tile);
        }
    }

    fn tile_rows(&self) -> usize {
        (TILE / self.slab.channels.len()).clamp(4, FLUSH)
    }

    fn first_tile(&self) -> Range<usize> {
        let start = self.slab.outer.start;
        self.next_tile(&(start..start))
    }

    /// The rows behind a tile; empty at the end.
    fn next_tile(&self, tile: &Range<usize>) -> Range<usize> {
        tile.end..self.slab.outer.end.min(tile.end + self.tile_rows())
    }

    #[inline(always)]
    fn place(&self, row: usize, column: usize) -> Place {
        let at = row * self.geometry.channels + self.slab.channels.start + column;
        Place { at, outer: row, position: row, next: at + self.ahead }
    }

    /// Constants of `K` vectors of channels.
    #[inline(always)]
    fn block<S: Simd, const K: usize>(&self, simd: S, column: usize) -> [[Vector<T, S>; N]; K] {
        let lanes = T::Real::lanes::<S>();
        let mut block = [[T::Real::splat(simd, T::Real::ZERO); N]; K];
        for (k, of_vector) in block.iter_mut().enumerate() {
            for (constant, values) in of_vector.iter_mut().zip(self.constants) {
                *constant = T::Real::load(simd, &values[column + k * lanes..]);
            }
        }
        block
    }
}
