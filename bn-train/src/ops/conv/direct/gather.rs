//! The inner loop of the convolution and of the gradient by its input. Lanes are output channels; the elements of the
//! other operand are broadcast to the lanes. The end of a row therefore never splits a vector, and small maps are as fast
//! as large ones.
//!
//! Every output is summed in the same order (channel by channel, tap by tap), whichever tile it falls into. Tiles only
//! affect speed.

use super::grid::Grid;
use pulp::{Simd, WithSimd};

/// `y[point] = Σ_channel Σ_tap w[channel, tap] · x[channel, point + tap]`, for one block of output channels.
pub(super) struct Gather<'a> {
    pub(super) grid: &'a Grid,
    /// Planes of `plane` elements.
    pub(super) x: &'a [f32],
    pub(super) plane: usize,
    /// `[channels, taps, block]`, with all taps of the kernel; the grid may use only some.
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
        // A tile's sums must fit in registers together with the vectors of weights and one of x.
        let wide = S::REGISTER_COUNT >= 32;
        match (self.block / S::F32_LANES, wide) {
            (1, true) => self.steps::<S, 1, 16>(simd),
            (1, false) => self.steps::<S, 1, 8>(simd),
            (_, true) => self.steps::<S, 2, 8>(simd),
            (_, false) => self.steps::<S, 2, 6>(simd),
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

    /// Processes a few input channels at a time, so that their weights stay in the L1 cache.
    #[inline(always)]
    fn channels<S: Simd, const V: usize, const P: usize, const STEP: usize>(mut self, simd: S) {
        const CACHE: usize = 20 << 10;
        let per_channel = self.kernel_taps * self.block;
        let step = (CACHE / size_of::<f32>() / per_channel.max(1)).max(1);
        let (x, weights) = (self.x, self.weights);
        let parts = x.chunks(step * self.plane).zip(weights.chunks(step * per_channel));
        for (part, (x, weights)) in parts.enumerate() {
            self.x = x;
            self.weights = weights;
            self.points::<S, V, P, STEP>(simd, part > 0);
        }
    }

    /// Processes points in row order. A tile within one row reads x at a constant stride. A tile that spans rows, or the
    /// rest of a map, looks up the offset of each point.
    #[inline(always)]
    fn points<S: Simd, const V: usize, const P: usize, const STEP: usize>(
        &mut self,
        simd: S,
        add: bool,
    ) {
        let (rows, columns) = self.grid.points;
        let (mut row, mut column) = (0, 0);
        let mut left = rows * columns;
        while left > 0 {
            let width = if left >= P && column + P <= columns {
                self.tile_in_row::<S, V, P, STEP>(simd, (row, column), add);
                P
            } else if left >= P {
                self.tile_across_rows::<S, V, P>(simd, (row, column), add);
                P
            } else if left >= 4 {
                self.tile_across_rows::<S, V, 4>(simd, (row, column), add);
                4
            } else {
                self.tile_across_rows::<S, V, 1>(simd, (row, column), add);
                1
            };
            left -= width;
            column += width;
            while column >= columns && left > 0 {
                column -= columns;
                row += 1;
            }
        }
    }

    #[inline(always)]
    fn tile_in_row<S: Simd, const V: usize, const P: usize, const STEP: usize>(
        &mut self,
        simd: S,
        (row, column): (usize, usize),
        add: bool,
    ) {
        let Grid { input_step, output_start, output_step, .. } = *self.grid;
        let step = if STEP == 0 { input_step.1 } else { STEP };
        let at = row * input_step.0 + column * step;
        let output = output_start + row * output_step.0 + column * output_step.1;
        let output: [usize; P] = std::array::from_fn(|p| output + p * output_step.1);
        let mut sums = self.begin::<S, V, P>(simd, &output, add);
        let (weights, _) = S::as_simd_f32s(self.weights);
        let channels =
            self.x.chunks_exact(self.plane).zip(weights.chunks_exact(self.kernel_taps * V));
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
        self.end::<S, V, P>(&output, &sums);
    }

    #[inline(always)]
    fn tile_across_rows<S: Simd, const V: usize, const P: usize>(
        &mut self,
        simd: S,
        (mut row, mut column): (usize, usize),
        add: bool,
    ) {
        let Grid { points, input_step, output_start, output_step, .. } = *self.grid;
        let (mut at, mut output) = ([0; P], [0; P]);
        for (at, output) in at.iter_mut().zip(&mut output) {
            *at = row * input_step.0 + column * input_step.1;
            *output = output_start + row * output_step.0 + column * output_step.1;
            column += 1;
            if column == points.1 {
                (row, column) = (row + 1, 0);
            }
        }
        let furthest = at.into_iter().max().unwrap_or_default();
        let mut sums = self.begin::<S, V, P>(simd, &output, add);
        let (weights, _) = S::as_simd_f32s(self.weights);
        let channels =
            self.x.chunks_exact(self.plane).zip(weights.chunks_exact(self.kernel_taps * V));
        for (x, weights) in channels {
            for &(offset, weight) in &self.grid.taps {
                let x = &x[offset..][..=furthest];
                let mut w = [simd.splat_f32s(0.0); V];
                w.copy_from_slice(&weights[weight * V..][..V]);
                for (at, sums) in at.iter().zip(&mut sums) {
                    // SAFETY: x ends at the maximum of `at`. Bounds checks took 7 % of the time of an 8x8 map.
                    #[allow(unsafe_code)]
                    let x = simd.splat_f32s(unsafe { *x.get_unchecked(*at) });
                    for (sum, w) in sums.iter_mut().zip(w) {
                        *sum = simd.mul_add_e_f32s(w, x, *sum);
                    }
                }
            }
        }
        self.end::<S, V, P>(&output, &sums);
    }

    /// The sums over previous channels, or zeros.
    #[inline(always)]
    fn begin<S: Simd, const V: usize, const P: usize>(
        &self,
        simd: S,
        output: &[usize; P],
        add: bool,
    ) -> [[S::f32s; V]; P] {
        let (y, _) = S::as_simd_f32s(self.y);
        let mut sums = [[simd.splat_f32s(0.0); V]; P];
        if add {
            for (sums, output) in sums.iter_mut().zip(output) {
                sums.copy_from_slice(&y[output * V..][..V]);
            }
        }
        sums
    }

    #[inline(always)]
    fn end<S: Simd, const V: usize, const P: usize>(
        &mut self,
        output: &[usize; P],
        sums: &[[S::f32s; V]; P],
    ) {
        let (y, _) = S::as_mut_simd_f32s(self.y);
        for (sums, output) in sums.iter().zip(output) {
            y[output * V..][..V].copy_from_slice(sums);
        }
    }
}
