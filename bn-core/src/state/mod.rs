//! A layer's statistics: their variables, commits, and pending updates.
//!
//! One lock per layer makes a commit atomic: no update of another thread is lost, and an evaluation reads
//! mean and variance of the same update. On a CUDA device a commit is a kernel, which nothing waits for; on others the
//! variables are copied to the host and back.

mod build;

use std::sync::{Arc, Mutex, MutexGuard};

use candle::{DType, Tensor, Var};

use crate::channel::{
    Averages, Bounds, Column, Commit, CommitRules, Committed, Moment, Reference, RenormVariant,
    Weight, commit, toward,
};
use crate::config::{BatchNormConfig, StoredVariance, ZeroDebias};
use crate::engine::{DeviceCommit, commit_on_device};
use crate::error::Result;
use crate::moments::Moments;
use crate::tensors::{lock, values, write};

/// Everything of a layer that training changes, except gamma and beta.
#[derive(Debug)]
pub(crate) struct State {
    averages: Averages<Variable>,
    /// Updates that took effect.
    pub(crate) committed: Var,
    rules: Rules,
    ledger: Mutex<Ledger>,
}

/// A variable and its name.
#[derive(Debug)]
pub(crate) struct Variable {
    name: &'static str,
    var: Var,
}

/// The options that decide what a commit does. Layers that share variables must agree in them.
#[derive(Clone, Debug, PartialEq)]
struct Rules {
    commit: CommitRules,
    zero_debias: ZeroDebias,
    renorm: Option<(RenormVariant, f64)>,
}

/// What evaluation passes normalize by, see [`BatchNorm::set_evaluation`](crate::BatchNorm::set_evaluation).
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Evaluation {
    /// The moving statistics.
    #[default]
    Moving,
    /// Those of the batch, by this rank alone. While it is set, training passes are evaluations too, and each
    /// batch's moments are recorded: [`BatchNorm::take_recorded`](crate::BatchNorm::take_recorded).
    Batch,
    /// These, `[C]`.
    Given(Moments),
}

/// A layer's record of its updates.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Updates tried, effective or not: the step of schedules. Unknown before the first; see [`State::step`].
    step: Option<u64>,
    /// How often the averages have been written.
    version: u64,
    pub(crate) pending: Option<Pending>,
    pub(crate) last: Option<LastUpdate>,
    /// What evaluation passes use in place of the moving statistics.
    pub(crate) evaluation: Arc<Evaluation>,
    /// Moments of the batches evaluated by [`Evaluation::Batch`].
    pub(crate) recorded: Vec<Moments>,
    /// The averages were set from a checkpoint or a population.
    loaded: bool,
    evaluated_before_update: bool,
    /// The number of updates, on a device, at the first evaluation after one was tried.
    updates_at_evaluation: Option<Tensor>,
    counts: Counts,
    /// [`Counts`] of updates on a device, in their order.
    on_device: Option<Tensor>,
}

/// What became of the updates since the layer was built.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Updates refused for a non-finite statistic.
    pub(crate) refused: u64,
    /// Updates that took effect.
    pub(crate) committed: u64,
    /// Of those, the ones that left a channel's variance as it was.
    pub(crate) skipped_variance: u64,
    /// `Σa` and `Σa²/n` over the updates, each of weight `a` in the average and worth `n` values.
    gathered: f64,
    squares: f64,
}

/// An update that waits for [`Updates::commit`](crate::Updates::commit).
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    /// Moments of all the batches merged into it.
    pub moments: Moments,
    /// Training forwards merged into it.
    pub forwards: u64,
}

/// The last batch that was committed or refused, and the averages before it.
#[derive(Debug)]
pub(crate) struct LastUpdate {
    pub(crate) batch: Moments,
    /// Without weight.
    pub(crate) moving: Moments,
}

/// A commit whose variables could be read; nothing is written yet.
pub(crate) enum Prepared {
    Host(Box<HostCommit>),
    /// The kernel computes it when it writes.
    Device {
        batch: Moments,
        step: u64,
    },
}

/// A commit that is computed but not yet written.
pub(crate) struct HostCommit {
    averages: Averages,
    committed: Committed,
    last: LastUpdate,
    /// Updates tried, and updates that took effect, before this one.
    step: u64,
    count: f64,
    /// Weight of the batch in the averages.
    rate: f64,
}

impl State {
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    fn read(&self) -> candle::Result<Averages> {
        self.averages.try_map(&Variable::read)
    }

    fn write(&self, ledger: &mut Ledger, averages: &Averages, count: f64) -> candle::Result<()> {
        ledger.version += 1;
        for (variable, column) in self.averages.parts().into_iter().zip(averages.parts()) {
            write(&variable.var, column.values())?;
        }
        write(&self.committed, &[count])
    }

