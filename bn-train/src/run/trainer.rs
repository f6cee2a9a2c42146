//! Networks in training, with the complete state that the next step depends on.
//!
//! `k` steps, [`Trainer::state`], [`Trainer::load`] into a new trainer and `k` more steps equal `2k` steps bitwise. The
//! order of examples and all random draws follow from the seed and the step, so only the step is saved. This module opens
//! no files, and its only clock measures the wait for batches.

use super::device_data::DeviceData;
use super::divergence::first_not_finite;
use super::pending::Pending;
use super::probe::LayerProbe;
use super::recent::Recent;
use super::shadow::Shadows;
use crate::data::{Batch, Loader};
use crate::experiment::Settings;
use crate::model::{Gradients, Observer, parameters};
use crate::optimizer::{AveragedStatistics, Optimizer, WeightAverage};
use crate::schedule::LearningRate;
use crate::state::{State, StateError};
use crate::task::{Learned, MODEL, Networks, Scores, Turn};
use bn_core::Updates;
use bn_report::schema::LayerRow;
use candle::Result;
use std::time::{Duration, Instant};

/// Networks in training. A step updates each of them in turn.
#[derive(Debug)]
pub struct Trainer {
    networks: Networks,
    /// One optimizer per network.
    optimizers: Vec<Box<dyn Optimizer>>,
    rate: LearningRate,
    seed: u64,
    data: DeviceData,
    loader: Loader,
    waited: Duration,
    updates_per_epoch: u64,
    batch_size: usize,
    /// Number of parts of a batch, each with its own forward and backward pass.
    accumulate: usize,
    /// The step after which moving statistics are frozen.
    freeze_after: Option<u64>,
    average: Option<WeightAverage>,
    shadows: Shadows,
    /// Every how many steps a [`LayerProbe`] observes one.
    layers_every: Option<u64>,
    layer_rows: Vec<LayerRow>,
    /// Steps done, the pending ones included.
    step: u64,
    recent: Recent,
    pending: Pending,
}

/// The outcome of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum StepOutcome {
    /// The networks were updated. Holds the batch's scores before the update, in the order of
    /// [`Task::training_metrics`](crate::task::Task::training_metrics).
    Updated(Vec<f64>),
    /// The device still computes the step. [`Trainer::settle`] waits for it.
    Pending,
    /// A loss is not finite. Its network was not updated, and the trainer cannot continue.
    Diverged {
        /// Scores of the batch; NaN for networks after the one that diverged.
        scores: Vec<f64>,
        /// The first layer whose output is not finite; `None` if all outputs are finite.
        layer: Option<String>,
    },
}

impl Trainer {
    /// Builds the untrained networks of `settings` for `data`.
    ///
    /// # Errors
    /// Errors of candle or the norm layers, for example too little memory on the device.
    pub fn new(settings: &Settings, seed: u64, data: &DeviceData) -> Result<Self> {
        let networks = data.networks(settings, seed)?;
        let average = match &settings.average {
            None => None,
            Some(settings) => {
                let mut averaged = networks.trainable();
                if settings.statistics == AveragedStatistics::Averaged {
                    averaged.extend(networks.moving_statistics());
                }
                Some(WeightAverage::new(settings.decay, averaged)?)
            }
        };
        let build =
            |model: &crate::model::Model| settings.optimizer.build(parameters(model.layers()));
        Ok(Self {
            optimizers: networks.models().iter().map(build).collect::<Result<_>>()?,
            rate: settings.rate(),
            seed,
            loader: data.loader(settings, seed)?,
            waited: Duration::ZERO,
            updates_per_epoch: settings.train.length.per_epoch,
            batch_size: settings.train.batch_size,
            accumulate: settings.train.accumulate,
            data: data.clone(),
            freeze_after: settings.norm.as_ref().and_then(|norm| norm.freeze_after),
            average,
            shadows: Shadows::new(networks.evaluated(), &settings.probes.shadows)?,
            layers_every: settings.output.layers_every,
            layer_rows: Vec::new(),
            step: 0,
            recent: Recent::new(networks.task().training_metrics()),
            pending: Pending::default(),
            networks,
        })
    }

    /// The networks.
    pub fn networks(&self) -> &Networks {
        &self.networks
    }

    /// The average of the weights, if enabled.
    pub fn average(&self) -> Option<&WeightAverage> {
        self.average.as_ref()
    }

    /// The shadow averages of the evaluated network's moving statistics.
    pub fn shadows(&self) -> &Shadows {
        &self.shadows
    }

    /// Takes the layer probe's rows of the last step; empty if it was not probed.
    pub fn take_layer_rows(&mut self) -> Vec<LayerRow> {
        std::mem::take(&mut self.layer_rows)
    }

    /// Steps done.
    pub fn updates(&self) -> u64 {
        self.step
    }

    /// Complete epochs.
    pub fn epochs(&self) -> u64 {
        self.step / self.updates_per_epoch
    }

