//! A layer's statistics: the moving averages, how one committed batch moves them, and what is pending.
//!
//! A commit reads nothing back from the device: a non-finite statistic is kept out by a select there,
//! and the counts of committed and refused updates live there too.

mod host;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use candle::{DType, Tensor, Var};

use crate::config::{BatchNormConfig, Policy, StoredVariance};
use crate::error::Result;
use crate::health::Spread;
use crate::moments::{Moments, WeightKind};
use crate::moving_average::{Average, Debias, Decay, assign, move_towards};
use crate::renorm::{Followed, RenormState, Start};
use crate::variables::{Initializer, Variables};

const UNKNOWN_STEP: u64 = u64::MAX;

/// Everything of a layer that training changes, except gamma and beta.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) mean: Average,
    pub(crate) variance: Average,
    pub(crate) renorm: Option<RenormState>,
    /// Updates that took effect, `[1]` in f64.
    pub(crate) committed: Var,
    /// Updates refused for a non-finite statistic, `[1]` in f64.
    pub(crate) refused: Var,
    /// Updates tried, whether they took effect or not: the step that schedules go by. See [`State::step`].
    step: AtomicU64,
    pub(crate) pending: Mutex<Option<Pending>>,
    pub(crate) spread: Spread,
    pub(crate) last_batch: Mutex<Option<Moments>>,
    pub(crate) evaluated_before_update: AtomicBool,
    /// While population statistics are taken: the moments of each call.
    pub(crate) recorded: Mutex<Option<Vec<Moments>>>,
    /// The averages hold data that did not come by updates: a checkpoint's, or a population's.
    pub(crate) loaded: AtomicBool,
    rules: Rules,
}

/// What a commit needs of the configuration.
#[derive(Debug)]
struct Rules {
    decay: Decay,
    stored: StoredVariance,
    kind: WeightKind,
    one_value: Policy,
    constant_channel: Policy,
}

/// An update that waits for its commit.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) moments: Moments,
    /// Training forwards merged into it.
    pub(crate) forwards: u64,
}

impl State {
    pub(crate) fn build(config: &BatchNormConfig, variables: &Variables<'_>) -> Result<Self> {
        let mean = variables.required("moving_mean", &config.moving_mean_initializer)?;
        let variance =
            variables.required("moving_variance", &config.moving_variance_initializer)?;
        let committed = variables.optional("updates", 1, DType::F64, &Initializer::ZEROS)?;
        let count = committed.var.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?[0];
        // Averages that were there before this layer hold data, unless they are those of a layer that
        // was never updated.
        let loaded = mean.existed && !(committed.existed && count == 0.0);
        let debias = |on: bool, name: &str, value: &Var| -> Result<Option<Debias>> {
            if !on {
                return Ok(None);
            }
            let filled = if loaded { 1.0 } else { 0.0 };
            let values = match loaded {
                true => Initializer::Values(host(value)?),
                false => Initializer::ZEROS,
            };
            let weight = Initializer::Constant(filled);
            Ok(Some(Debias {
                biased: variables.optional_per_channel(&format!("{name}_biased"), &values)?.var,
                weight: variables.optional_per_channel(&format!("{name}_weight"), &weight)?.var,
            }))
        };
        let renorm = match &config.renorm {
            Some(renorm) => {
                let start =
                    Start { mean: &host(&mean.var)?, variance: &host(&variance.var)?, loaded };
                Some(RenormState::build(renorm, config.epsilon, variables, start)?)
            }
            None => None,
        };
        let device = variables.vb().device();
        Ok(Self {
            mean: Average {
                debias: debias(config.zero_debias.of_mean(), "moving_mean", &mean.var)?,
                value: mean.var,
            },
            variance: Average {
                debias: debias(config.zero_debias.of_variance(), "moving_variance", &variance.var)?,
                value: variance.var,
            },
            renorm,
            committed: committed.var,
            refused: Var::zeros(1, DType::F64, device)?,
            step: AtomicU64::new(UNKNOWN_STEP),
            pending: Mutex::new(None),
            spread: Spread::new(device)?,
            last_batch: Mutex::new(None),
            evaluated_before_update: AtomicBool::new(false),
            recorded: Mutex::new(None),
            loaded: AtomicBool::new(loaded),
            rules: Rules {
                decay: config.decay.clone(),
                stored: config.stored_variance,
                kind: config.weight_kind,
                one_value: config.degenerate.one_value,
                constant_channel: config.degenerate.constant_channel,
            },
        })
    }

    /// Updates tried before the next one. Until the first of this layer it is the count among the
    /// variables, read then: a checkpoint may be loaded into them after the layer was built.
    pub(crate) fn step(&self) -> candle::Result<u64> {
        match self.step.load(Relaxed) {
            UNKNOWN_STEP => Ok(host(&self.committed)?[0] as u64),
            known => Ok(known),
        }
    }

    pub(crate) fn set_step(&self, step: u64) {
        self.step.store(step, Relaxed);
    }

    /// Whether the averages hold the initial values still.
    pub(crate) fn is_fresh(&self) -> candle::Result<bool> {
        if self.loaded.load(Relaxed) {
            return Ok(false);
        }
        let fresh = self.step()? == 0;
        if !fresh {
            self.loaded.store(true, Relaxed); // not to be asked again
        }
        Ok(fresh)
    }

    /// Moves the averages by one batch, unless one of its statistics is not finite.
    pub(crate) fn commit(&self, batch: &Moments) -> candle::Result<()> {
        match self.commit_on_host(batch) {
            Some(done) => done,
            None => self.commit_by_ops(batch),
        }
    }

