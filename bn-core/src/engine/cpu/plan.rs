//! How a geometry is cut into slabs. Only its shape decides, so results do not depend on threads.

use std::ops::Range;

use super::lanes::{Element, MOST_LANES};
use super::walk::{Geometry, Slab};

/// Half of a 1 MiB L2 cache, for what a task reads several times. The other half is for what it writes.
const CACHE: usize = 512 << 10;
/// Up to this many elements there is one task.
const SMALL: usize = 1 << 15;
/// Elements of a slab that holds parts of channels.
const PART: usize = 1 << 16;
/// The least number of tasks to aim for, so that threads end at about the same time.
const TASKS: usize = 8;
/// Channels that fill a few cache lines. Narrower columns would read partly unused lines, and few lines of each page.
const COLUMNS: usize = 64;

/// The slabs of a geometry: they cover it and do not overlap.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) slabs: Vec<Slab>,
    /// Each slab holds all values of its channels.
    pub(super) whole_channels: bool,
}

/// The plan for passes that read `streams` tensors.
pub(super) fn plan<T: Element>(geometry: Geometry, streams: usize) -> Plan {
    let Geometry { outer, channels, inner } = geometry;
    let per_channel = outer * inner;
    if per_channel * channels <= SMALL {
        return whole_channels(geometry, channels);
    }
    // Channels whose values fit into the cache together.
    let fit = CACHE / (per_channel * size_of::<T>() * streams).max(1);
    if inner == 1 {
        let columns = fit.min(channels.div_ceil(TASKS)) / COLUMNS * COLUMNS;
        if columns >= COLUMNS {
            return whole_channels(geometry, columns);
        }
        let rows = (PART / channels).max(1).next_multiple_of(64);
        let slab = |outer| Slab { channels: 0..channels, outer, inner: 0..1 };
        return Plan { slabs: cuts(outer, rows).map(slab).collect(), whole_channels: false };
    }
    if channels >= TASKS {
        return whole_channels(geometry, fit.min(channels / TASKS).max(1));
    }
    let mut slabs = Vec::new();
    for c in 0..channels {
        let slab = |outer, inner| Slab { channels: c..c + 1, outer, inner };
        if inner >= PART {
            for o in 0..outer {
                slabs.extend(even_cuts(inner, PART).map(|inner| slab(o..o + 1, inner)));
            }
        } else {
            slabs.extend(cuts(outer, PART / inner).map(|outer| slab(outer, 0..inner)));
        }
    }
    Plan { slabs, whole_channels: false }
}

/// Slabs that hold all values of `step` channels each.
fn whole_channels(Geometry { outer, channels, inner }: Geometry, step: usize) -> Plan {
    let slab = |channels| Slab { channels, outer: 0..outer, inner: 0..inner };
    let mut slabs: Vec<Slab> = cuts(channels, step).map(slab).collect();
    // Columns too few for a vector would be computed one by one, with other rounding than the rest.
    if let [.., before, last] = slabs.as_mut_slice()
        && inner == 1
        && last.channels.len() < MOST_LANES
    {
        before.channels.end = last.channels.end;
        slabs.pop();
    }
    Plan { slabs, whole_channels: true }
}

/// `0..len` in steps; the last one takes the rest.
fn cuts(len: usize, step: usize) -> impl Iterator<Item = Range<usize>> {
    (0..len).step_by(step).map(move |start| start..len.min(start + step))
}

/// `0..len` in parts of at least `step` (so that each fills a vector), which start with a cache line.
fn even_cuts(len: usize, step: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = (len / step).max(1);
    let start = move |part: usize| match part == parts {
        true => len,
        false => (part * len / parts) / COLUMNS * COLUMNS,
    };
    (0..parts).map(move |part| start(part)..start(part + 1))
}