    fn count(&self) -> candle::Result<f64> {
        Ok(values(&self.committed)?[0])
    }

    /// Moving mean and variance of one update.
    pub(crate) fn moving(&self) -> candle::Result<[Vec<f64>; 2]> {
        let _one_update = self.ledger();
        Ok([values(&self.averages.mean.value.var)?, values(&self.averages.variance.value.var)?])
    }

    /// What renorm refers to now, with the bounds of a step.
    pub(crate) fn reference(&self, bounds: impl Fn(u64) -> Bounds) -> candle::Result<Reference> {
        let ledger = self.ledger();
        Ok(Reference {
            averages: self.read()?,
            version: ledger.version,
            bounds: bounds(self.step(&ledger)?),
            epsilon: self.rules.commit.epsilon,
        })
    }

    /// The type of the moving statistics.
    pub(crate) fn dtype(&self) -> DType {
        self.averages.mean.value.var.dtype()
    }

    /// Updates tried so far. Before the first it is the counter among the variables, since a checkpoint may be
    /// loaded into them after the layer was built.
    pub(crate) fn step(&self, ledger: &Ledger) -> candle::Result<u64> {
        match ledger.step {
            Some(step) => Ok(step),
            None => Ok(self.count()? as u64),
        }
    }

    pub(crate) fn set_step(&self, step: u64) {
        self.ledger().step = Some(step);
    }

    /// Records an evaluation by averages that still hold their initial values.
    pub(crate) fn note_evaluation(&self) -> candle::Result<()> {
        let mut ledger = self.ledger();
        if ledger.loaded || ledger.counts.committed > 0 || ledger.evaluated_before_update {
            return Ok(());
        }
        if ledger.on_device.is_none() {
            ledger.evaluated_before_update = self.count()? == 0.0;
        } else if ledger.updates_at_evaluation.is_none() {
            // Whether the update took effect is read when somebody asks.
            ledger.updates_at_evaluation = Some(self.committed.as_detached_tensor().copy()?);
        }
        Ok(())
    }

    /// Updates the averages by one batch, unless one of its statistics is not finite. `reference` is what the
    /// batch was normalized by: read a moment ago, its averages mostly need not be read again.
    pub(crate) fn commit(
        &self,
        batch: Moments,
        reference: Option<Reference>,
    ) -> candle::Result<()> {
        let mut ledger = self.ledger();
        let prepared = self.prepare(&ledger, batch, reference)?;
        self.apply(&mut ledger, prepared)
    }

    /// Computes a commit; nothing has changed yet.
    pub(crate) fn prepare(
        &self,
        ledger: &Ledger,
        batch: Moments,
        reference: Option<Reference>,
    ) -> candle::Result<Prepared> {
        if self.committed.device().is_cuda() {
            return Ok(Prepared::Device { batch, step: self.step(ledger)? });
        }
        let mut averages = match reference {
            Some(reference) if reference.version == ledger.version => reference.averages,
            _ => self.read()?,
        };
        let (count, step) = (self.count()?, self.step(ledger)?);
        let moving = Moment::zip(averages.mean.value.values(), averages.variance.value.values());
        let rate = self.rules.commit.decay.rate(step, count);
        let committed = commit(Commit {
            rules: &self.rules.commit,
            rate,
            weight: batch.common_weight(),
            moments: [&batch.means(), &batch.variances()],
            averages: &mut averages,
        });
        let last = LastUpdate { batch, moving: Moments::from_parts(Weight::default(), moving) };
        Ok(Prepared::Host(Box::new(HostCommit { averages, committed, last, step, count, rate })))
    }

    /// Writes a commit.
    pub(crate) fn apply(&self, ledger: &mut Ledger, prepared: Prepared) -> candle::Result<()> {
        let HostCommit { averages, committed, last, step, count, rate } = match prepared {
            Prepared::Host(commit) => *commit,
            Prepared::Device { batch, step } => return self.apply_on_device(ledger, batch, step),
        };
        ledger.step = Some(step + 1);
        if committed.accepted {
            self.write(ledger, &averages, count + 1.0)?;
            let values = last.batch.common_weight().values();
            let counts = &mut ledger.counts;
            counts.gathered = toward(counts.gathered, 1.0, rate);
            counts.squares = counts.squares * (1.0 - rate) * (1.0 - rate) + rate * rate / values;
            counts.committed += 1;
            counts.skipped_variance += u64::from(committed.skipped_variance);
        } else {
            ledger.counts.refused += 1;
        }
        ledger.last = Some(last);
        Ok(())
    }

