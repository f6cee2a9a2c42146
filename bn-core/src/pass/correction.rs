//! [`Correction`]: r and d of a forward pass.

use std::sync::Arc;

use candle::{DType, Tensor};

use crate::channel::{Channel, Formulas, Moment};
use crate::engine::ByGroup;
use crate::error::Result;
use crate::tensors::from_values;

/// r and d of one training forward, and how much the bounds changed them.
#[derive(Clone, Debug)]
pub struct Correction {
    r: Tensor,
    d: Tensor,
    unclipped_r: Tensor,
    unclipped_d: Tensor,
}

impl Correction {
    /// r, `[groups, C]`: one row for each normalization batch (one row without ghost batches).
    pub fn r(&self) -> &Tensor {
        &self.r
    }

    /// d, `[groups, C]`.
    pub fn d(&self) -> &Tensor {
        &self.d
    }

    /// Share of channels (and groups) whose r was clipped, in `[0, 1]`.
    pub fn clipped_r(&self) -> Result<f64> {
        share_that_differ(&self.r, &self.unclipped_r)
    }

    /// Share of channels (and groups) whose d was clipped, in `[0, 1]`.
    pub fn clipped_d(&self) -> Result<f64> {
        share_that_differ(&self.d, &self.unclipped_d)
    }
}

fn share_that_differ(a: &Tensor, b: &Tensor) -> Result<f64> {
    Ok(a.ne(b)?.to_dtype(DType::F64)?.mean_all()?.to_scalar::<f64>()?)
}

/// r and d of a forward pass, as tensors when somebody asks for them.
#[derive(Clone, Debug)]
pub(crate) struct LastCorrection {
    pub(super) channels: Arc<ByGroup<Channel>>,
    pub(super) moments: ByGroup<Moment>,
    pub(super) formulas: Formulas,
}

impl LastCorrection {
    pub(crate) fn to_correction(&self) -> Correction {
        let groups = || self.channels.iter().zip(&self.moments).filter(|(_, m)| !m.is_empty());
        let shape = (groups().count(), self.moments.iter().map(Vec::len).max().unwrap_or(0));
        let of = |value: fn(&Channel) -> f64| {
            let each = groups().flat_map(|(channels, _)| channels.iter().map(value));
            from_values(each.collect::<Vec<f64>>(), shape)
        };
        let unclipped = groups().map(|(_, moments)| self.formulas.unclipped(0, moments).into());
        let (rs, ds): (Vec<_>, Vec<_>) = unclipped.unzip();
        let row = |rows: Vec<Vec<f64>>| from_values(rows.concat(), shape);
        Correction { r: of(|c| c.r), d: of(|c| c.d), unclipped_r: row(rs), unclipped_d: row(ds) }
    }
}
