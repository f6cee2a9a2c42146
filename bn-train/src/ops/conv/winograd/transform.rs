//! The transforms before and after the products. Lanes are channels.

use super::maps::Maps;
use super::tiles::Tiles;
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// Places of a tile: products per tile and pair of channels.
pub(super) const PLACES: usize = 16;

/// `v = Bᵀ d B` of tiles, `[16, tiles, width]`, a place every `place` elements.
#[inline(always)]
pub(super) fn inputs<S: Simd>(
    simd: S,
    tiles: &Tiles,
    strip: Range<usize>,
    (x, of_x): (&[f32], Maps),
    v: &mut [f32],
    place: usize,
) {
    let vectors = of_x.block / S::F32_LANES;
    let (blocks, width, place) = (of_x.blocks(), of_x.width() / S::F32_LANES, place / S::F32_LANES);
    let (x, _) = S::as_simd_f32s(x);
    let (v, _) = S::as_mut_simd_f32s(v);
    for (index, tile) in strip.enumerate() {
        let (image, tile) = (tile / tiles.len(), tile % tiles.len());
        let x = &x[image * of_x.image() / S::F32_LANES..];
        let points = &tiles.input[tile];
        for block in 0..blocks {
            let x = &x[block * (of_x.points + 1) * vectors..][..(of_x.points + 1) * vectors];
            for vector in 0..vectors {
                let mut t = [[simd.splat_f32s(0.0); 4]; 4];
                for j in 0..4 {
                    let mut d = [simd.splat_f32s(0.0); 4];
                    for (i, d) in d.iter_mut().enumerate() {
                        *d = x[points[4 * i + j] * vectors + vector];
                    }
                    for (t, number) in t.iter_mut().zip(input_line(simd, d)) {
                        t[j] = number;
                    }
                }
                let to = index * width + block * vectors + vector;
                for (i, t) in t.iter().enumerate() {
                    for (j, number) in input_line(simd, *t).into_iter().enumerate() {
                        v[(4 * i + j) * place + to] = number;
                    }
                }
            }
        }
    }
}

/// `y = Aᵀ m A` of tiles, from `[16, blocks, tiles, block]`, a place every `place` elements.
#[inline(always)]
pub(super) fn outputs<S: Simd>(
    simd: S,
    tiles: &Tiles,
    strip: Range<usize>,
    (m, place): (&[f32], usize),
    (y, of_y): (&mut [f32], Maps),
) {
    let vectors = of_y.block / S::F32_LANES;
    let (count, place) = (strip.len(), place / S::F32_LANES);
    let (m, _) = S::as_simd_f32s(m);
    let (y, _) = S::as_mut_simd_f32s(y);
    for (index, tile) in strip.enumerate() {
        let (image, tile) = (tile / tiles.len(), tile % tiles.len());
        let y = &mut y[image * of_y.image() / S::F32_LANES..];
        let points = &tiles.output[tile];
        for block in 0..of_y.blocks() {
            let y = &mut y[block * (of_y.points + 1) * vectors..][..(of_y.points + 1) * vectors];
            for vector in 0..vectors {
                let from = (block * count + index) * vectors + vector;
                let mut t = [[simd.splat_f32s(0.0); 4]; 2];
                for j in 0..4 {
                    let mut m_of = [simd.splat_f32s(0.0); 4];
                    for (i, number) in m_of.iter_mut().enumerate() {
                        *number = m[(4 * i + j) * place + from];
                    }
                    for (t, number) in t.iter_mut().zip(output_line(simd, m_of)) {
                        t[j] = number;
                    }
                }
                for (i, t) in t.iter().enumerate() {
                    for (j, number) in output_line(simd, *t).into_iter().enumerate() {
                        y[points[2 * i + j] * vectors + vector] = number;
                    }
                }
            }
        }
    }
}

/// `A dy Aᵀ` of tiles, `[16, blocks, tiles, block]`, a place every `place` elements.
#[inline(always)]
pub(super) fn output_gradients<S: Simd>(
    simd: S,
    tiles: &Tiles,
    strip: Range<usize>,
    (dy, of_dy): (&[f32], Maps),
    d: &mut [f32],
    place: usize,
) {
    let vectors = of_dy.block / S::F32_LANES;
    let (count, place) = (strip.len(), place / S::F32_LANES);
    let (dy, _) = S::as_simd_f32s(dy);
    let (d, _) = S::as_mut_simd_f32s(d);
    for (index, tile) in strip.enumerate() {
        let (image, tile) = (tile / tiles.len(), tile % tiles.len());
        let dy = &dy[image * of_dy.image() / S::F32_LANES..];
        let points = &tiles.output[tile];
        for block in 0..of_dy.blocks() {
            let dy = &dy[block * (of_dy.points + 1) * vectors..][..(of_dy.points + 1) * vectors];
            for vector in 0..vectors {
                let to = (block * count + index) * vectors + vector;
                let mut t = [[simd.splat_f32s(0.0); 2]; 4];
                for j in 0..2 {
                    let pair = [points[j], points[2 + j]];
                    let pair = [dy[pair[0] * vectors + vector], dy[pair[1] * vectors + vector]];
                    for (t, number) in t.iter_mut().zip(output_gradient_line(simd, pair)) {
                        t[j] = number;
                    }
                }
                for (i, t) in t.iter().enumerate() {
                    for (j, number) in output_gradient_line(simd, *t).into_iter().enumerate() {
                        d[(4 * i + j) * place + to] = number;
                    }
                }
            }
        }
    }
}

