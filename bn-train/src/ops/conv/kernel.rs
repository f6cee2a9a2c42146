//! The two inner loops. Lanes are channels of the result; the other operand is read number by number and spread over the
//! lanes. So no vector is ever cut by the end of a row, and small maps run as fast as large ones.
//!
//! Every result is summed in one order (channel by channel, tap by tap; row by row, point by point), whatever the tile
//! that it falls into: tiles are a matter of speed alone.

use super::shape::Grid;
use crate::ops::lanes;
use pulp::{Simd, WithSimd};

/// Vectors side by side in a block of channels.
pub(super) const MOST_VECTORS: usize = 2;

/// Numbers of channels in a block, on this machine: of so many vectors that few lanes stay empty.
pub(super) fn block(channels: usize) -> usize {
    let lanes = lanes();
    let vectors = channels.div_ceil(lanes);
    match vectors.is_multiple_of(2) || vectors > 4 {
        true => MOST_VECTORS * lanes,
        false => lanes,
    }
}

/// `y[point] = Σ_channel Σ_tap w[channel, tap] · x[channel, point + tap]`, for one block of output channels.
pub(super) struct Gather<'a> {
    pub(super) grid: &'a Grid,
    /// Planes of `plane` numbers.
    pub(super) x: &'a [f32],
    pub(super) plane: usize,
    /// `[channels, taps, block]`; all taps of the kernel, of which the grid uses some.
    pub(super) weights: &'a [f32],
    pub(super) kernel_taps: usize,
    pub(super) block: usize,
    /// `[points, block]`.
    pub(super) y: &'a mut [f32],
}

impl WithSimd for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // A tile's sums stay in registers, with room for a vector of weights each and one of x.
        let wide = S::REGISTER_COUNT >= 32;
        match (self.block / S::F32_LANES, wide) {
            (1, true) => self.steps::<S, 1, 16>(simd),
            (1, false) => self.steps::<S, 1, 8>(simd),
            (_, true) => self.steps::<S, 2, 8>(simd),
            (_, false) => self.steps::<S, 2, 4>(simd),
        }
    }
}

