//! A layer's statistics: the variables that hold them, how a committed batch moves them, and what is
//! pending.
//!
//! One lock per layer makes a commit atomic: no update of another thread is lost, and an evaluation reads
//! mean and variance of the same update. The values of variables on another device travel to the host and
//! back in a commit.

use std::sync::{Arc, Mutex, MutexGuard, Weak};

use candle::{DType, Tensor, TensorId, Var};

use crate::channel::{
    Average, Averages, Column, CommitRules, Committed, Debias, Moment, RenormAverages,
    RenormVariant, commit, toward,
};
use crate::config::{BatchNormConfig, Initializer, StoredVariance};
use crate::error::{Error, Result};
use crate::moments::Moments;
use crate::tensors::{lock, values, write};
use crate::variables::Variables;

/// Everything of a layer that training changes, except gamma and beta.
#[derive(Debug)]
pub(crate) struct State {
    /// Variables by name, in the order of [`Averages::columns`].
    variables: Vec<(&'static str, Var)>,
    /// Updates that took effect.
    pub(crate) committed: Var,
    rules: Rules,
    ledger: Mutex<Ledger>,
}

/// The options that decide what a commit does. Layers that share variables must agree in them.
#[derive(Clone, Debug, PartialEq)]
struct Rules {
    commit: CommitRules,
    debias: [bool; 2],
    renorm: Option<(RenormVariant, f64)>,
}

/// What a layer knows of its updates, apart from the variables.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Updates tried, whether they took effect or not: the step that schedules go by. Unknown until the
    /// first one; see [`State::step`].
    step: Option<u64>,
    pub(crate) pending: Option<Pending>,
    pub(crate) last: Option<LastUpdate>,
    /// While population statistics are taken: the moments of each call.
    pub(crate) recorded: Option<Vec<Moments>>,
    /// The averages hold data that did not come by updates: a checkpoint's, or a population's.
    loaded: bool,
    pub(crate) evaluated_before_update: bool,
    /// Updates refused for a non-finite statistic.
    pub(crate) refused: u64,
    /// Updates that took effect since the layer was built.
    pub(crate) committed_here: u64,
    /// Of those, the ones that left a channel's variance as it was.
    pub(crate) skipped_variance: u64,
    /// `Σa` and `Σa²/n` over the updates, each of weight `a` in the average and worth `n` values.
    gathered: f64,
    squares: f64,
}

/// An update that waits for its commit.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) moments: Moments,
    /// Training forwards merged into it.
    pub(crate) forwards: u64,
}

/// The last batch that was committed or refused, and the averages before it.
#[derive(Debug)]
pub(crate) struct LastUpdate {
    pub(crate) batch: Moments,
    pub(crate) moving: Vec<Moment>,
}

/// A commit that is computed but not yet written.
pub(crate) struct Prepared {
    averages: Averages,
    committed: Committed,
    last: LastUpdate,
    step: u64,
}

/// States of layers whose variables may be asked for again under the same prefix.
static SHARED: Mutex<Vec<(TensorId, Weak<State>)>> = Mutex::new(Vec::new());

