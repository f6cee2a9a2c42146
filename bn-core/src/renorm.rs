//! Batch renormalization: the per-channel correction (r, d) in its three published variants, its
//! clipping, and the averages it refers to.
//!
//! `x̂ = (x − mean) / stddev · r + d` with `stddev = √(variance + ε)`, `r = stddev / σ`,
//! `d = (mean − μ) / σ`, clipped, and held constant in the gradient. What μ and σ are is where the
//! variants differ: see [`RenormVariant`].

mod config;
mod host;

use candle::{DType, Tensor, Var};

pub use config::{Bounds, Clipping, RMin, RenormConfig, RenormVariant};
pub(crate) use host::{ChannelCorrection, HostFollowed, LastCorrection, Reference};

use crate::error::{Error, Result};
use crate::moments::Moments;
use crate::moving_average::{assign, move_towards};
use crate::variables::{Initializer, Variables};
use crate::weights;

/// r and d of one training forward, and how much the bounds changed them.
#[derive(Clone, Debug)]
pub struct Correction {
    pub(crate) r: Tensor,
    pub(crate) d: Tensor,
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

    /// Share of channels (and groups) whose r was clipped, in `[0, 1]`. Waits for the device.
    pub fn clipped_r(&self) -> Result<f64> {
        share_that_differ(&self.r, &self.unclipped_r)
    }

    /// Share of channels (and groups) whose d was clipped, in `[0, 1]`. Waits for the device.
    pub fn clipped_d(&self) -> Result<f64> {
        share_that_differ(&self.d, &self.unclipped_d)
    }

    /// One row per group.
    pub(crate) fn stack(groups: &[Self]) -> candle::Result<Self> {
        let rows = |pick: fn(&Self) -> &Tensor| {
            let rows: Vec<_> = groups.iter().map(|g| pick(g).clone()).collect();
            Tensor::stack(&rows, 0)
        };
        Ok(Self {
            r: rows(|g| &g.r)?,
            d: rows(|g| &g.d)?,
            unclipped_r: rows(|g| &g.unclipped_r)?,
            unclipped_d: rows(|g| &g.unclipped_d)?,
        })
    }
}

fn share_that_differ(a: &Tensor, b: &Tensor) -> Result<f64> {
    Ok(a.ne(b)?.to_dtype(DType::F64)?.mean_all()?.to_scalar::<f64>()?)
}

/// The averages of one layer that r and d refer to.
#[derive(Debug, Clone)]
pub(crate) struct RenormState {
    pub(crate) variant: RenormVariant,
    pub(crate) mean: Var,
    pub(crate) stddev: Var,
    /// `Tf1`: the weights that the two zero-started averages have gathered, mean's and stddev's.
    pub(crate) weights: Option<(Var, Var)>,
    /// `Keras`: the average of stddev at the layer's own decay.
    pub(crate) moving_stddev: Option<Var>,
    decay: f64,
    epsilon: f64,
}

impl RenormState {
    /// Makes or finds the averages. Where the moving statistics come from a checkpoint that has no
    /// renorm state, the averages take over from them.
    pub(crate) fn build(
        config: &RenormConfig,
        epsilon: f64,
        variables: &Variables<'_>,
        statistics: Start<'_>,
    ) -> Result<Self> {
        let loaded = statistics.loaded;
        // TensorFlow starts the stddev at the root of the initial variance, without ε.
        let added = if loaded { epsilon } else { 0.0 };
        let root = |v: &f64| (v + added).max(0.0).sqrt();
        let mean = Initializer::Values(statistics.mean.to_vec());
        let stddev = Initializer::Values(statistics.variance.iter().map(root).collect());
        let from_zero = config.variant == RenormVariant::Tf1 && !loaded;
        let pick = |initial: &Initializer| match from_zero {
            true => Initializer::ZEROS,
            false => initial.clone(),
        };
        let get = |name: &str, initial: &Initializer| {
            Ok::<Var, Error>(variables.optional_per_channel(name, initial)?.var)
        };
        let weight = Initializer::Constant(if from_zero { 0.0 } else { 1.0 });
        Ok(Self {
            variant: config.variant,
            mean: get("renorm_mean", &pick(&mean))?,
            stddev: get("renorm_stddev", &pick(&stddev))?,
            weights: match config.variant {
                RenormVariant::Tf1 => Some((
                    get("renorm_mean_weight", &weight)?,
                    get("renorm_stddev_weight", &weight)?,
                )),
                _ => None,
            },
            moving_stddev: match config.variant {
                RenormVariant::Keras => Some(get("moving_stddev", &stddev)?),
                _ => None,
            },
            decay: config.decay,
            epsilon,
        })
    }

