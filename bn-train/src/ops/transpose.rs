//! Channels into the lanes of vectors, and back: each a transposition in one pass.

use super::buffer::Slot;

/// Numbers of a cache line.
const LINE: usize = 16;

/// Blocks of `lanes` channels, channels last: `[channels, points]` becomes `[blocks, points, lanes]`; lanes without a
/// channel become 0.
pub(crate) fn to_lanes(planes: &[f32], points: usize, lanes: usize, blocks: &mut [f32]) {
    if points == 0 {
        return;
    }
    let channels = planes
        .chunks(points * lanes)
        .zip(blocks.chunks_exact_mut(points * lanes));
    for (planes, block) in channels {
        let full = planes.len() / points;
        if full < lanes {
            block.fill(0.0);
        }
        transpose(planes, (full, points), points, block, lanes);
    }
}

/// Back again: `[blocks, points, lanes]` becomes `[channels, points]`.
pub(crate) fn from_lanes<T: Slot>(blocks: &[f32], points: usize, lanes: usize, planes: &mut [T]) {
    if points == 0 {
        return;
    }
    let channels = planes
        .chunks_mut(points * lanes)
        .zip(blocks.chunks_exact(points * lanes));
    for (planes, block) in channels {
        let full = planes.len() / points;
        transpose(block, (points, full), lanes, planes, points);
    }
}

/// `to[c][r] = from[r][c]`; rows of `from` are `from_step` apart, those of `to` `to_step`.
fn transpose<T: Slot>(
    from: &[f32],
    (rows, columns): (usize, usize),
    from_step: usize,
    to: &mut [T],
    to_step: usize,
) {
    let mut r = 0;
    // Whole lines at once: the next number of a column is often 4 KiB away, and a cache holds few lines at such distances.
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

/// `4 · N` rows of `from`, which become columns of `to` from `r` on.
#[inline(always)]
fn band<T: Slot, const N: usize>(
    from: &[f32],
    columns: usize,
    from_step: usize,
    r: usize,
    to: &mut [T],
    to_step: usize,
) {
    let mut c = 0;
    while c + 4 <= columns {
        for n in 0..N {
            // Four by four, which the compiler turns into shuffles of whole vectors.
            let block: [[f32; 4]; 4] = std::array::from_fn(|i| {
                let row = &from[(4 * n + i) * from_step + c..][..4];
                [row[0], row[1], row[2], row[3]]
            });
            for j in 0..4 {
                let column = [block[0][j], block[1][j], block[2][j], block[3][j]];
                to[(c + j) * to_step + r + 4 * n..][..4].copy_from_slice(&column.map(T::of));
            }
        }
        c += 4;
    }
    for c in c..columns {
        for i in 0..4 * N {
            to[c * to_step + r + i].put(from[i * from_step + c]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_hold_the_channels_and_give_them_back() {
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
                        let want = match channel < channels {
                            true => (channel * points + at % points) as f32,
                            false => 0.0,
                        };
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