impl Gather<'_> {
    #[inline(always)]
    fn steps<S: Simd, const V: usize, const P: usize>(self, simd: S) {
        match self.grid.input_step.1 {
            1 => self.channels::<S, V, P, 1>(simd),
            2 => self.channels::<S, V, P, 2>(simd),
            _ => self.channels::<S, V, P, 0>(simd),
        }
    }

    /// A few input channels at a time, so that their weights stay in the L1 cache.
    #[inline(always)]
    fn channels<S: Simd, const V: usize, const P: usize, const STEP: usize>(mut self, simd: S) {
        const CACHE: usize = 20 << 10;
        let per_channel = self.kernel_taps * self.block;
        let step = (CACHE / size_of::<f32>() / per_channel.max(1)).max(1);
        let (x, weights) = (self.x, self.weights);
        let parts = x
            .chunks(step * self.plane)
            .zip(weights.chunks(step * per_channel));
        for (part, (x, weights)) in parts.enumerate() {
            self.x = x;
            self.weights = weights;
            self.rows::<S, V, P, STEP>(simd, part > 0);
        }
    }

    #[inline(always)]
    fn rows<S: Simd, const V: usize, const P: usize, const STEP: usize>(
        &mut self,
        simd: S,
        add: bool,
    ) {
        let (rows, columns) = self.grid.points;
        for row in 0..rows {
            let mut column = 0;
            while column < columns {
                let left = columns - column;
                // What is left of a row is done by smaller tiles.
                let width = if left >= P {
                    self.tile::<S, V, P, STEP>(simd, row, column, add);
                    P
                } else if left >= 4 {
                    self.tile::<S, V, 4, STEP>(simd, row, column, add);
                    4
                } else {
                    self.tile::<S, V, 1, STEP>(simd, row, column, add);
                    1
                };
                column += width;
            }
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const V: usize, const P: usize, const STEP: usize>(
        &mut self,
        simd: S,
        row: usize,
        column: usize,
        add: bool,
    ) {
        let Grid {
            input_step,
            output_start,
            output_step,
            ..
        } = *self.grid;
        let step = if STEP == 0 { input_step.1 } else { STEP };
        let at = row * input_step.0 + column * step;
        let output = output_start + row * output_step.0 + column * output_step.1;
        let (weights, _) = S::as_simd_f32s(self.weights);
        let (y, _) = S::as_mut_simd_f32s(self.y);
        let mut sums = [[simd.splat_f32s(0.0); V]; P];
        if add {
            for (p, sums) in sums.iter_mut().enumerate() {
                let y = &y[(output + p * output_step.1) * V..][..V];
                sums.copy_from_slice(y);
            }
        }
        let channels = self
            .x
            .chunks_exact(self.plane)
            .zip(weights.chunks_exact(self.kernel_taps * V));
        for (x, weights) in channels {
            for &(offset, weight) in &self.grid.taps {
                let x = &x[at + offset..][..(P - 1) * step + 1];
                let mut w = [simd.splat_f32s(0.0); V];
                w.copy_from_slice(&weights[weight * V..][..V]);
                for (p, sums) in sums.iter_mut().enumerate() {
                    let x = simd.splat_f32s(x[p * step]);
                    for (sum, w) in sums.iter_mut().zip(w) {
                        *sum = simd.mul_add_e_f32s(w, x, *sum);
                    }
                }
            }
        }
        for (p, sums) in sums.iter().enumerate() {
            y[(output + p * output_step.1) * V..][..V].copy_from_slice(sums);
        }
    }
}

/// `dw[input, tap] += Σ_point dy[point] · x[input, point + tap]`, for one block of output channels and one image.
pub(super) struct Correlate<'a> {
    pub(super) grid: &'a Grid,
    pub(super) kernel: (usize, usize),
    /// Planes of `plane` numbers.
    pub(super) x: &'a [f32],
    pub(super) plane: usize,
    /// `[points, block]`.
    pub(super) dy: &'a [f32],
    pub(super) block: usize,
    /// `[inputs, taps, block]`.
    pub(super) dw: &'a mut [f32],
}

/// Taps side by side: where they start in x, and the number of the first weight.
type Run = (usize, usize);

impl WithSimd for Correlate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let wide = S::REGISTER_COUNT >= 32;
        match (self.block / S::F32_LANES, wide) {
            (1, true) => self.runs::<S, 1, 6, 8>(simd),
            (1, false) => self.runs::<S, 1, 3, 8>(simd),
            (_, true) => self.runs::<S, 2, 3, 8>(simd),
            (_, false) => self.runs::<S, 2, 1, 3>(simd),
        }
    }
}

impl Correlate<'_> {
    /// Taps by threes where a row of the kernel has three, one by one elsewhere: `THREES` rows at a time, or `ONES` taps.
    #[inline(always)]
    fn runs<S: Simd, const V: usize, const THREES: usize, const ONES: usize>(&mut self, simd: S) {
        let (threes, ones) = self.kernel_runs();
        self.all::<S, V, THREES, 3>(simd, &threes);
        self.all::<S, V, ONES, 1>(simd, &ones);
    }

    /// The runs of three, and those of one.
    fn kernel_runs(&self) -> (Vec<Run>, Vec<Run>) {
        let (mut threes, mut ones) = (Vec::new(), Vec::new());
        let taps = self.grid.taps.len();
        for input in 0..self.x.len() / self.plane {
            let at = |tap: usize| {
                let (offset, weight) = self.grid.taps[tap];
                (input * self.plane + offset, input * taps + weight)
            };
            for row in (0..taps).step_by(self.kernel.1) {
                let whole = self.kernel.1 / 3 * 3;
                threes.extend((row..row + whole).step_by(3).map(at));
                ones.extend((row + whole..row + self.kernel.1).map(at));
            }
        }
        (threes, ones)
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
        let Grid {
            points, input_step, ..
        } = *self.grid;
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
