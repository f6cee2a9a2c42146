//! Renorm on the CPU, over slices: the same formulas as [`RenormState`]'s, on all channels at once.

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
    /// r and d of the channels from `first` on, whose means and stddevs (√(variance + ε)) these are.
    pub(crate) fn of<'a>(
        &self,
        first: usize,
        batch: impl ExactSizeIterator<Item = (f64, &'a f64)>,
    ) -> Vec<ChannelCorrection> {
        let channels = first..first + batch.len();
        let averages = self.mean[channels.clone()].iter().zip(&self.stddev[channels.clone()]);
        let each = batch.zip(averages);
        let one = |mean: f64, stddev: f64, old_mean: f64, old_stddev: f64| {
            self.clip((mean - old_mean) / old_stddev, stddev / old_stddev)
        };
        match (self.variant, &self.weights) {
            (RenormVariant::Tf1, Some((of_mean, of_stddev))) => {
                let gathered = of_mean[channels.clone()].iter().zip(&of_stddev[channels]);
                each.zip(gathered)
                    .map(|(((mean, stddev), (old_mean, old_stddev)), (w, v))| {
                        let old_mean = old_mean + (1.0 - w) * mean;
                        one(mean, *stddev, old_mean, old_stddev + (1.0 - v) * stddev)
                    })
                    .collect()
            }
            (RenormVariant::Keras, _) => {
                let least = self.epsilon.sqrt();
                each.map(|((mean, stddev), (old_mean, old_stddev))| {
                    one(mean, *stddev, *old_mean, old_stddev.max(least))
                })
                .collect()
            }
            _ => each
                .map(|((mean, stddev), (old_mean, old_stddev))| {
                    one(mean, *stddev, *old_mean, *old_stddev)
                })
                .collect(),
        }
    }

    #[inline(always)]
    fn clip(&self, unclipped_d: f64, unclipped_r: f64) -> ChannelCorrection {
        // Comparisons that NaN fails, so that it stays.
        let at_least = |v: f64, bound: f64| if v < bound { bound } else { v };
        let at_most = |v: f64, bound: f64| if v > bound { bound } else { v };
        let Bounds { r_min, r_max, d_max } = self.bounds;
        let d_max = d_max.unwrap_or(f64::INFINITY);
        let r = at_least(unclipped_r, r_min.unwrap_or(f64::NEG_INFINITY));
        ChannelCorrection {
            r: at_most(r, r_max.unwrap_or(f64::INFINITY)),
            d: at_most(at_least(unclipped_d, -d_max), d_max),
            unclipped_r,
            unclipped_d,
        }
    }
}

/// A layer's last correction. That of the kernels becomes tensors when somebody asks for it.
#[derive(Debug)]
pub(crate) enum LastCorrection {
    Tensors(Correction),
    /// One row of channels per group.
    Host(Vec<Vec<ChannelCorrection>>),
}

impl LastCorrection {
    pub(crate) fn to_tensors(&self) -> Correction {
        let rows = match self {
            LastCorrection::Tensors(correction) => return correction.clone(),
            LastCorrection::Host(rows) => rows,
        };
        let channels = rows.first().map_or(0, Vec::len);
        let of = |pick: fn(&ChannelCorrection) -> f64| {
            let values = rows.iter().flatten().map(pick).collect();
            tensor(candle::CpuStorage::F64(values), &[rows.len(), channels])
        };
        Correction {
            r: of(|c| c.r),
            d: of(|c| c.d),
            unclipped_r: of(|c| c.unclipped_r),
            unclipped_d: of(|c| c.unclipped_d),
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

/// What the moving statistics do under renorm.
pub(crate) enum HostFollowed {
    /// Average these at the layer's decay, debiased if asked for.
    Average { mean: Vec<f64>, variance: Vec<f64> },
    /// Average the batch's mean at the layer's decay, and be this variance.
    Stddev { variance: Vec<f64> },
    /// Be these.
    Equal { mean: Vec<f64>, variance: Vec<f64> },
}

impl RenormSlots<'_> {
    /// Moves the averages where `keep` (of the mean, of the variance) says so. `rate` is the layer's own.
    pub(crate) fn update(
        &mut self,
        mean: &[f64],
        variance: &[f64],
        rate: f64,
        [keep_mean, keep_variance]: [&[bool]; 2],
    ) -> HostFollowed {
        let epsilon = self.epsilon;
        let stddev: Vec<f64> = variance.iter().map(|v| (v + epsilon).sqrt()).collect();
        self.mean.move_towards(mean, self.rate, keep_mean);
        self.stddev.move_towards(&stddev, self.rate, keep_variance);
        if let Some((of_mean, of_stddev)) = &mut self.weights {
            let one = vec![1.0; mean.len()];
            of_mean.move_towards(&one, self.rate, keep_mean);
            of_stddev.move_towards(&one, self.rate, keep_variance);
            let quotient = |(sum, weight): (&f64, &f64)| {
                let positive = *weight > 0.0;
                sum / if positive { *weight } else { f64::MIN_POSITIVE }
            };
            let means = self.mean.values().iter().zip(of_mean.values());
            let stddevs = self.stddev.values().iter().zip(of_stddev.values());
            let variance = |stddev: f64| stddev * stddev - epsilon;
            return HostFollowed::Average {
                mean: means.map(quotient).collect(),
                variance: stddevs.map(quotient).map(variance).collect(),
            };
        }
        if let Some(moving_stddev) = &mut self.moving_stddev {
            moving_stddev.move_towards(&stddev, rate, keep_variance);
            let moving = moving_stddev.values().iter();
            return HostFollowed::Stddev {
                variance: moving.map(|v| (v * v - epsilon).max(0.0)).collect(),
            };
        }
        let stddevs = self.stddev.values().iter();
        HostFollowed::Equal {
            mean: self.mean.values().to_vec(),
            variance: stddevs.map(|v| v * v - epsilon).collect(),
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
