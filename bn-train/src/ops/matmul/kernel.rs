//! The inner loop: a strip of columns of a product. Lanes are columns; elements of the left matrix are broadcast to the
//! lanes. The strip's part of the right matrix was copied to a panel that is read sequentially.
//!
//! Every element is summed in the same order, whichever tile it falls into.

use super::Matrix;
use crate::ops::buffer::{Slot as _, Windows};
use pulp::{Simd, WithSimd, bytemuck};
use std::mem::MaybeUninit;
use std::ops::Range;

/// Maximum number of vectors per strip.
pub(super) const VECTORS: usize = 2;

/// `to[row][column] = Σ_k a[row][k] · panel[k][column] (+ bias[column])`.
pub(super) struct Strip<'a> {
    pub(super) a: Matrix<'a>,
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
    /// `[inner, vectors · lanes]`, with one vector or [`VECTORS`]; lanes without a column are 0.
    pub(super) panel: &'a [f32],
    pub(super) bias: Option<&'a [f32]>,
    pub(super) to: &'a Windows<'a, MaybeUninit<f32>>,
}

impl WithSimd for Strip<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // A tile's sums must fit in registers together with the vectors of the panel and one of a.
        let wide = S::REGISTER_COUNT >= 32;
        match (self.columns.len() <= S::F32_LANES, wide) {
            (true, _) => self.by_layout::<S, 1, 8>(simd),
            (false, true) => self.by_layout::<S, VECTORS, 8>(simd),
            (false, false) => self.by_layout::<S, VECTORS, 4>(simd),
        }
    }
}

impl Strip<'_> {
    #[inline(always)]
    fn by_layout<S: Simd, const V: usize, const P: usize>(self, simd: S) {
        match self.a.steps.1 {
            1 => self.all::<S, V, P, false>(simd),
            _ => self.all::<S, V, P, true>(simd),
        }
    }

    #[inline(always)]
    fn all<S: Simd, const V: usize, const P: usize, const TRANSPOSED: bool>(self, simd: S) {
        let mut row = self.rows.start;
        while row < self.rows.end {
            // Smaller tiles process the remaining rows.
            row += match self.rows.end - row {
                left if left >= P => self.tile::<S, V, P, TRANSPOSED>(simd, row),
                4.. => self.tile::<S, V, 4, TRANSPOSED>(simd, row),
                2.. => self.tile::<S, V, 2, TRANSPOSED>(simd, row),
                _ => self.tile::<S, V, 1, TRANSPOSED>(simd, row),
            };
        }
    }

    /// Computes `P` rows starting at `row` and returns `P`.
    #[inline(always)]
    fn tile<S: Simd, const V: usize, const P: usize, const TRANSPOSED: bool>(
        &self,
        simd: S,
        row: usize,
    ) -> usize {
        let (panel, _) = S::as_simd_f32s(self.panel);
        let Matrix { numbers, rows, columns: inner, .. } = self.a;
        let mut sums = [[simd.splat_f32s(0.0); V]; P];
        if TRANSPOSED {
            // The slice may be empty if the inner size is 0.
            let numbers = numbers.get(row..).unwrap_or_default().chunks(rows);
            for (b, a) in panel.chunks_exact(V).zip(numbers) {
                let a = &a[..P];
                let mut w = [simd.splat_f32s(0.0); V];
                w.copy_from_slice(b);
                for (sums, a) in sums.iter_mut().zip(a) {
                    let a = simd.splat_f32s(*a);
                    for (sum, w) in sums.iter_mut().zip(w) {
                        *sum = simd.mul_add_e_f32s(w, a, *sum);
                    }
                }
            }
        } else {
            let a: [&[f32]; P] = std::array::from_fn(|p| &numbers[(row + p) * inner..][..inner]);
            for (k, b) in panel.chunks_exact(V).enumerate() {
                let mut w = [simd.splat_f32s(0.0); V];
                w.copy_from_slice(b);
                for (sums, a) in sums.iter_mut().zip(a) {
                    let a = simd.splat_f32s(a[k]);
                    for (sum, w) in sums.iter_mut().zip(w) {
                        *sum = simd.mul_add_e_f32s(w, a, *sum);
                    }
                }
            }
        }
        for (p, sums) in sums.iter().enumerate() {
            // SAFETY: no other task has these rows and columns.
            #[allow(unsafe_code)]
            let to = unsafe { self.to.row(row + p, self.columns.clone()) };
            self.store::<S, V>(sums, to);
        }
        P
    }

    #[inline(always)]
    fn store<S: Simd, const V: usize>(&self, sums: &[S::f32s; V], to: &mut [MaybeUninit<f32>]) {
        let sums: &[f32] = bytemuck::cast_slice(sums);
        match self.bias {
            None => {
                for (to, sum) in to.iter_mut().zip(sums) {
                    to.put(*sum);
                }
            }
            Some(bias) => {
                for ((to, sum), bias) in to.iter_mut().zip(sums).zip(&bias[self.columns.clone()]) {
                    to.put(sum + bias);
                }
            }
        }
    }
}
