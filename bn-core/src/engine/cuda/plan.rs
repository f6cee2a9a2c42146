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

/// A pass that one launch may compute, whose threads then hold what it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    Forward,
    Backward,
}

impl Pass {
    /// Vectors that a thread holds, of x and of dy: see HELD and `HELD_BACKWARD` in persistent.cu; 0 where there is no
    /// kernel.
    fn held(self, vector: usize, rows: bool) -> usize {
        match (self, vector > 4, rows) {
            (Pass::Forward, false, _) => 8,
            (Pass::Forward, true, _) => 4,
            (Pass::Backward, false, _) => 6,
            (Pass::Backward, true, true) => 3,
            (Pass::Backward, true, false) => 0,
        }
    }
}

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
    /// The plan of the sums of a pass.
    pub(super) fn of(pass: Pass, of: Geometry, vector: usize, aligned: bool) -> Self {
        whole(pass, of, vector, aligned).unwrap_or_else(|| plan(of, vector, aligned))
    }
}

/// A plan whose blocks can run at the same time and hold all that a pass reads; `None` for shapes that do not fit. It is also taken on a
/// GPU that is too small for it, where the pass is several launches, so that sums have the same order.
pub(super) fn whole(pass: Pass, of: Geometry, vector: usize, aligned: bool) -> Option<Plan> {
    let split = plan(of, vector, aligned);
    if !split.vectors {
        return None;
    }
    let runs = split.blocks / split.splits;
    let row = if split.rows { of.inner / vector } else { 1 };
    let values = of.group * row;
    let stride = THREADS / split.width;
    let splits = (TOGETHER / runs).clamp(1, values.div_ceil(stride * LEAST).max(1));
    let held = values.div_ceil(splits).div_ceil(stride);
    let fits = runs * splits <= TOGETHER && held <= pass.held(vector, split.rows);
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
    use super::{Geometry, Pass, Plan, THREADS, TOGETHER, plan, whole};

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
            let plan = whole(Pass::Forward, of(outer, channels, inner), 4, true).expect("fits");
            assert!(plan.blocks <= TOGETHER, "{plan:?}");
        }
        assert_eq!(
            whole(Pass::Forward, of(128, 16, 1024), 4, true).map(|plan| plan.splits),
            Some(16)
        );
        // Backward, the first stage has too many values, and half floats no kernel for columns.
        assert_eq!(whole(Pass::Backward, of(128, 16, 1024), 4, true), None);
        assert!(whole(Pass::Backward, of(128, 32, 256), 4, true).is_some());
        assert!(whole(Pass::Backward, of(256, 512, 1), 4, true).is_some());
        assert_eq!(whole(Pass::Backward, of(256, 512, 1), 8, true), None);
        // Too many values, too many channels, no vectors.
        for shape in [of(64, 256, 56 * 56), of(8, 1024, 16), of(32, 16, 49)] {
            for pass in [Pass::Forward, Pass::Backward] {
                assert_eq!(whole(pass, shape, 4, true), None);
                assert_eq!(Plan::of(pass, shape, 4, true), plan(shape, 4, true));
            }
        }
    }

    #[test]
    fn whole_blocks_hold_every_value() {
        for outer in [1_usize, 7, 128, 1000] {
            for channels in [1, 8, 16, 104, 264] {
                for inner in [1, 2, 7, 8, 64, 1024] {
                    for group in [outer, outer.div_ceil(3)] {
                        for pass in [Pass::Forward, Pass::Backward] {
                            holds(pass, Geometry { outer, channels, inner, group });
                        }
                    }
                }
            }
        }
    }

    /// As persistent.cu gives out the values.
    fn holds(pass: Pass, of: Geometry) {
        for vector in [4, 8] {
            let Some(plan) = whole(pass, of, vector, true) else { continue };
            let values = of.group * if plan.rows { of.inner / vector } else { 1 };
            let part = values.div_ceil(plan.splits);
            let held = pass.held(vector, plan.rows);
            assert!(part <= held * (THREADS / plan.width), "{of:?}: {plan:?}");
            assert!(part * plan.splits >= values);
            assert!(plan.blocks <= TOGETHER && plan.vectors, "{of:?}: {plan:?}");
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
