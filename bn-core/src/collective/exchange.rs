//! One exchange of moments between the ranks of a group.

use std::sync::Arc;

use super::Collective;
use crate::channel::{Moment, Weight};
use crate::error::{Error, Result};
use crate::moments::Moments;

/// An exchange to come. A rank that returns an error before it takes part all the same, and says so: the others
/// return an error instead of waiting.
pub(crate) struct Exchange<'a> {
    ranks: &'a Arc<dyn Collective>,
    channels: usize,
    done: bool,
}

/// What a rank contributes.
pub(crate) struct Share {
    pub(crate) weight: Weight,
    /// None where the rank has no values.
    pub(crate) moments: Option<Vec<Moment>>,
    /// A backward pass will come: some of the rank's tensors require gradients.
    pub(crate) tracked: bool,
}

/// What all ranks contributed.
pub(crate) struct Gathered {
    pub(crate) merged: Moments,
    pub(crate) any_values: bool,
    pub(crate) tracked: bool,
}

const FAILED: usize = 0;
const TRACKED: usize = 1;
const HAS_VALUES: usize = 2;
const SUM: usize = 3;
const SQUARES: usize = 4;
const HEADER: usize = 5;

impl Share {
    /// Moments without a backward pass.
    pub(crate) fn of(moments: Option<Moments>) -> Self {
        let weight = moments.as_ref().map_or_else(Weight::default, Moments::common_weight);
        let moments = moments.map(|moments| moments.channels().to_vec());
        Self { weight, moments, tracked: false }
    }
}

impl<'a> Exchange<'a> {
    /// `None` for a layer without other ranks.
    pub(crate) fn among(ranks: Option<&'a Arc<dyn Collective>>, channels: usize) -> Option<Self> {
        let ranks = ranks.filter(|ranks| ranks.size() > 1)?;
        Some(Self { ranks, channels, done: false })
    }

    pub(crate) fn ranks(&self) -> &'a Arc<dyn Collective> {
        self.ranks
    }

    /// Merges all ranks' moments, in rank order.
    pub(crate) fn gather(&mut self, share: Share) -> Result<Gathered> {
        let mut packed = self.packed();
        packed[TRACKED] = f64::from(u8::from(share.tracked));
        packed[SUM] = share.weight.sum;
        packed[SQUARES] = share.weight.squares;
        if let Some(moments) = share.moments {
            packed[HAS_VALUES] = 1.0;
            for (c, moment) in moments.iter().enumerate() {
                packed[HEADER + c] = moment.mean;
                packed[HEADER + self.channels + c] = moment.variance;
            }
        }
        self.done = true;
        let all = self.ranks.all_gather(&packed)?;
        let mut gathered =
            Gathered { merged: Moments::nothing(self.channels), any_values: false, tracked: false };
        for (rank, part) in all.chunks_exact(packed.len()).enumerate() {
            if part[FAILED] != 0.0 {
                let reason = format!("rank {rank} has returned an error before this exchange");
                return Err(Error::Collective { op: "synchronization".into(), reason });
            }
            gathered.any_values |= part[HAS_VALUES] != 0.0;
            gathered.tracked |= part[TRACKED] != 0.0;
            let (means, variances) = part[HEADER..].split_at(self.channels);
            let moments = means.iter().zip(variances);
            let moments =
                moments.map(|(mean, variance)| Moment { mean: *mean, variance: *variance });
            let weight = Weight { sum: part[SUM], squares: part[SQUARES] };
            let part = Moments::from_parts(weight, moments.collect());
            if gathered.merged.common_weight().sum == 0.0 {
                gathered.merged = part;
            } else if weight.sum > 0.0 {
                gathered.merged.absorb(&part);
            }
        }
        Ok(gathered)
    }

    fn packed(&self) -> Vec<f64> {
        vec![0.0; HEADER + 2 * self.channels]
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        if !self.done {
            let mut packed = self.packed();
            packed[FAILED] = 1.0;
            // This rank already returns an error.
            let _ = self.ranks.all_gather(&packed);
        }
    }
}