impl State {
    /// The state of the layer whose variables these are: that of another layer with the same variables,
    /// where there is one.
    pub(crate) fn build(config: &BatchNormConfig, variables: &Variables<'_>) -> Result<Arc<Self>> {
        let mean = variables.required("moving_mean", &config.moving_mean_initializer)?;
        let variance =
            variables.required("moving_variance", &config.moving_variance_initializer)?;
        let rules = Rules::of(config);
        let mut shared = lock(&SHARED);
        shared.retain(|(_, state)| state.strong_count() > 0);
        let known = shared.iter().find(|(id, _)| *id == mean.var.id());
        if let Some(state) = known.and_then(|(_, state)| state.upgrade()) {
            if state.rules != rules {
                return Err(Error::Contradiction {
                    op: "build".into(),
                    first: "a layer on the same variables",
                    second: "other options for their updates",
                    reason: "decay, epsilon, zero_debias, stored_variance, renorm and degenerate must be equal",
                });
            }
            return Ok(state);
        }
        let committed = variables.counter()?;
        // Averages that were there before this layer hold data, unless they are those of a layer that
        // was never updated.
        let count = values(&committed.var)?[0];
        let loaded = mean.existed && !(committed.existed && count == 0.0);
        let mut named = Named { variables, loaded, named: Vec::new() };
        let (means, variances) = (values(&mean.var)?, values(&variance.var)?);
        let [of_mean, of_variance] = rules.debias;
        named.average("moving_mean", mean.var, of_mean.then_some(DEBIAS_MEAN), &means)?;
        named.average(
            "moving_variance",
            variance.var,
            of_variance.then_some(DEBIAS_VARIANCE),
            &variances,
        )?;
        if let Some((variant, _)) = rules.renorm {
            named.renorm(variant, &means, &variances, config.epsilon)?;
        }
        let state = Arc::new(Self {
            variables: named.named,
            committed: committed.var,
            rules,
            ledger: Mutex::new(Ledger { loaded, ..Ledger::default() }),
        });
        shared.push((state.variables[0].1.id(), Arc::downgrade(&state)));
        Ok(state)
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    /// The variables' values.
    fn read(&self) -> candle::Result<Averages> {
        let mut columns = columns(&self.variables)?;
        let [of_mean, of_variance] = self.rules.debias;
        let mean = average(&mut columns, of_mean);
        let variance = average(&mut columns, of_variance);
        let renorm = match self.rules.renorm {
            Some(rule) => renorm(&mut columns, rule).map(Some),
            None => Some(None),
        };
        let committed = values(&self.committed)?[0];
        match (mean, variance, renorm) {
            (Some(mean), Some(variance), Some(renorm)) => {
                Ok(Averages { mean, variance, renorm, committed })
            }
            _ => candle::bail!("a statistic is missing"),
        }
    }

    fn write(&self, averages: &Averages) -> candle::Result<()> {
        for ((_, var), column) in self.variables.iter().zip(averages.columns()) {
            write(var, column.values())?;
        }
        write(&self.committed, &[averages.committed])
    }

    /// Moving mean and variance of one update.
    pub(crate) fn moving(&self) -> candle::Result<[Vec<f64>; 2]> {
        let _whole = self.ledger();
        Ok([values(self.mean())?, values(self.variance())?])
    }

    /// The averages that renorm refers to, and the step of its bounds.
    pub(crate) fn renorm(&self) -> candle::Result<Option<(RenormAverages, u64)>> {
        let Some(rule) = self.rules.renorm else {
            return Ok(None);
        };
        let ledger = self.ledger();
        let before = 2 + self.rules.debias.map(|on| if on { 2 } else { 0 }).iter().sum::<usize>();
        let averages = renorm(&mut columns(&self.variables[before..])?, rule);
        Ok(averages.zip(Some(self.step(&ledger)?)))
    }

    pub(crate) fn mean(&self) -> &Var {
        &self.variables[0].1
    }

    pub(crate) fn variance(&self) -> &Var {
        &self.variables[if self.rules.debias[0] { 3 } else { 1 }].1
    }

    /// Updates tried before the next one. Until the first one it is the count among the variables, read
    /// then: a checkpoint may be loaded into them after the layer was built.
    pub(crate) fn step(&self, ledger: &Ledger) -> candle::Result<u64> {
        match ledger.step {
            Some(step) => Ok(step),
            None => Ok(values(&self.committed)?[0] as u64),
        }
    }

    pub(crate) fn set_step(&self, step: u64) {
        self.ledger().step = Some(step);
    }

    /// Notes an evaluation by averages that still hold their initial values.
    pub(crate) fn note_evaluation(&self) -> candle::Result<()> {
        let mut ledger = self.ledger();
        if !ledger.loaded && ledger.committed_here == 0 && !ledger.evaluated_before_update {
            ledger.evaluated_before_update = values(&self.committed)?[0] == 0.0;
        }
        Ok(())
    }

    /// Moves the averages by one batch, unless one of its statistics is not finite.
    pub(crate) fn commit(&self, batch: Moments) -> candle::Result<()> {
        let mut ledger = self.ledger();
        let prepared = self.prepare(&ledger, batch)?;
        self.apply(&mut ledger, prepared)
    }

    /// Computes a commit; nothing has changed yet.
    pub(crate) fn prepare(&self, ledger: &Ledger, batch: Moments) -> candle::Result<Prepared> {
        let mut averages = self.read()?;
        let old = averages.mean.value.values().iter().zip(averages.variance.value.values());
        let moving = old.map(|(mean, variance)| Moment { mean: *mean, variance: *variance });
        let last = LastUpdate { moving: moving.collect(), batch };
        let step = self.step(ledger)?;
        let committed = commit(
            &self.rules.commit,
            step,
            last.batch.common_weight(),
            [&last.batch.means(), &last.batch.variances()],
            &mut averages,
        );
        Ok(Prepared { averages, committed, last, step })
    }

    /// Writes a commit.
    pub(crate) fn apply(&self, ledger: &mut Ledger, prepared: Prepared) -> candle::Result<()> {
        let Prepared { averages, committed, last, step } = prepared;
        ledger.step = Some(step + 1);
        if committed.accepted {
            self.write(&averages)?;
            let (rate, values) = (committed.rate, last.batch.common_weight().values());
            ledger.gathered = toward(ledger.gathered, 1.0, rate);
            ledger.squares = ledger.squares * (1.0 - rate) * (1.0 - rate) + rate * rate / values;
            ledger.committed_here += 1;
            ledger.skipped_variance += u64::from(committed.skipped_variance);
        } else {
            ledger.refused += 1;
        }
        ledger.last = Some(last);
        Ok(())
    }

    /// Replaces the averages, as if these values had gathered all their weight; then `more` by name. The
    /// counter of updates stays, unless `committed` replaces it.
    pub(crate) fn overwrite(
        &self,
        mean: &[f64],
        variance: &[f64],
        more: &[(&str, Vec<f64>)],
        committed: Option<f64>,
    ) -> candle::Result<()> {
        let mut ledger = self.ledger();
        let mut averages = self.read()?;
        averages.overwrite(mean, variance, self.rules.commit.epsilon);
        if let Some(committed) = committed {
            averages.committed = committed;
            ledger.step = Some(committed as u64);
        }
        self.write(&averages)?;
        for (name, values) in more {
            if let Some((_, var)) = self.variables.iter().find(|(known, _)| known == name) {
                write(var, values)?;
            }
        }
        ledger.loaded = true;
        Ok(())
    }

    /// The statistics with their names, in name order.
    pub(crate) fn named(&self) -> Vec<(String, Var)> {
        let own = self.variables.iter().map(|(name, var)| ((*name).to_owned(), var.clone()));
        let mut named: Vec<_> = own.collect();
        named.push(("updates".to_owned(), self.committed.clone()));
        named.sort_by(|(a, _), (b, _)| a.cmp(b));
        named
    }

    /// A copy of one of the statistics.
    pub(crate) fn copy_of(&self, name: &str) -> candle::Result<Option<Tensor>> {
        let _whole = self.ledger();
        let found = self.variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, var)| var.as_detached_tensor().copy()).transpose()
    }
}

