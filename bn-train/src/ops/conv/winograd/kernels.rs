//! What is done with a few images in lanes.

use super::STRIP;
use super::maps::Maps;
use super::product::{Products, Sums};
use super::tiles::Tiles;
use super::transform::{self, PLACES};
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// y of a few images.
pub(super) struct Forward<'a> {
    pub(super) tiles: &'a Tiles,
    pub(super) images: usize,
    pub(super) x: &'a [f32],
    pub(super) of_x: Maps,
    /// `[16, blocks, inputs, block]`.
    pub(super) weights: &'a [f32],
    pub(super) scratch: &'a mut [f32],
    pub(super) y: &'a mut [f32],
    pub(super) of_y: Maps,
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { tiles, images, x, of_x, weights, scratch, y, of_y } = self;
        let (v, m) = scratch.split_at_mut(of_x.strip());
        for strip in strips(images * tiles.len()) {
            let count = strip.len();
            transform::inputs(simd, tiles, strip.clone(), (x, of_x), v, of_x.place(count));
            let places = v.chunks(of_x.place(count)).zip(m.chunks_mut(of_y.place(count)));
            let per_place = of_y.blocks() * of_x.channels * of_y.block;
            for ((v, m), weights) in places.zip(weights.chunks_exact(per_place)) {
                let blocks = m.chunks_exact_mut(count * of_y.block);
                for (m, weights) in blocks.zip(weights.chunks_exact(of_x.channels * of_y.block)) {
                    Products { v, width: of_x.width(), weights, block: of_y.block, m }.run(simd);
                }
            }
            transform::outputs(simd, tiles, strip, (m, of_y.place(count)), (y, of_y));
        }
    }
}

/// What a few images add to the gradient by the transformed weights.
pub(super) struct WeightGradient<'a> {
    pub(super) tiles: &'a Tiles,
    pub(super) images: usize,
    pub(super) x: &'a [f32],
    pub(super) of_x: Maps,
    pub(super) dy: &'a [f32],
    pub(super) of_dy: Maps,
    pub(super) scratch: &'a mut [f32],
    /// `[blocks, inputs, 16, block]`.
    pub(super) sums: &'a mut [f32],
}

impl WithSimd for WeightGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { tiles, images, x, of_x, dy, of_dy, scratch, sums } = self;
        let (v, d) = scratch.split_at_mut(of_x.strip());
        for strip in strips(images * tiles.len()) {
            let count = strip.len();
            transform::inputs(simd, tiles, strip.clone(), (x, of_x), v, of_x.place(count));
            transform::output_gradients(simd, tiles, strip, (dy, of_dy), d, of_dy.place(count));
            let places = v.chunks(of_x.place(count)).zip(d.chunks(of_dy.place(count)));
            for (place, (v, d)) in places.take(PLACES).enumerate() {
                let blocks = d.chunks_exact(count * of_dy.block);
                let per_block = of_x.channels * PLACES * of_dy.block;
                for (d, sums) in blocks.zip(sums.chunks_exact_mut(per_block)) {
                    let sums = &mut sums[place * of_dy.block..];
                    Sums {
                        v,
                        width: of_x.width(),
                        channels: of_x.channels,
                        d,
                        block: of_dy.block,
                        sums,
                    }
                    .run(simd);
                }
            }
        }
    }
}

/// Cuts tiles into strips.
fn strips(tiles: usize) -> impl Iterator<Item = Range<usize>> {
    (0..tiles).step_by(STRIP).map(move |first| first..tiles.min(first + STRIP))
}
