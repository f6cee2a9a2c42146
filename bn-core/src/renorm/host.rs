//! Renorm on the CPU, over slices: the same formulas as [`RenormState`]'s, channel by channel.

use super::{Bounds, Correction, RenormState, RenormVariant};
use crate::host::{Slot, read, tensor};

/// r and d of one channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChannelCorrection {
    pub(crate) r: f64,
    pub(crate) d: f64,
    unclipped_r: f64,
    unclipped_d: f64,
}

/// The averages that r and d refer to, as they are before an update.
pub(crate) struct Reference {
    variant: RenormVariant,
    mean: Vec<f64>,
    stddev: Vec<f64>,
    weights: Option<(Vec<f64>, Vec<f64>)>,
    bounds: Bounds,
    epsilon: f64,
}

impl RenormState {
    /// None where the averages cannot be read in place.
    pub(crate) fn reference(&self, bounds: Bounds) -> Option<Reference> {
        let weights = match &self.weights {
            Some((of_mean, of_stddev)) => Some((read(of_mean)?, read(of_stddev)?)),
            None => None,
        };
        Some(Reference {
            variant: self.variant,
            mean: read(&self.mean)?,
            stddev: read(&self.stddev)?,
            weights,
            bounds,
            epsilon: self.epsilon,
        })
    }

    /// [`RenormState::update`] over slices.
    pub(crate) fn slots(&self) -> Option<RenormSlots<'_>> {
        Some(RenormSlots {
            mean: Slot::open(&self.mean)?,
            stddev: Slot::open(&self.stddev)?,
            weights: match &self.weights {
                Some((of_mean, of_stddev)) => Some((Slot::open(of_mean)?, Slot::open(of_stddev)?)),
                None => None,
            },
            moving_stddev: match &self.moving_stddev {
                Some(moving_stddev) => Some(Slot::open(moving_stddev)?),
                None => None,
            },
            rate: 1.0 - self.decay,
            epsilon: self.epsilon,
        })
    }
}

impl Reference {
    pub(crate) fn of(&self, c: usize, mean: f64, variance: f64) -> ChannelCorrection {
        let stddev = (variance + self.epsilon).sqrt();
        let (mut old_mean, mut old_stddev) = (self.mean[c], self.stddev[c]);
        match (self.variant, &self.weights) {
            (RenormVariant::Tf1, Some((of_mean, of_stddev))) => {
                old_mean += (1.0 - of_mean[c]) * mean;
                old_stddev += (1.0 - of_stddev[c]) * stddev;
            }
            (RenormVariant::Keras, _) => old_stddev = old_stddev.max(self.epsilon.sqrt()),
            _ => {}
        }
        let unclipped_r = stddev / old_stddev;
        let unclipped_d = (mean - old_mean) / old_stddev;
        let mut r = unclipped_r;
        if let Some(bound) = self.bounds.r_min {
            r = r.max(bound);
        }
        if let Some(bound) = self.bounds.r_max {
            r = r.min(bound);
        }
        let d = match self.bounds.d_max {
            Some(bound) => unclipped_d.clamp(-bound, bound),
            None => unclipped_d,
        };
        ChannelCorrection {
            r,
            d,
            unclipped_r,
            unclipped_d,
        }
    }
}

impl Correction {
    /// One row of channels per group.
    pub(crate) fn of_groups(groups: &[Vec<ChannelCorrection>]) -> Self {
        let channels = groups.first().map_or(0, Vec::len);
        let rows = |pick: fn(&ChannelCorrection) -> f64| {
            let values = groups.iter().flatten().map(pick).collect();
            tensor(candle::CpuStorage::F64(values), &[groups.len(), channels])
        };
        Self {
            r: rows(|c| c.r),
            d: rows(|c| c.d),
            unclipped_r: rows(|c| c.unclipped_r),
            unclipped_d: rows(|c| c.unclipped_d),
        }
    }
}

/// The averages, open to be changed.
pub(crate) struct RenormSlots<'a> {
    mean: Slot<'a>,
    stddev: Slot<'a>,
    weights: Option<(Slot<'a>, Slot<'a>)>,
    moving_stddev: Option<Slot<'a>>,
    rate: f64,
    epsilon: f64,
}

/// What one channel's moving statistics do under renorm.
pub(crate) enum ChannelFollowed {
    /// Average these at the layer's decay, debiased if asked for.
    Average { mean: f64, variance: f64 },
    /// Average this mean at the layer's decay, and be this variance.
    Stddev { mean: f64, variance: f64 },
    /// Be these.
    Equal { mean: f64, variance: f64 },
}

impl RenormSlots<'_> {
    /// Moves one channel's averages where `keep` (of the mean, of the variance) says so. `rate` is the
    /// layer's own.
    pub(crate) fn update(
        &mut self,
        c: usize,
        [mean, variance]: [f64; 2],
        rate: f64,
        keep: [bool; 2],
    ) -> ChannelFollowed {
        let stddev = (variance + self.epsilon).sqrt();
        if keep[0] {
            self.mean.move_towards(c, mean, self.rate);
        }
        if keep[1] {
            self.stddev.move_towards(c, stddev, self.rate);
        }
        if let Some((of_mean, of_stddev)) = &mut self.weights {
            if keep[0] {
                of_mean.move_towards(c, 1.0, self.rate);
            }
            if keep[1] {
                of_stddev.move_towards(c, 1.0, self.rate);
            }
            let divisor = |weight: f64| {
                if weight > 0.0 {
                    weight
                } else {
                    f64::MIN_POSITIVE
                }
            };
            let mean = self.mean.get(c) / divisor(of_mean.get(c));
            let stddev = self.stddev.get(c) / divisor(of_stddev.get(c));
            let variance = stddev * stddev - self.epsilon;
            return ChannelFollowed::Average { mean, variance };
        }
        if let Some(moving_stddev) = &mut self.moving_stddev {
            if keep[1] {
                moving_stddev.move_towards(c, stddev, rate);
            }
            let moving = moving_stddev.get(c);
            let variance = (moving * moving - self.epsilon).max(0.0);
            return ChannelFollowed::Stddev { mean, variance };
        }
        let stddev = self.stddev.get(c);
        ChannelFollowed::Equal {
            mean: self.mean.get(c),
            variance: stddev * stddev - self.epsilon,
        }
    }

    pub(crate) fn close(self) -> candle::Result<()> {
        self.mean.close()?;
        self.stddev.close()?;
        if let Some((of_mean, of_stddev)) = self.weights {
            of_mean.close()?;
            of_stddev.close()?;
        }
        self.moving_stddev.map_or(Ok(()), Slot::close)
    }
}