    /// The commit in plain tensor ops, on any device.
    fn commit_by_ops(&self, batch: &Moments) -> candle::Result<()> {
        let step = self.step()?;
        self.set_step(step + 1);
        let rate = self.rules.decay.rate(step, &self.committed.as_detached_tensor())?;
        let keep = self.keep(batch)?;
        let (mean, variance) = (&keep.mean, &keep.variance);
        match &self.renorm {
            None => {
                let stored = self.stored_variance(batch)?;
                self.mean.update(batch.mean(), &rate, Some(mean))?;
                self.variance.update(&stored, &rate, Some(variance))?;
            }
            Some(renorm) => {
                self.follow(renorm, renorm.update(batch, mean, variance)?, &rate, &keep)?
            }
        }
        let accepted = keep.mean.to_dtype(DType::F64)?;
        self.spread.update(batch, &rate, &keep.mean)?;
        let committed = self.committed.as_detached_tensor();
        self.committed.set(&(&committed + accepted.to_dtype(committed.dtype())?)?)?;
        let refused = self.refused.as_detached_tensor();
        self.refused.set(&(&refused + accepted.affine(-1.0, 1.0)?)?)
    }

    fn follow(
        &self,
        renorm: &RenormState,
        followed: Followed,
        rate: &Tensor,
        keep: &Keep,
    ) -> candle::Result<()> {
        match followed {
            Followed::Average { mean, variance } => {
                self.mean.update(&mean, rate, Some(&keep.mean))?;
                self.variance.update(&variance, rate, Some(&keep.variance))
            }
            Followed::Stddev { mean, stddev, moving_stddev } => {
                self.mean.update(&mean, rate, Some(&keep.mean))?;
                move_towards(&moving_stddev, &stddev, rate, Some(&keep.variance))?;
                renorm.set_variance(&moving_stddev, &self.variance.value, &keep.variance)
            }
            Followed::Equal { mean, variance } => {
                assign(&self.mean.value, &mean, Some(&keep.mean))?;
                assign(&self.variance.value, &variance, Some(&keep.variance))
            }
        }
    }

    fn stored_variance(&self, batch: &Moments) -> Result<Tensor, candle::Error> {
        match self.rules.stored {
            StoredVariance::Biased => Ok(batch.variance().clone()),
            StoredVariance::Unbiased => {
                batch.unbiased_variance(self.rules.kind).map_err(candle::Error::from)
            }
        }
    }

    /// Which of the averages this batch may move.
    fn keep(&self, batch: &Moments) -> candle::Result<Keep> {
        let variance = batch.variance();
        // As the averages will hold them: f32 has no place for the variance of values of 1e20.
        let held = |t: &Tensor| t.to_dtype(self.mean.value.dtype())?.to_dtype(DType::F64);
        let (mean, stored) = (held(batch.mean())?, held(&self.stored_variance(batch)?)?);
        // v · 0 is 0 for finite numbers and NaN for all others, and a sum keeps NaN.
        let residue = ((mean * 0.0)? + (stored * 0.0)?)?.sum_all()?.reshape(1)?;
        let has_weight = batch.weight().narrow(0, 0, 1)?.gt(0.0)?;
        let accepted = (residue.eq(0.0)? * has_weight)?;
        let mut of_variance = accepted.broadcast_as(variance.dims())?.contiguous()?;
        if self.rules.one_value != Policy::Accept {
            // Σw = 1 value's worth: W² = Σw². Rounding leaves W² a little off, hence the margin.
            let more = batch.weight().sqr()?.gt(&(batch.squared_weight() * (1.0 + 1e-12))?)?;
            of_variance = (of_variance * more)?;
        }
        if self.rules.stored == StoredVariance::Unbiased && self.rules.kind == WeightKind::Frequency
        {
            of_variance = (of_variance * batch.weight().gt(1.0)?)?;
        }
        if matches!(self.rules.constant_channel, Policy::SkipVarianceUpdate | Policy::UseMoving) {
            of_variance = (of_variance * variance.gt(0.0)?)?;
        }
        Ok(Keep { mean: accepted, variance: of_variance })
    }

    /// Replaces the averages, as if these values had gathered all their weight.
    pub(crate) fn overwrite(&self, moments: &Moments) -> candle::Result<()> {
        for (average, new) in [(&self.mean, moments.mean()), (&self.variance, moments.variance())] {
            assign(&average.value, new, None)?;
            if let Some(debias) = &average.debias {
                assign(&debias.biased, new, None)?;
                assign(&debias.weight, &new.ones_like()?, None)?;
            }
        }
        self.loaded.store(true, Relaxed);
        match &self.renorm {
            Some(renorm) => renorm.overwrite(moments),
            None => Ok(()),
        }
    }

    /// The statistics with their names, in name order.
    pub(crate) fn named(&self) -> Vec<(String, Var)> {
        let mut named = vec![
            ("moving_mean", self.mean.value.clone()),
            ("moving_variance", self.variance.value.clone()),
            ("updates", self.committed.clone()),
        ];
        if let Some(debias) = &self.mean.debias {
            named.push(("moving_mean_biased", debias.biased.clone()));
            named.push(("moving_mean_weight", debias.weight.clone()));
        }
        if let Some(debias) = &self.variance.debias {
            named.push(("moving_variance_biased", debias.biased.clone()));
            named.push(("moving_variance_weight", debias.weight.clone()));
        }
        named.extend(self.renorm.iter().flat_map(RenormState::named));
        named.sort_by_key(|(name, _)| *name);
        named.into_iter().map(|(name, var)| (name.to_owned(), var)).collect()
    }
}

/// Selections (u8) of what a commit may move: the mean's `[1]`, the variance's `[C]`.
struct Keep {
    mean: Tensor,
    variance: Tensor,
}

fn host(v: &Var) -> candle::Result<Vec<f64>> {
    v.as_detached_tensor().to_dtype(DType::F64)?.to_vec1::<f64>()
}
