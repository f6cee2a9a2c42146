//! Which kernels a shape takes, and in how many blocks: pure. The shape alone decides, so that results do not depend on
//! the GPU.

/// Threads of a block.
pub(super) const THREADS: usize = 256;

/// Blocks to aim for: four on each of an H100's 132 multiprocessors, or eight on half as many.
const BLOCKS: usize = 528;

/// Vectors that a thread has at least, where a channel is split. A block of fewer spends its time on its last sum.
const LEAST: usize = 4;

/// Threads side by side in columns: 512 bytes in a row.
const WIDTH: usize = 32;

/// Blocks that run at the same time on an H100: two on each multiprocessor.
const TOGETHER: usize = 264;

/// Vectors that a thread holds: see HELD in persistent.cu.
const HELD: usize = 8;

/// A tensor read as `[outer, channels, inner]`, and the rows of the outer axis in a normalization group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) outer: usize,
    pub(super) channels: usize,
    pub(super) inner: usize,
    pub(super) group: usize,
}

impl Geometry {
    pub(super) fn groups(self) -> usize {
        self.outer.div_ceil(self.group)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Rows of a channel; else columns.
    pub(super) rows: bool,
    /// 16 bytes at a time; else one element.
    pub(super) vectors: bool,
    /// Blocks that share a group's values of a channel (rows) or of a run of channels (columns).
    pub(super) splits: usize,
    /// Columns: threads side by side.
    pub(super) width: usize,
    pub(super) blocks: usize,
}

impl Plan {
    /// The plan of a forward pass by the batch.
    pub(super) fn forward(of: Geometry, vector: usize, aligned: bool) -> Self {
        whole(of, vector, aligned).unwrap_or_else(|| plan(of, vector, aligned))
    }
}

/// A plan whose blocks can run at the same time and hold all of x; `None` for shapes that do not fit. It is also taken on a
/// GPU that is too small for it, where the pass is several launches, so that sums have the same order.
pub(super) fn whole(of: Geometry, vector: usize, aligned: bool) -> Option<Plan> {
    let split = plan(of, vector, aligned);
    let runs = split.blocks / split.splits;
    let row = if split.rows { of.inner / vector } else { 1 };
    let values = of.group * row;
    let stride = THREADS / split.width;
    let splits = (TOGETHER / runs).clamp(1, values.div_ceil(stride * LEAST).max(1));
    let held = values.div_ceil(splits).div_ceil(stride);
    let fits = split.vectors && runs * splits <= TOGETHER && held <= HELD;
    fits.then_some(Plan { splits, blocks: runs * splits, ..split })
}

/// `vector` elements fill 16 bytes; `aligned`: all tensors start at a multiple of that.
pub(super) fn plan(of: Geometry, vector: usize, aligned: bool) -> Plan {
    let rows = of.inner > 1;
    let run = if rows { of.inner } else { of.channels };
    let vectors = aligned && run.is_multiple_of(vector);
    let lanes = if vectors { vector } else { 1 };
    let width = if rows { 1 } else { of.channels.div_ceil(lanes).next_power_of_two().min(WIDTH) };
    // Runs of channels, and the vectors that each has in a group.
    let (runs, values) = match rows {
        true => (of.channels, of.group * of.inner / lanes),
        false => (of.channels.div_ceil(width * lanes), of.group),
    };
    let most = values.div_ceil(THREADS / width * LEAST);
    let splits = (BLOCKS / (runs * of.groups())).clamp(1, most.max(1));
    Plan { rows, vectors, splits, width, blocks: runs * of.groups() * splits }
}

#[cfg(test)]
mod tests {
    use super::{Geometry, HELD, Plan, THREADS, TOGETHER, plan, whole};

    fn of(outer: usize, channels: usize, inner: usize) -> Geometry {
        Geometry { outer, channels, inner, group: outer }
    }

    #[test]
    fn few_channels_are_split_over_blocks() {
        // ResNet-20's first stage: 16 channels of 131,072 values.
        let Plan { rows, vectors, splits, blocks, .. } = plan(of(128, 16, 1024), 4, true);
        assert!(rows && vectors);
        assert_eq!((splits, blocks), (32, 512));
        // Many channels: a block each.
        assert_eq!(plan(of(32, 1024, 49), 4, true).splits, 1);
    }

    #[test]
    fn a_pass_that_fits_is_whole() {
        // All of ResNet-20's activations at batch 128, and perceptrons.
        for (outer, channels, inner) in
            [(128, 16, 1024), (128, 32, 256), (128, 64, 64), (60, 100, 1), (256, 512, 1)]
        {
            let plan = whole(of(outer, channels, inner), 4, true).expect("fits");
            assert!(plan.blocks <= TOGETHER, "{plan:?}");
        }
        assert_eq!(whole(of(128, 16, 1024), 4, true).map(|plan| plan.splits), Some(16));
        // Too many values, too many channels, no vectors.
        for shape in [of(64, 256, 56 * 56), of(8, 1024, 16), of(32, 16, 49)] {
            assert_eq!(whole(shape, 4, true), None);
            assert_eq!(Plan::forward(shape, 4, true), plan(shape, 4, true));
        }
    }

    #[test]
    fn whole_blocks_hold_every_value() {
        for outer in [1_usize, 7, 128, 1000] {
            for channels in [8, 16, 104, 264] {
                for inner in [1, 8, 64, 1024] {
                    for group in [outer, outer.div_ceil(3)] {
                        let geometry = Geometry { outer, channels, inner, group };
                        let Some(plan) = whole(geometry, 8, true) else { continue };
                        // As persistent.cu gives them out.
                        let per_row = if plan.rows { inner / 8 } else { 1 };
                        let part = (group * per_row).div_ceil(plan.splits);
                        let stride = THREADS / plan.width;
                        assert!(part <= HELD * stride, "{geometry:?}: {plan:?}");
                        assert!(part * plan.splits >= group * per_row);
                        assert!(plan.blocks <= TOGETHER && plan.vectors, "{geometry:?}: {plan:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn vectors_need_whole_rows_and_aligned_tensors() {
        assert!(!plan(of(32, 256, 49), 4, true).vectors);
        assert!(plan(of(32, 256, 48), 8, true).vectors);
        assert!(!plan(of(32, 256, 48), 8, false).vectors);
        assert!(plan(of(60, 100, 1), 4, true).vectors);
        assert!(!plan(of(60, 100, 1), 8, true).vectors);
    }

    #[test]
    fn blocks_cover_all_channels_and_stay_few() {
        for outer in [1_usize, 7, 4096] {
            for channels in [1, 3, 16, 100, 1024, 5000] {
                for inner in [1, 2, 49, 4096] {
                    for group in [outer, outer.div_ceil(3)] {
                        let geometry = Geometry { outer, channels, inner, group };
                        let plan = plan(geometry, 8, true);
                        let lanes = if plan.vectors { 8 } else { 1 };
                        let runs = plan.blocks / plan.splits / geometry.groups();
                        let covered = if plan.rows { runs } else { runs * plan.width * lanes };
                        assert!(covered >= channels, "{geometry:?}: {plan:?}");
                        assert!(plan.splits == 1 || plan.blocks <= 528, "{geometry:?}: {plan:?}");
                        assert!(THREADS.is_multiple_of(plan.width) && plan.width.is_power_of_two());
                    }
                }
            }
        }
    }
}