// The functions below are no closures: those would be compiled without the vector instructions of their caller.

/// `Bᵀ` times a column.
#[inline(always)]
fn input_line<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 4] {
    [simd.sub_f32s(a, c), simd.add_f32s(b, c), simd.sub_f32s(c, b), simd.sub_f32s(b, d)]
}

/// `Aᵀ` times a column.
#[inline(always)]
fn output_line<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 2] {
    let (sum, difference) = (simd.add_f32s(b, c), simd.sub_f32s(b, c));
    [simd.add_f32s(a, sum), simd.sub_f32s(difference, d)]
}

/// `A` times a column.
#[inline(always)]
fn output_gradient_line<S: Simd>(simd: S, [a, b]: [S::f32s; 2]) -> [S::f32s; 4] {
    [a, simd.add_f32s(a, b), simd.sub_f32s(a, b), simd.neg_f32s(b)]
}

/// `G g Gᵀ` of weights in lanes, `[blocks, channels, 9, block]`, as `[16, blocks, channels, block]`; with `turned` of
/// kernels turned by 180 degrees.
pub(super) struct WeightTransform<'a> {
    pub(super) weights: &'a [f32],
    pub(super) block: usize,
    pub(super) turned: bool,
    pub(super) to: &'a mut [f32],
}

impl WithSimd for WeightTransform<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let vectors = self.block / S::F32_LANES;
        let (weights, _) = S::as_simd_f32s(self.weights);
        let (to, _) = S::as_mut_simd_f32s(self.to);
        let place = to.len() / PLACES;
        for (channel, weights) in weights.chunks_exact(9 * vectors).enumerate() {
            for vector in 0..vectors {
                let mut g = [[weights[0]; 3]; 3];
                for (tap, g) in g.as_flattened_mut().iter_mut().enumerate() {
                    let tap = if self.turned { 8 - tap } else { tap };
                    *g = weights[tap * vectors + vector];
                }
                for (at, number) in weight_tile(simd, g).as_flattened().iter().enumerate() {
                    to[at * place + channel * vectors + vector] = *number;
                }
            }
        }
    }
}

/// `G g Gᵀ`.
#[inline(always)]
fn weight_tile<S: Simd>(simd: S, g: [[S::f32s; 3]; 3]) -> [[S::f32s; 4]; 4] {
    let mut t = [[g[0][0]; 3]; 4];
    for j in 0..3 {
        let [a, b, c, d] = weight_line(simd, [g[0][j], g[1][j], g[2][j]]);
        (t[0][j], t[1][j], t[2][j], t[3][j]) = (a, b, c, d);
    }
    let mut u = [[g[0][0]; 4]; 4];
    for i in 0..4 {
        u[i] = weight_line(simd, t[i]);
    }
    u
}

/// `G` times a column.
#[inline(always)]
fn weight_line<S: Simd>(simd: S, [a, b, c]: [S::f32s; 3]) -> [S::f32s; 4] {
    let half = simd.splat_f32s(0.5);
    let (ends, middle) = (simd.mul_f32s(half, simd.add_f32s(a, c)), simd.mul_f32s(half, b));
    [a, simd.add_f32s(ends, middle), simd.sub_f32s(ends, middle), c]
}

/// `Gᵀ s G` of sums in lanes, `[blocks, channels, 16, block]`, as `[blocks, channels, 9, block]`.
pub(super) struct WeightGradientTransform<'a> {
    pub(super) sums: &'a [f32],
    pub(super) block: usize,
    pub(super) to: &'a mut [f32],
}

impl WithSimd for WeightGradientTransform<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let vectors = self.block / S::F32_LANES;
        let (sums, _) = S::as_simd_f32s(self.sums);
        let (to, _) = S::as_mut_simd_f32s(self.to);
        for (sums, to) in sums.chunks_exact(PLACES * vectors).zip(to.chunks_exact_mut(9 * vectors))
        {
            for vector in 0..vectors {
                let mut s = [[sums[0]; 4]; 4];
                for (place, s) in s.as_flattened_mut().iter_mut().enumerate() {
                    *s = sums[place * vectors + vector];
                }
                for (tap, number) in weight_gradient_tile(simd, s).as_flattened().iter().enumerate()
                {
                    to[tap * vectors + vector] = *number;
                }
            }
        }
    }
}

/// `Gᵀ s G`.
#[inline(always)]
fn weight_gradient_tile<S: Simd>(simd: S, s: [[S::f32s; 4]; 4]) -> [[S::f32s; 3]; 3] {
    let mut t = [[s[0][0]; 4]; 3];
    for j in 0..4 {
        let [a, b, c] = weight_gradient_line(simd, [s[0][j], s[1][j], s[2][j], s[3][j]]);
        (t[0][j], t[1][j], t[2][j]) = (a, b, c);
    }
    let mut g = [[s[0][0]; 3]; 3];
    for i in 0..3 {
        g[i] = weight_gradient_line(simd, t[i]);
    }
    g
}

/// `Gᵀ` times a column.
#[inline(always)]
fn weight_gradient_line<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 3] {
    let half = simd.splat_f32s(0.5);
    let sum = simd.mul_f32s(half, simd.add_f32s(b, c));
    let difference = simd.mul_f32s(half, simd.sub_f32s(b, c));
    [simd.add_f32s(a, sum), difference, simd.add_f32s(sum, d)]
}
