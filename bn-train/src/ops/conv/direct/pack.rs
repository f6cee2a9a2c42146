//! Copies images into zero-padded planes.

use super::grid::Border;

/// Copies `planes` into the interior of padded planes, leaving their borders unchanged.
pub(super) fn into_border(planes: &[f32], border: Border, bordered: &mut [f32]) {
    match border.inner.1 {
        // For short rows, a call to memcpy takes longer than the copy.
        8 => rows_into_border::<8>(planes, border, bordered),
        16 => rows_into_border::<16>(planes, border, bordered),
        32 => rows_into_border::<32>(planes, border, bordered),
        _ => rows_into_border::<0>(planes, border, bordered),
    }
}

/// The same for rows of `WIDTH` elements; 0 means any width.
fn rows_into_border<const WIDTH: usize>(planes: &[f32], border: Border, bordered: &mut [f32]) {
    let Border { inner, before, outer } = border;
    let start = before.0 * outer.1 + before.1;
    let both = planes.chunks_exact(inner.0 * inner.1).zip(bordered.chunks_exact_mut(border.len()));
    for (plane, bordered) in both {
        let rows = plane.chunks_exact(inner.1);
        for (row, bordered) in rows.zip(bordered[start..].chunks_mut(outer.1)) {
            match (row.first_chunk::<WIDTH>(), bordered.first_chunk_mut()) {
                (Some(row), Some(bordered)) if WIDTH > 0 => *bordered = *row,
                _ => bordered[..inner.1].copy_from_slice(row),
            }
        }
    }
}