    /// Training examples seen.
    pub fn examples(&self) -> u64 {
        self.step * self.batch_size as u64
    }

    /// Total time spent waiting for batches, including their transfer to the device.
    pub fn waited_for_batches(&self) -> Duration {
        self.waited
    }

    /// Mean training scores since the last call; `None` if there was no step. Pending steps count once they are settled.
    pub fn take_recent(&mut self) -> Option<Vec<f64>> {
        self.recent.take()
    }

    /// Updates every network with the next batch.
    ///
    /// If the task leaves scores on a device, the host does not wait for it, unless the step is probed or many are pending. A
    /// step after one that diverged then changes no weight, and [`Trainer::settle`] reports the first.
    ///
    /// # Errors
    /// Errors of candle or the norm layers.
    pub fn step(&mut self) -> Result<StepOutcome> {
        if self.freeze_after == Some(self.step) {
            self.networks.freeze();
        }
        let asked = Instant::now();
        let batch = self.data.batch(self.loader.batch(self.step)?)?;
        self.waited += asked.elapsed();
        let rate = self.rate.at(self.step);
        let mut scores = Vec::new();
        for network in 0..self.networks.models().len() {
            let Learned { scores: own, gradients } = self.learn(network, &batch)?;
            let diverges = own.are_known_to_diverge();
            let watch = match &own {
                Scores::Known(_) => None,
                Scores::OnDevice(values) => Some(self.pending.watch(values)?),
            };
            scores.push(own);
            if diverges {
                return self.diverged(&scores, &batch);
            }
            let optimizer = &mut self.optimizers[network];
            match watch {
                None => optimizer.step(&gradients, rate)?,
                Some(watch) => optimizer.step_while_finite(&gradients, rate, &watch)?,
            }
        }
        self.shadows.follow(self.networks.evaluated())?;
        if let Some(average) = &mut self.average {
            average.update()?;
        }
        let is_probed = self.is_probed();
        self.step += 1;
        self.count(&scores, is_probed)
    }

    /// Whether a probe observes the next step.
    fn is_probed(&self) -> bool {
        self.layers_every.is_some_and(|every| (self.step + 1).is_multiple_of(every))
    }

    /// Adds a step's scores to the recent ones, or to the pending ones.
    fn count(&mut self, networks: &[Scores], is_probed: bool) -> Result<StepOutcome> {
        if networks.iter().any(|scores| matches!(scores, Scores::OnDevice(_))) {
            self.pending.push(networks)?;
            // The probe has waited for the device already.
            let settles = self.pending.is_full() || is_probed;
            let settled = if settles { self.settle()? } else { None };
            return Ok(settled.unwrap_or(StepOutcome::Pending));
        }
        let scores = known(networks)?;
        self.recent.add(&scores);
        Ok(StepOutcome::Updated(scores))
    }

    /// Waits for the pending steps: the outcome of the last one, or of the first one that diverged. `None` if none is pending.
    ///
    /// # Errors
    /// Errors of candle or the norm layers.
    pub fn settle(&mut self) -> Result<Option<StepOutcome>> {
        let mut last = None;
        let pending = self.pending.take()?;
        let first = self.step - pending.len() as u64;
        for (step, networks) in (first..).zip(pending) {
            let diverges = |scores: &Vec<f64>| scores.iter().any(|score| !score.is_finite());
            let Some(network) = networks.iter().position(diverges) else {
                let scores = networks.concat();
                self.recent.add(&scores);
                last = Some(StepOutcome::Updated(scores));
                continue;
            };
            // Later steps changed no weight, so the step can be looked at now.
            self.step = step;
            self.layer_rows.retain(|row| row.step <= step + 1);
            let batch = self.data.batch(self.loader.batch(step)?)?;
            let scores: Vec<_> =
                networks.into_iter().take(network + 1).map(Scores::Known).collect();
            return self.diverged(&scores, &batch).map(Some);
        }
        Ok(last)
    }

    /// The outcome of a step that diverged in the last of these networks.
    fn diverged(&mut self, networks: &[Scores], batch: &Batch) -> Result<StepOutcome> {
        if !self.pending.is_empty()
            && let Some(earlier @ StepOutcome::Diverged { .. }) = self.settle()?
        {
            return Ok(earlier);
        }
        let mut scores = known(networks)?;
        scores.resize(self.networks.task().training_metrics().len(), f64::NAN);
        let layer = first_not_finite(&self.networks, &batch.images)?;
        Ok(StepOutcome::Diverged { scores, layer })
    }

