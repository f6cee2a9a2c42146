//! [`Correction`]: r and d of a forward pass.

use candle::Tensor;

use crate::channel::Channel;
use crate::engine::Channels;
use crate::tensors::from_values;

/// Renorm's r and d of one training pass, and how often they were clipped.
#[derive(Clone, Debug)]
pub struct Correction {
    r: Tensor,
    d: Tensor,
    clipped: [f64; 2],
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
    pub fn clipped_r(&self) -> f64 {
        self.clipped[0]
    }

    /// Share of channels (and groups) whose d was clipped, in `[0, 1]`.
    pub fn clipped_d(&self) -> f64 {
        self.clipped[1]
    }
}

/// What a [`Correction`] is computed from, when it is asked for.
#[derive(Clone, Debug)]
pub(crate) struct LastCorrection {
    pub(super) channels: Channels,
    /// By group: whether it was normalized by its own moments.
    pub(super) corrected: Vec<bool>,
}

impl LastCorrection {
    /// `None` if a device that has them cannot be read.
    pub(crate) fn to_correction(&self) -> Option<Correction> {
        let by_group = self.channels.read().ok()?;
        let groups = by_group.iter().zip(&self.corrected).filter(|(_, corrected)| **corrected);
        let rows = groups.clone().count();
        let channels: Vec<&Channel> = groups.flat_map(|(channels, _)| channels).collect();
        let of = |value: fn(&Channel) -> f64| {
            let values: Vec<f64> = channels.iter().map(|channel| value(channel)).collect();
            from_values(values, (rows, channels.len() / rows.max(1)))
        };
        let share = |k: usize| {
            let clipped = channels.iter().filter(|channel| channel.clipped[k]).count();
            clipped as f64 / channels.len().max(1) as f64
        };
        Some(Correction { r: of(|c| c.r), d: of(|c| c.d), clipped: [share(0), share(1)] })
    }
}