impl Ledger {
    /// Values per channel that the average is worth: `(Σa)² / Σ(a²/n)`.
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
            debias: [config.zero_debias.of_mean(), config.zero_debias.of_variance()],
            renorm: config.renorm.as_ref().map(|renorm| (renorm.variant, renorm.decay)),
        }
    }
}

fn columns(of: &[(&str, Var)]) -> candle::Result<impl Iterator<Item = Column> + use<>> {
    let column = |(_, var): &(&str, Var)| Ok(Column::new(values(var)?, var.dtype() == DType::F32));
    Ok(of.iter().map(column).collect::<candle::Result<Vec<_>>>()?.into_iter())
}

fn average(columns: &mut impl Iterator<Item = Column>, debias: bool) -> Option<Average> {
    let value = columns.next()?;
    if !debias {
        return Some(Average { value, debias: None });
    }
    let debias = Some(Debias { biased: columns.next()?, weight: columns.next()? });
    Some(Average { value, debias })
}

fn renorm(
    columns: &mut impl Iterator<Item = Column>,
    (variant, decay): (RenormVariant, f64),
) -> Option<RenormAverages> {
    let (mean, stddev) = (columns.next()?, columns.next()?);
    let (mut weights, mut moving_stddev) = (None, None);
    match variant {
        RenormVariant::Tf1 => weights = Some([columns.next()?, columns.next()?]),
        RenormVariant::Keras => moving_stddev = Some(columns.next()?),
        RenormVariant::Paper => {}
    }
    Some(RenormAverages { variant, mean, stddev, weights, moving_stddev, decay })
}

const DEBIAS_MEAN: [&str; 2] = ["moving_mean_biased", "moving_mean_weight"];
const DEBIAS_VARIANCE: [&str; 2] = ["moving_variance_biased", "moving_variance_weight"];

/// The variables of a state being collected.
struct Named<'a> {
    variables: &'a Variables<'a>,
    /// The moving statistics come from a checkpoint: missing state starts from them.
    loaded: bool,
    named: Vec<(&'static str, Var)>,
}

impl Named<'_> {
    fn add(&mut self, name: &'static str, initial: &Initializer) -> Result<()> {
        self.named.push((name, self.variables.optional(name, initial)?));
        Ok(())
    }

    fn average(
        &mut self,
        name: &'static str,
        value: Var,
        debias: Option<[&'static str; 2]>,
        values: &[f64],
    ) -> Result<()> {
        self.named.push((name, value));
        let Some([biased, weight]) = debias else {
            return Ok(());
        };
        let sum =
            if self.loaded { Initializer::Values(values.to_vec()) } else { Initializer::ZEROS };
        self.add(biased, &sum)?;
        self.add(weight, &Initializer::Constant(if self.loaded { 1.0 } else { 0.0 }))
    }

    fn renorm(
        &mut self,
        variant: RenormVariant,
        means: &[f64],
        variances: &[f64],
        epsilon: f64,
    ) -> Result<()> {
        // TensorFlow starts the stddev at the root of the initial variance, without ε.
        let added = if self.loaded { epsilon } else { 0.0 };
        let root = |v: &f64| (v + added).max(0.0).sqrt();
        let mean = Initializer::Values(means.to_vec());
        let stddev = Initializer::Values(variances.iter().map(root).collect());
        if variant == RenormVariant::Tf1 {
            let from_zero = !self.loaded;
            let pick = |v: Initializer| if from_zero { Initializer::ZEROS } else { v };
            let weight = Initializer::Constant(if from_zero { 0.0 } else { 1.0 });
            self.add("renorm_mean", &pick(mean))?;
            self.add("renorm_stddev", &pick(stddev))?;
            self.add("renorm_mean_weight", &weight)?;
            return self.add("renorm_stddev_weight", &weight);
        }
        self.add("renorm_mean", &mean)?;
        self.add("renorm_stddev", &stddev)?;
        if variant == RenormVariant::Keras {
            self.add("moving_stddev", &stddev)?;
        }
        Ok(())
    }
}