    /// Computes scores and gradients of one network, with a probe if one is due.
    fn learn(&mut self, network: usize, batch: &Batch) -> Result<Learned> {
        let mut probe = self.is_probed().then(|| LayerProbe::new(self.step + 1));
        let observer = probe.as_mut().map(|probe| probe as &mut dyn Observer);
        let mut turn = Turn { observer, seed: self.seed, step: self.step, ..Turn::default() };
        let learned = if self.accumulate == 1 {
            self.networks.task().learn(network, self.networks.models(), batch, &mut turn)?
        } else {
            self.learn_in_parts(network, batch, turn)?
        };
        if let Some(probe) = probe {
            let rows = probe.finish(&self.networks.models()[network], &learned.gradients)?;
            self.layer_rows.extend(rows);
        }
        Ok(learned)
    }

    /// Gradient accumulation over the batch's parts, and one update of the moving statistics with the pooled moments of all
    /// parts. Loss and gradients are means over the parts, weighted by the sums of their loss weights, so without norm layers
    /// they equal those of the full batch; other scores are plain means. The observer sees only the first part.
    fn learn_in_parts(&self, network: usize, batch: &Batch, turn: Turn<'_>) -> Result<Learned> {
        let updates = Updates::new();
        let Turn { mut observer, seed, step, .. } = turn;
        let mut scores = Vec::new();
        let mut gradients = Gradients::new();
        let parts = self.accumulate;
        let weight = batch.loss_weight()?;
        let size = self.batch_size / parts;
        let models = self.networks.models();
        let trainable = models[network].trainable();
        for part in 0..parts {
            let batch = batch.narrow(part * size..(part + 1) * size)?;
            let share = batch.loss_weight()? / weight;
            let observer = observer.take().map(|observer| observer as &mut dyn Observer);
            let updates_of_all = Some(&updates);
            let mut turn =
                Turn { observer, updates: updates_of_all, seed, step, part: part as u64 };
            let learned = self.networks.task().learn(network, models, &batch, &mut turn)?;
            let diverges = learned.scores.are_known_to_diverge();
            // The loss comes first.
            let mut shares = vec![1.0 / parts as f64; learned.scores.len()];
            shares[0] = share;
            scores.push((learned.scores, shares));
            if diverges {
                updates.discard();
                let scores = Scores::weighted_sum(&scores)?;
                return Ok(Learned { scores, gradients: Gradients::new() });
            }
            for (_, variable) in &trainable {
                if let Some(gradient) = learned.gradients.get(variable) {
                    gradients.add(variable, (gradient * share)?)?;
                }
            }
        }
        updates.commit()?;
        Ok(Learned { scores: Scores::weighted_sum(&scores)?, gradients })
    }

    /// The complete state that the next step depends on. Call [`Trainer::settle`] first.
    ///
    /// # Errors
    /// [`StateError::Tensor`], also if steps are pending.
    pub fn state(&self) -> std::result::Result<State, StateError> {
        if !self.pending.is_empty() {
            return Err(candle::Error::Msg("the trainer's steps are not settled".to_owned()).into());
        }
        let mut state = State::new();
        state.put("seed", self.seed);
        state.put("step", self.step);
        state.put_state(MODEL, self.networks.state()?);
        for (name, optimizer) in self.networks.task().networks().iter().zip(&self.optimizers) {
            state.put_state(&optimizer_path(name), optimizer.state()?);
        }
        if let Some(average) = &self.average {
            state.put_state("average", average.state()?);
        }
        let mut shadows = State::new();
        for (path, variable) in self.shadows.statistics() {
            shadows.put_tensor(&path, &variable)?;
        }
        state.put_state("shadow", shadows);
        state.put_state("recent", self.recent.state());
        Ok(state)
    }

    /// Restores the result of [`Trainer::state`] of a trainer with the same settings and seed. Do not use the trainer after
    /// an error.
    ///
    /// # Errors
    /// [`StateError`] with the path of the value that is missing or does not fit.
    pub fn load(&mut self, mut state: State) -> std::result::Result<(), StateError> {
        state.expect("seed", self.seed)?;
        self.step = state.take_whole("step")?;
        self.networks.load(&mut state)?;
        if self.freeze_after.is_some_and(|step| self.step > step) {
            self.networks.freeze();
        }
        for (name, optimizer) in self.networks.task().networks().iter().zip(&mut self.optimizers) {
            optimizer.load(state.take_state(&optimizer_path(name)))?;
        }
        if let Some(average) = &mut self.average {
            average.load(state.take_state("average"))?;
        }
        let mut shadows = state.take_state("shadow");
        for (path, variable) in self.shadows.statistics() {
            shadows.restore(&path, &variable)?;
        }
        shadows.finish()?;
        self.shadows.resume(self.networks.evaluated());
        self.recent.load(state.take_state("recent"))?;
        state.finish()
    }
}

/// Known scores of several networks, in their order.
fn known(networks: &[Scores]) -> Result<Vec<f64>> {
    let each = networks.iter().map(Scores::values).collect::<Result<Vec<_>>>()?;
    Ok(each.concat())
}

/// State path of a network's optimizer.
fn optimizer_path(network: &str) -> String {
    if network.is_empty() { "optimizer".to_owned() } else { format!("optimizer.{network}") }
}

#[cfg(test)]
mod tests;
