//! The products at one of a tile's places: over channels for y, over tiles for the gradient by the weights. Lanes are output
//! channels.

use pulp::Simd;

/// `m[tile] = Σ_channel v[tile, channel] · weights[channel]`, for one block of output channels.
pub(super) struct Products<'a> {
    /// `[tiles, width]`.
    pub(super) v: &'a [f32],
    pub(super) width: usize,
    /// `[channels, block]`.
    pub(super) weights: &'a [f32],
    pub(super) block: usize,
    /// `[tiles, block]`.
    pub(super) m: &'a mut [f32],
}

impl Products<'_> {
    #[inline(always)]
    pub(super) fn run<S: Simd>(self, simd: S) {
        // The sums must fit in registers together with the vectors of weights and one of v.
        match (self.block / S::F32_LANES, S::REGISTER_COUNT >= 32) {
            (1, true) => self.tiles::<S, 1, 16>(simd),
            (1, false) => self.tiles::<S, 1, 8>(simd),
            (_, true) => self.tiles::<S, 2, 8>(simd),
            (_, false) => self.tiles::<S, 2, 6>(simd),
        }
    }

    #[inline(always)]
    fn tiles<S: Simd, const V: usize, const P: usize>(self, simd: S) {
        let Self { v, width, weights, m, .. } = self;
        let (weights, _) = S::as_simd_f32s(weights);
        let (m, _) = S::as_mut_simd_f32s(m);
        let (weights, _) = weights.as_chunks::<V>();
        let (m, _) = m.as_chunks_mut::<V>();
        let (many, rest) = m.as_chunks_mut::<P>();
        let (first, last) = v.split_at(many.len() * P * width);
        for (m, v) in many.iter_mut().zip(first.chunks_exact(P * width)) {
            products(simd, v, width, weights, m);
        }
        let (twos, ones) = rest.as_chunks_mut::<2>();
        let (first, last) = last.split_at(twos.len() * 2 * width);
        for (m, v) in twos.iter_mut().zip(first.chunks_exact(2 * width)) {
            products(simd, v, width, weights, m);
        }
        for (m, v) in ones.iter_mut().zip(last.chunks_exact(width)) {
            products(simd, v, width, weights, std::array::from_mut(m));
        }
    }
}

#[inline(always)]
fn products<S: Simd, const V: usize, const P: usize>(
    simd: S,
    v: &[f32],
    width: usize,
    weights: &[[S::f32s; V]],
    m: &mut [[S::f32s; V]; P],
) {
    let v: [&[f32]; P] = std::array::from_fn(|p| &v[p * width..][..weights.len()]);
    let mut sums = [[simd.splat_f32s(0.0); V]; P];
    for (channel, weights) in weights.iter().enumerate() {
        for (sums, v) in sums.iter_mut().zip(v) {
            let v = simd.splat_f32s(v[channel]);
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = simd.mul_add_e_f32s(*weights, v, *sum);
            }
        }
    }
    *m = sums;
}

/// `sums[channel] += Σ_tile v[tile, channel] · d[tile]`, for one block of output channels.
pub(super) struct Sums<'a> {
    /// `[tiles, width]`.
    pub(super) v: &'a [f32],
    pub(super) width: usize,
    /// Of v, without those that fill a block.
    pub(super) channels: usize,
    /// `[tiles, block]`.
    pub(super) d: &'a [f32],
    pub(super) block: usize,
    /// The first of each 16 blocks of lanes is a channel's.
    pub(super) sums: &'a mut [f32],
}

impl Sums<'_> {
    #[inline(always)]
    pub(super) fn run<S: Simd>(mut self, simd: S) {
        match (self.block / S::F32_LANES, S::REGISTER_COUNT >= 32) {
            (1, true) => self.channels::<S, 1, 16>(simd),
            (1, false) => self.channels::<S, 1, 8>(simd),
            (_, true) => self.channels::<S, 2, 8>(simd),
            (_, false) => self.channels::<S, 2, 6>(simd),
        }
    }

    #[inline(always)]
    fn channels<S: Simd, const V: usize, const A: usize>(&mut self, simd: S) {
        let mut first = 0;
        while first + A <= self.channels {
            self.add::<S, V, A>(simd, first);
            first += A;
        }
        while first + 2 <= self.channels {
            self.add::<S, V, 2>(simd, first);
            first += 2;
        }
        if first < self.channels {
            self.add::<S, V, 1>(simd, first);
        }
    }

    /// The sums of `A` channels.
    #[inline(always)]
    fn add<S: Simd, const V: usize, const A: usize>(&mut self, simd: S, first: usize) {
        let (d, _) = S::as_simd_f32s(self.d);
        let (d, _) = d.as_chunks::<V>();
        let mut sums = [[simd.splat_f32s(0.0); V]; A];
        for (v, d) in self.v.chunks_exact(self.width).zip(d) {
            let v = &v[first..][..A];
            for (sums, v) in sums.iter_mut().zip(v) {
                let v = simd.splat_f32s(*v);
                for (sum, d) in sums.iter_mut().zip(d) {
                    *sum = simd.mul_add_e_f32s(*d, v, *sum);
                }
            }
        }
        let step = super::PLACES * V;
        let (all, _) = S::as_mut_simd_f32s(self.sums);
        for (channel, sums) in sums.iter().enumerate() {
            let to = &mut all[(first + channel) * step..][..V];
            for (to, sum) in to.iter_mut().zip(sums) {
                *to = simd.add_f32s(*to, *sum);
            }
        }
    }
}
