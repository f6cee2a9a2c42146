//! The inner loop of the gradient by the weights. Lanes are output channels, as in `gather`. A few inputs and taps at a
//! time are summed over the points of an image in row order.

use super::grid::Grid;
use pulp::{Simd, WithSimd};

/// `dw[input, tap] += Σ_point dy[point] · x[input, point + tap]`, for one block of output channels and one image.
pub(super) struct Correlate<'a> {
    pub(super) grid: &'a Grid,
    pub(super) runs: &'a Runs,
    /// Consecutive planes.
    pub(super) x: &'a [f32],
    /// `[points, block]`.
    pub(super) dy: &'a [f32],
    pub(super) block: usize,
    /// `[inputs, taps, block]`.
    pub(super) dw: &'a mut [f32],
}

/// Adjacent taps: their offset in x and the index of the first weight.
type Run = (usize, usize);

/// All taps of all inputs.
pub(super) struct Runs {
    /// Groups of three adjacent taps.
    threes: Vec<Run>,
    /// The remaining single taps.
    ones: Vec<Run>,
}

impl Runs {
    /// The taps of `inputs` input channels, whose planes have `plane` elements.
    pub(super) fn new(grid: &Grid, kernel: (usize, usize), inputs: usize, plane: usize) -> Self {
        let (mut threes, mut ones) = (Vec::new(), Vec::new());
        let taps = grid.taps.len();
        for input in 0..inputs {
            let at = |tap: usize| {
                let (offset, weight) = grid.taps[tap];
                (input * plane + offset, input * taps + weight)
            };
            for row in (0..taps).step_by(kernel.1) {
                let in_threes = kernel.1 / 3 * 3;
                threes.extend((row..row + in_threes).step_by(3).map(at));
                ones.extend((row + in_threes..row + kernel.1).map(at));
            }
        }
        Self { threes, ones }
    }
}

impl WithSimd for Correlate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let wide = S::REGISTER_COUNT >= 32;
        match (self.block / S::F32_LANES, wide) {
            (1, true) => self.runs::<S, 1, 6, 8>(simd),
            (1, false) => self.runs::<S, 1, 3, 8>(simd),
            (_, true) => self.runs::<S, 2, 3, 8>(simd),
            (_, false) => self.runs::<S, 2, 2, 6>(simd),
        }
    }
}

impl Correlate<'_> {
    /// Processes `THREES` groups of three taps at a time, then `ONES` single taps at a time.
    #[inline(always)]
    fn runs<S: Simd, const V: usize, const THREES: usize, const ONES: usize>(&mut self, simd: S) {
        let Runs { threes, ones } = self.runs;
        self.all::<S, V, THREES, 3>(simd, threes);
        self.all::<S, V, ONES, 1>(simd, ones);
    }

    #[inline(always)]
    fn all<S: Simd, const V: usize, const A: usize, const K: usize>(
        &mut self,
        simd: S,
        runs: &[Run],
    ) {
        let (chunks, rest) = runs.as_chunks::<A>();
        for runs in chunks {
            self.sums::<S, V, A, K>(simd, runs);
        }
        let (threes, rest) = rest.as_chunks::<3>();
        for runs in threes {
            self.sums::<S, V, 3, K>(simd, runs);
        }
        for run in rest {
            self.sums::<S, V, 1, K>(simd, &[*run]);
        }
    }

    /// The weights of `A` runs of `K` taps.
    #[inline(always)]
    fn sums<S: Simd, const V: usize, const A: usize, const K: usize>(
        &mut self,
        simd: S,
        runs: &[Run; A],
    ) {
        let Grid { points, input_step, .. } = *self.grid;
        let (dy, _) = S::as_simd_f32s(self.dy);
        let mut sums = [[[simd.splat_f32s(0.0); V]; K]; A];
        let length = (points.1 - 1) * input_step.1 + K;
        for (row, dy) in dy.chunks_exact(points.1 * V).enumerate() {
            let x: [&[f32]; A] =
                std::array::from_fn(|a| &self.x[runs[a].0 + row * input_step.0..][..length]);
            for (column, dy) in dy.chunks_exact(V).enumerate() {
                let at = column * input_step.1;
                for (sums, x) in sums.iter_mut().zip(x) {
                    let x = &x[at..][..K];
                    for (sums, x) in sums.iter_mut().zip(x) {
                        let x = simd.splat_f32s(*x);
                        for (sum, dy) in sums.iter_mut().zip(dy) {
                            *sum = simd.mul_add_e_f32s(*dy, x, *sum);
                        }
                    }
                }
            }
        }
        let (dw, _) = S::as_mut_simd_f32s(self.dw);
        for (run, sums) in runs.iter().zip(sums) {
            for (dw, sum) in dw[run.1 * V..].iter_mut().zip(sums.as_flattened()) {
                *dw = simd.add_f32s(*dw, *sum);
            }
        }
    }
}
