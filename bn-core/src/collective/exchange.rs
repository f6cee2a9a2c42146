//! One exchange of moments between the ranks of a group.

use std::sync::Arc;

use super::Collective;
use crate::channel::{Moment, Weight};
use crate::error::{ErrorKind, Result};
use crate::moments::Moments;

/// An exchange to come. A rank that returns an error before its exchange still takes part and reports the
/// failure, so the other ranks return an error instead of waiting.
pub(crate) struct Exchange<'a> {
    pub(crate) ranks: &'a Arc<dyn Collective>,
    channels: usize,
    done: bool,
}

/// What all ranks contributed.
pub(crate) struct Gathered {
    pub(crate) merged: Moments,
    /// Some rank has values, if only of weight 0.
    pub(crate) any_values: bool,
    /// Some rank will run a backward pass.
    pub(crate) tracked: bool,
}

// A rank's message: these numbers, then its means, then its variances.
const FAILED: usize = 0;
const TRACKED: usize = 1;
const HAS_VALUES: usize = 2;
const SUM: usize = 3;
const SQUARES: usize = 4;
const HEADER: usize = 5;

impl Gathered {
    /// What one rank has by itself.
    pub(crate) fn alone(own: Option<Moments>, channels: usize) -> Self {
        let any_values = own.is_some();
        let merged = own.unwrap_or_else(|| Moments::nothing(channels));
        Self { merged, any_values, tracked: false }
    }
}

impl<'a> Exchange<'a> {
    /// `None` for a layer without other ranks.
    pub(crate) fn among(ranks: Option<&'a Arc<dyn Collective>>, channels: usize) -> Option<Self> {
        let ranks = ranks.filter(|ranks| ranks.size() > 1)?;
        Some(Self { ranks, channels, done: false })
    }

    /// Merges all ranks' moments, in rank order. `own` is `None` on a rank without values; `tracked` says
    /// whether this rank will run a backward pass.
    pub(crate) fn gather(mut self, own: Option<&Moments>, tracked: bool) -> Result<Gathered> {
        let mut message = vec![0.0; HEADER];
        message[TRACKED] = f64::from(u8::from(tracked));
        if let Some(own) = own {
            let weight = own.common_weight();
            (message[HAS_VALUES], message[SUM], message[SQUARES]) =
                (1.0, weight.sum, weight.squares);
            message.extend(own.means());
            message.extend(own.variances());
        }
        message.resize(HEADER + 2 * self.channels, 0.0);
        self.done = true;
        let all = self.ranks.all_gather(&message)?;
        let mut gathered = Gathered::alone(None, self.channels);
        for (rank, part) in all.chunks_exact(message.len()).enumerate() {
            if part[FAILED] != 0.0 {
                let reason = format!("rank {rank} has returned an error before this exchange");
                return Err(ErrorKind::Collective(reason).at("synchronization"));
            }
            gathered.any_values |= part[HAS_VALUES] != 0.0;
            gathered.tracked |= part[TRACKED] != 0.0;
            let weight = Weight { sum: part[SUM], squares: part[SQUARES] };
            let (means, variances) = part[HEADER..].split_at(self.channels);
            let part = Moments::from_parts(weight, Moment::zip(means, variances));
            if gathered.merged.common_weight().sum == 0.0 {
                gathered.merged = part;
            } else if weight.sum > 0.0 {
                gathered.merged.absorb(&part);
            }
        }
        Ok(gathered)
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        if !self.done {
            let mut message = vec![0.0; HEADER + 2 * self.channels];
            message[FAILED] = 1.0;
            // This rank already returns an error.
            let _ = self.ranks.all_gather(&message);
        }
    }
}
