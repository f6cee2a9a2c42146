//! [`Correction`]: r and d of a forward pass.

use std::sync::Arc;

use candle::{DType, Tensor};

use crate::channel::{Channel, Formulas, Moment};
use crate::engine::ByGroup;
use crate::error::Result;
use crate::tensors::from_values;

/// Renorm's r and d of one training pass, and how often they were clipped.
#[derive(Clone, Debug)]
pub struct Correction {
    r: Tensor,
    d: Tensor,
    unclipped_r: Tensor,
    unclipped_d: Tensor,
}

impl Correction {
    /// r, `[groups, C]`: one row per normalization group.
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

/// What a [`Correction`] is computed from, when it is asked for.
#[derive(Clone, Debug)]
pub(crate) struct LastCorrection {
    pub(super) channels: Arc<ByGroup<Channel>>,
    pub(super) moments: ByGroup<Moment>,
    pub(super) formulas: Formulas,
}

impl LastCorrection {
    pub(crate) fn to_correction(&self) -> Correction {
        let (mut all, mut groups) = ([const { Vec::new() }; 4], 0);
        for (channels, moments) in self.channels.iter().zip(&self.moments) {
            if moments.is_empty() {
                continue;
            }
            groups += 1;
            all[0].extend(channels.iter().map(|channel| channel.r));
            all[1].extend(channels.iter().map(|channel| channel.d));
            let [r, d] = self.formulas.unclipped(0, moments);
            all[2].extend(r);
            all[3].extend(d);
        }
        let columns = all[0].len().checked_div(groups).unwrap_or(0);
        let [r, d, unclipped_r, unclipped_d] =
            all.map(|values: Vec<f64>| from_values(values, (groups, columns)));
        Correction { r, d, unclipped_r, unclipped_d }
    }
}
