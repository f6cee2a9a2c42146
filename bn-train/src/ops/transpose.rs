//! Moves channels into vector lanes and back, by transposition in one pass.

use super::buffer::Slot;

/// f32 elements per cache line.
const LINE: usize = 16;

/// Packs channels into blocks of lanes: `[channels, points]` becomes `[blocks, points, lanes]`. Lanes without a channel
/// become 0.
pub(crate) fn to_lanes(planes: &[f32], points: usize, lanes: usize, blocks: &mut [f32]) {
    if points == 0 {
        return;
    }
    let channels = planes.chunks(points * lanes).zip(blocks.chunks_exact_mut(points * lanes));
    for (planes, block) in channels {
        let full = planes.len() / points;
        if full < lanes {
            block.fill(0.0);
        }
        transpose(planes, (full, points), points, block, lanes);
    }
}

/// The inverse of [`to_lanes`]: `[blocks, points, lanes]` becomes `[channels, points]`.
pub(crate) fn from_lanes<T: Slot>(blocks: &[f32], points: usize, lanes: usize, planes: &mut [T]) {
    if points == 0 {
        return;
    }
    let channels = planes.chunks_mut(points * lanes).zip(blocks.chunks_exact(points * lanes));
    for (planes, block) in channels {
        let full = planes.len() / points;
        transpose(block, (points, full), lanes, planes, points);
    }
}

/// `to[c][r] = from[r][c]`, with row strides `from_step` and `to_step`.
fn transpose<T: Slot>(
    from: &[f32],
    (rows, columns): (usize, usize),
    from_step: usize,
    to: &mut [T],
    to_step: usize,
) {
    let mut r = 0;
    // Write full cache lines. Elements of a column are often 4 KiB apart, and caches hold few lines at such strides.
    while r + LINE <= rows {
        band::<T, { LINE / 4 }>(&from[r * from_step..], columns, from_step, r, to, to_step);
        r += LINE;
    }
    while r + 4 <= rows {
        band::<T, 1>(&from[r * from_step..], columns, from_step, r, to, to_step);
        r += 4;
    }
    for r in r..rows {
        for c in 0..columns {
            to[c * to_step + r].put(from[r * from_step + c]);
        }
    }
}

/// Transposes `4 · N` rows of `from` into the columns of `to` starting at `r`.
#[inline(always)]
fn band<T: Slot, const N: usize>(
    from: &[f32],
    columns: usize,
    from_step: usize,
    r: usize,
    to: &mut [T],
    to_step: usize,
) {
    // Loops instead of `from_fn`, whose closures would not be inlined here.
    let mut rows: [[&[f32]; 4]; N] = [[&[]; 4]; N];
    for (i, row) in rows.as_flattened_mut().iter_mut().enumerate() {
        *row = &from[i * from_step..][..columns];
    }
    let mut c = 0;
    while c + 4 <= columns {
        let mut blocks = [[[0.0; 4]; 4]; N];
        for (block, rows) in blocks.iter_mut().zip(&rows) {
            for (to, row) in block.iter_mut().zip(rows) {
                to.copy_from_slice(&row[c..c + 4]);
            }
            *block = four_by_four(*block);
        }
        for j in 0..4 {
            let line = &mut to[(c + j) * to_step + r..][..4 * N];
            for (line, block) in line.chunks_exact_mut(4).zip(&blocks) {
                T::copy(line, &block[j]);
            }
        }
        c += 4;
    }
    for c in c..columns {
        let line = &mut to[c * to_step + r..][..4 * N];
        for (slot, row) in line.iter_mut().zip(rows.as_flattened()) {
            slot.put(row[c]);
        }
    }
}

/// Transposes a 4x4 block. The compiler does not find these shuffles.
#[cfg(all(target_arch = "x86_64", target_feature = "sse"))]
#[inline(always)]
fn four_by_four(rows: [[f32; 4]; 4]) -> [[f32; 4]; 4] {
    use std::arch::x86_64::{
        __m128, _mm_movehl_ps, _mm_movelh_ps, _mm_unpackhi_ps, _mm_unpacklo_ps,
    };
    let [a, b, c, d] = rows.map(pulp::cast::<[f32; 4], __m128>);
    // SAFETY: the compilation target has SSE.
    #[allow(unsafe_code)]
    let columns = unsafe {
        let (low, high) = (_mm_unpacklo_ps(a, b), _mm_unpackhi_ps(a, b));
        let (next_low, next_high) = (_mm_unpacklo_ps(c, d), _mm_unpackhi_ps(c, d));
        [
            _mm_movelh_ps(low, next_low),
            _mm_movehl_ps(next_low, low),
            _mm_movelh_ps(high, next_high),
            _mm_movehl_ps(next_high, high),
        ]
    };
    columns.map(pulp::cast::<__m128, [f32; 4]>)
}

#[cfg(not(all(target_arch = "x86_64", target_feature = "sse")))]
#[inline(always)]
fn four_by_four(rows: [[f32; 4]; 4]) -> [[f32; 4]; 4] {
    std::array::from_fn(|j| rows.map(|row| row[j]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_and_unpacking_round_trips() {
        for points in [0, 1, 3, 4, 15, 16, 17, 37, 64] {
            for channels in 1..40_usize {
                for lanes in [4, 8, 16, 32] {
                    let planes: Vec<f32> = (0..channels * points).map(|i| i as f32).collect();
                    let blocks = channels.div_ceil(lanes);
                    let mut packed = vec![f32::NAN; blocks * points * lanes];
                    to_lanes(&planes, points, lanes, &mut packed);
                    for (index, number) in packed.iter().enumerate() {
                        let (lane, at) = (index % lanes, index / lanes);
                        let channel = at / points * lanes + lane;
                        let number_there = (channel * points + at % points) as f32;
                        let want = if channel < channels { number_there } else { 0.0 };
                        assert_eq!(*number, want, "{channels} {points} {lanes}");
                    }
                    let mut back = vec![f32::NAN; planes.len()];
                    from_lanes(&packed, points, lanes, &mut back);
                    assert_eq!(back, planes, "{channels} {points} {lanes}");
                }
            }
        }
    }
}
