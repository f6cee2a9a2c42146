//! `schedules.csv`: the settings that change by plan during a run, as the updates used them.

use serde::{Deserialize, Serialize};

use super::{read_finite, write_finite};

/// What a setting was at a step: a row of `schedules.csv`.
///
/// A value holds from the row's step up to the step before the next row of the same name: the file has the value that the first
/// update used, each change, and once more the value of the last update. A setting that never changes has these two rows. Rows are
/// in the order of their steps.
///
/// ```text
/// step,name,value
/// 1,learning_rate,0.2
/// 1,renorm_r_max,1
/// 501,learning_rate,0.02
/// 1500,learning_rate,0.02
/// 1500,renorm_r_max,1
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScheduleRow {
    /// The update that used the value: those done after it, as in [`LayerRow`](super::LayerRow). The first is 1.
    pub step: u64,
    /// One of the constants below, or what an experiment adds.
    pub name: String,
    /// The value; none where it is not a finite number, so where nothing bounds r or d (from that step on).
    #[serde(serialize_with = "write_finite", deserialize_with = "read_finite")]
    pub value: Option<f64>,
}

impl ScheduleRow {
    /// The columns of `schedules.csv`, in order.
    pub const HEADER: [&'static str; 3] = ["step", "name", "value"];

    /// The optimizer's learning rate, warm-up and schedule multiplied in.
    pub const LEARNING_RATE: &'static str = "learning_rate";
    /// The decay of the moving averages: the weight of the old value.
    pub const DECAY: &'static str = "decay";
    /// Batch renormalization: the lower bound of r.
    pub const RENORM_R_MIN: &'static str = "renorm_r_min";
    /// Batch renormalization: the upper bound of r.
    pub const RENORM_R_MAX: &'static str = "renorm_r_max";
    /// Batch renormalization: the bound of |d|.
    pub const RENORM_D_MAX: &'static str = "renorm_d_max";
}