    fn apply_on_device(
        &self,
        ledger: &mut Ledger,
        batch: Moments,
        step: u64,
    ) -> candle::Result<()> {
        let device = self.committed.device();
        let counts = match ledger.on_device.take() {
            Some(counts) => counts,
            None => Tensor::zeros(DeviceCommit::COUNTS, DType::F64, device)?,
        };
        let moving = commit_on_device(&DeviceCommit {
            rules: &self.rules.commit,
            averages: &self.tensors(),
            batch: &batch.device_tensor(device)?,
            weight: batch.common_weight(),
            step,
            updates: &self.committed,
            counts: &counts,
        })?;
        ledger.on_device = Some(counts);
        ledger.step = Some(step + 1);
        ledger.version += 1;
        let moving = Moments::on_device(Weight::default(), moving);
        ledger.last = Some(LastUpdate { batch, moving });
        Ok(())
    }

    /// The averages' variables as tensors. Hold the ledger's lock while a device reads them, so that it reads those of
    /// one update.
    pub(crate) fn tensors(&self) -> Averages<Tensor> {
        let tensor = |variable: &Variable| Ok(variable.var.as_detached_tensor());
        match self.averages.try_map::<_, std::convert::Infallible>(&tensor) {
            Ok(tensors) => tensors,
        }
    }

    /// Sets the averages to these values, with all weight gathered; then `more`, by name. `None` keeps the
    /// counter of updates.
    pub(crate) fn overwrite(
        &self,
        mean: &[f64],
        variance: &[f64],
        more: &[(String, Vec<f64>)],
        committed: Option<f64>,
    ) -> candle::Result<()> {
        let mut ledger = self.ledger();
        let mut averages = self.read()?;
        averages.overwrite(mean, variance, self.rules.commit.epsilon);
        if let Some(committed) = committed {
            ledger.step = Some(committed as u64);
        }
        let committed = committed.map_or_else(|| self.count(), Ok)?;
        self.write(&mut ledger, &averages, committed)?;
        for (name, values) in more {
            if let Some(variable) = self.find(name) {
                write(&variable.var, values)?;
            }
        }
        ledger.loaded = true;
        Ok(())
    }

    /// The statistics with their names, in name order.
    pub(crate) fn named(&self) -> Vec<(String, Var)> {
        let named = |variable: &Variable| (variable.name.to_owned(), variable.var.clone());
        let mut all: Vec<_> = self.averages.parts().into_iter().map(named).collect();
        all.push(("updates".to_owned(), self.committed.clone()));
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    fn find(&self, name: &str) -> Option<&Variable> {
        self.averages.parts().into_iter().find(|variable| variable.name == name)
    }

    /// A copy of one of the statistics.
    pub(crate) fn copy_of(&self, which: fn(&Averages<Variable>) -> &Variable) -> Result<Tensor> {
        let _one_update = self.ledger();
        Ok(which(&self.averages).var.as_detached_tensor().copy()?)
    }
}

impl Variable {
    fn read(&self) -> candle::Result<Column> {
        Ok(Column::new(values(&self.var)?, self.var.dtype() == DType::F32))
    }
}

impl Ledger {
    /// Whether an evaluation used averages that still had their initial values; waits for a device.
    pub(crate) fn evaluated_before_update(&self) -> candle::Result<bool> {
        let updates = self.updates_at_evaluation.as_ref().map(values).transpose()?;
        Ok(self.evaluated_before_update || updates.is_some_and(|updates| updates[0] == 0.0))
    }

    /// What became of the updates; waits for a device that has counted them.
    pub(crate) fn counts(&self) -> candle::Result<Counts> {
        let Some(on_device) = &self.on_device else {
            return Ok(self.counts);
        };
        let counts = values(on_device)?;
        Ok(Counts {
            refused: counts[0] as u64,
            committed: counts[1] as u64,
            skipped_variance: counts[2] as u64,
            gathered: counts[3],
            squares: counts[4],
        })
    }
}

impl Counts {
    /// The effective number of values per channel in the average: `(Σa)² / Σ(a²/n)`.
    pub(crate) fn effective_sample_size(&self) -> f64 {
        if self.squares > 0.0 { self.gathered * self.gathered / self.squares } else { 0.0 }
    }
}

impl Rules {
    fn of(config: &BatchNormConfig) -> Self {
        let unbiased = config.stored_variance == StoredVariance::Unbiased;
        Self {
            commit: CommitRules {
                decay: config.decay.clone(),
                unbiased_by: unbiased.then_some(config.weight_kind),
                degenerate: config.degenerate,
                epsilon: config.epsilon,
            },
            zero_debias: config.zero_debias,
            renorm: config.renorm.as_ref().map(|renorm| (renorm.variant, renorm.decay)),
        }
    }
}