    /// r and d for a batch, from the averages as they are before its update. Outside the graph.
    pub(crate) fn correction(&self, batch: &Moments, bounds: Bounds) -> candle::Result<Correction> {
        let (mean, variance) = (batch.mean().detach(), batch.variance().detach());
        let stddev = (variance + self.epsilon)?.sqrt()?;
        let old_mean = wide(&self.mean)?;
        let old_stddev = wide(&self.stddev)?;
        let unfilled = |weight: &Var| wide(weight)?.affine(-1.0, 1.0);
        let (old_mean, old_stddev) = match (self.variant, &self.weights) {
            (RenormVariant::Tf1, Some((of_mean, of_stddev))) => (
                (old_mean + (unfilled(of_mean)? * &mean)?)?,
                (old_stddev + (unfilled(of_stddev)? * &stddev)?)?,
            ),
            (RenormVariant::Keras, _) => (old_mean, old_stddev.maximum(self.epsilon.sqrt())?),
            _ => (old_mean, old_stddev),
        };
        let unclipped_r = (&stddev / &old_stddev)?;
        let unclipped_d = ((&mean - &old_mean)? / &old_stddev)?;
        let mut r = unclipped_r.clone();
        if let Some(bound) = bounds.r_min {
            r = r.maximum(bound)?;
        }
        if let Some(bound) = bounds.r_max {
            r = r.minimum(bound)?;
        }
        let d = match bounds.d_max {
            Some(bound) => unclipped_d.clamp(-bound, bound)?,
            None => unclipped_d.clone(),
        };
        Ok(Correction { r, d, unclipped_r, unclipped_d })
    }

    /// Moves the averages by one committed batch and says what the moving statistics follow.
    pub(crate) fn update(
        &self,
        batch: &Moments,
        keep_mean: &Tensor,
        keep_variance: &Tensor,
    ) -> candle::Result<Followed> {
        let stddev = (batch.variance() + self.epsilon)?.sqrt()?;
        let rate = Tensor::full(1.0 - self.decay, 1, stddev.device())?;
        move_towards(&self.mean, batch.mean(), &rate, Some(keep_mean))?;
        move_towards(&self.stddev, &stddev, &rate, Some(keep_variance))?;
        Ok(match (self.variant, &self.weights, &self.moving_stddev) {
            (RenormVariant::Tf1, Some((of_mean, of_stddev)), _) => {
                let one = stddev.ones_like()?;
                move_towards(of_mean, &one, &rate, Some(keep_mean))?;
                move_towards(of_stddev, &one, &rate, Some(keep_variance))?;
                let mean = (wide(&self.mean)? / weights::divisor(&wide(of_mean)?)?)?;
                let stddev = (wide(&self.stddev)? / weights::divisor(&wide(of_stddev)?)?)?;
                let variance = (stddev.sqr()? - self.epsilon)?;
                Followed::Average { mean, variance }
            }
            (RenormVariant::Keras, _, Some(moving_stddev)) => Followed::Stddev {
                mean: batch.mean().clone(),
                stddev,
                moving_stddev: moving_stddev.clone(),
            },
            _ => Followed::Equal {
                mean: wide(&self.mean)?,
                variance: (wide(&self.stddev)?.sqr()? - self.epsilon)?,
            },
        })
    }

    /// Sets the moving variance from the average of stddev: `max(stddev² − ε, 0)`.
    pub(crate) fn set_variance(
        &self,
        moving_stddev: &Var,
        moving_variance: &Var,
        keep: &Tensor,
    ) -> candle::Result<()> {
        let variance = (wide(moving_stddev)?.sqr()? - self.epsilon)?.relu()?;
        assign(moving_variance, &variance, Some(keep))
    }

    /// Replaces the averages, as if these values had gathered all their weight.
    pub(crate) fn overwrite(&self, moments: &Moments) -> candle::Result<()> {
        let stddev = (moments.variance() + self.epsilon)?.sqrt()?;
        assign(&self.mean, moments.mean(), None)?;
        assign(&self.stddev, &stddev, None)?;
        if let Some(moving_stddev) = &self.moving_stddev {
            assign(moving_stddev, &stddev, None)?;
        }
        if let Some((of_mean, of_stddev)) = &self.weights {
            assign(of_mean, &stddev.ones_like()?, None)?;
            assign(of_stddev, &stddev.ones_like()?, None)?;
        }
        Ok(())
    }

    /// The averages with their names.
    pub(crate) fn named(&self) -> Vec<(&'static str, Var)> {
        let mut named =
            vec![("renorm_mean", self.mean.clone()), ("renorm_stddev", self.stddev.clone())];
        if let Some((of_mean, of_stddev)) = &self.weights {
            named.push(("renorm_mean_weight", of_mean.clone()));
            named.push(("renorm_stddev_weight", of_stddev.clone()));
        }
        named.extend(self.moving_stddev.clone().map(|v| ("moving_stddev", v)));
        named
    }
}

/// The moving statistics that renorm starts from.
pub(crate) struct Start<'a> {
    pub(crate) mean: &'a [f64],
    pub(crate) variance: &'a [f64],
    /// They come from a checkpoint, not from the initializers.
    pub(crate) loaded: bool,
}

/// What the moving statistics do with a batch under renorm.
pub(crate) enum Followed {
    /// Average these at the layer's decay, debiased if asked for.
    Average { mean: Tensor, variance: Tensor },
    /// Average the mean and the stddev at the layer's decay.
    Stddev { mean: Tensor, stddev: Tensor, moving_stddev: Var },
    /// Be these.
    Equal { mean: Tensor, variance: Tensor },
}

fn wide(v: &Var) -> candle::Result<Tensor> {
    v.as_detached_tensor().to_dtype(DType::F64)
}
