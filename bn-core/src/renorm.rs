//! Batch renormalization: the per-channel correction (r, d) in its three published variants, its
//! clipping, and the averages it refers to.
//!
//! `x̂ = (x − mean) / stddev · r + d` with `stddev = √(variance + ε)`, `r = stddev / σ`,
//! `d = (mean − μ) / σ`, clipped, and held constant in the gradient. What μ and σ are is where the
//! variants differ: see [`RenormVariant`].

mod host;

use candle::{DType, Tensor, Var};

pub(crate) use host::{ChannelCorrection, HostFollowed, LastCorrection, Reference};

use crate::error::{Error, Result, require};
use crate::moments::Moments;
use crate::moving_average::{assign, move_towards};
use crate::schedule::Schedule;
use crate::variables::{Initializer, Variables};
use crate::weights;

/// Whose batch renormalization. λ is the renorm decay, β the layer's decay.
///
/// | | reference μ, σ | first step | moving statistics |
/// |---|---|---|---|
/// | `Tf1` | averages λ from zero, the unfilled part given to this batch | plain batch norm | averages β of the debiased λ averages |
/// | `Keras` | averages λ from the initial moving statistics, `σ ≥ √ε` | no normalization, unless clipped | averages β of mean and stddev |
/// | `Paper` | averages λ from the initial moving statistics | as `Keras` | the λ averages themselves; β is not used |
///
/// Sources: TensorFlow 1 `tf.layers.BatchNormalization` of 2017; Keras 3 and TensorFlow's present
/// `tf.layers`; Ioffe 2017, Algorithm 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenormVariant {
    /// TensorFlow 1, 2017.
    Tf1,
    /// Keras, and TensorFlow today.
    Keras,
    /// Batch Renormalization, arXiv 1702.03275.
    Paper,
}

/// The lower bound of r.
#[derive(Clone, Debug, PartialEq)]
pub enum RMin {
    /// A bound of its own, in `[0, 1]`.
    Bound(Schedule),
    /// `1 / r_max`, as in the paper.
    InverseOfRMax,
}

/// Bounds of r and d over the steps; a missing one is no bound, in every variant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Clipping {
    /// Lower bound of r. Defaults to none.
    pub r_min: Option<RMin>,
    /// Upper bound of r, 1 or more. Defaults to none.
    pub r_max: Option<Schedule>,
    /// Bound of |d|, 0 or more. Defaults to none.
    pub d_max: Option<Schedule>,
}

impl Clipping {
    /// No bounds.
    pub fn none() -> Self {
        Self::default()
    }

    /// The same bounds at every step.
    pub fn constant(r_min: Option<f64>, r_max: Option<f64>, d_max: Option<f64>) -> Self {
        Self {
            r_min: r_min.map(|bound| RMin::Bound(Schedule::constant(bound))),
            r_max: r_max.map(Schedule::constant),
            d_max: d_max.map(Schedule::constant),
        }
    }

    /// The paper's schedule, scaled from its 130,000 steps to `total_steps`.
    ///
    /// Plain batch norm (r = 1, d = 0) for the first 5/130; then linearly to `r_max` 3 at 40/130 and
    /// `d_max` 5 at 25/130; `r_min = 1 / r_max` throughout.
    pub fn paper(total_steps: u64) -> Self {
        let at = |thousands: u64| (total_steps as f64 * thousands as f64 / 130.0).round() as u64;
        let ramp =
            |from: f64, to: f64, end: u64| Schedule::piecewise([(at(5), from), (at(end), to)]);
        Self {
            r_min: Some(RMin::InverseOfRMax),
            r_max: ramp(1.0, 3.0, 40).ok(),
            d_max: ramp(0.0, 5.0, 25).ok(),
        }
    }

    /// The bounds at one step (a step is an update of the moving statistics).
    pub fn at(&self, step: u64) -> Bounds {
        let r_max = self.r_max.as_ref().map(|schedule| schedule.at(step));
        Bounds {
            r_min: match &self.r_min {
                Some(RMin::Bound(schedule)) => Some(schedule.at(step)),
                Some(RMin::InverseOfRMax) => r_max.map(f64::recip),
                None => None,
            },
            r_max,
            d_max: self.d_max.as_ref().map(|schedule| schedule.at(step)),
        }
    }

    fn check(&self) -> Result<()> {
        if let Some(RMin::Bound(bound)) = &self.r_min {
            bound.require_each("r_min", "0 <= r_min <= 1", |v| (0.0..=1.0).contains(&v))?;
        }
        if let (Some(RMin::InverseOfRMax), None) = (&self.r_min, &self.r_max) {
            return Err(Error::Contradiction {
                first: "r_min = 1 / r_max",
                second: "no r_max",
                reason: "there is nothing to invert",
            });
        }
        if let Some(bound) = &self.r_max {
            bound.require_each("r_max", "r_max >= 1", |v| v >= 1.0)?;
        }
        if let Some(bound) = &self.d_max {
            bound.require_each("d_max", "d_max >= 0", |v| v >= 0.0)?;
        }
        Ok(())
    }
}

/// [`Clipping`] at one step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounds {
    /// Lower bound of r.
    pub r_min: Option<f64>,
    /// Upper bound of r.
    pub r_max: Option<f64>,
    /// Bound of |d|.
    pub d_max: Option<f64>,
}

/// Batch renormalization of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct RenormConfig {
    /// Whose algorithm.
    pub variant: RenormVariant,
    /// λ, the weight of the old value in the averages that r and d refer to; in `[0, 1)`.
    pub decay: f64,
    /// Bounds of r and d.
    pub clipping: Clipping,
}

impl RenormConfig {
    /// A variant with decay 0.99 (the systems' default, and the paper's α = 0.01) and no bounds.
    pub fn new(variant: RenormVariant) -> Self {
        Self {
            variant,
            decay: 0.99,
            clipping: Clipping::none(),
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let in_range = (0.0..1.0).contains(&self.decay);
        require(in_range, "renorm decay", "0 <= decay < 1", self.decay)?;
        self.clipping.check()
    }
}

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
    Ok(a.ne(b)?
        .to_dtype(DType::F64)?
        .mean_all()?
        .to_scalar::<f64>()?)
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
        Ok(Correction {
            r,
            d,
            unclipped_r,
            unclipped_d,
        })
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
        let mut named = vec![
            ("renorm_mean", self.mean.clone()),
            ("renorm_stddev", self.stddev.clone()),
        ];
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
    Stddev {
        mean: Tensor,
        stddev: Tensor,
        moving_stddev: Var,
    },
    /// Be these.
    Equal { mean: Tensor, variance: Tensor },
}

fn wide(v: &Var) -> candle::Result<Tensor> {
    v.as_detached_tensor().to_dtype(DType::F64)
}
