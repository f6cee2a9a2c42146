//! Networks in training: everything that the next step depends on, with a name.
//!
//! `k` steps, [`Trainer::state`], a new trainer, [`Trainer::load`] and `k` more steps are `2k` steps, bit by bit. The order
//! of examples and all random draws follow from the seed and the step, so the step is all there is to save of them. No
//! file is opened here; the only clock tells how long batches take.

use super::device_data::DeviceData;
use super::divergence::first_not_finite;
use super::probe::LayerProbe;
use super::recent::Recent;
use super::shadow::Shadows;
use crate::data::{Batch, Loader};
use crate::experiment::Settings;
use crate::model::{Gradients, Observer, parameters};
use crate::optimizer::{AveragedStatistics, Optimizer, WeightAverage};
use crate::schedule::LearningRate;
use crate::state::{State, StateError};
use crate::task::{Learned, MODEL, Networks, Turn};
use bn_core::Updates;
use bn_report::schema::LayerRow;
use candle::Result;
use std::time::{Duration, Instant};

/// Networks in training: one, or several that a step updates one after the other.
#[derive(Debug)]
pub struct Trainer {
    networks: Networks,
    /// One for each network.
    optimizers: Vec<Box<dyn Optimizer>>,
    rate: LearningRate,
    seed: u64,
    data: DeviceData,
    loader: Loader,
    waited: Duration,
    updates_per_epoch: u64,
    batch_size: usize,
    /// Parts of a batch, each a pass of its own.
    accumulate: usize,
    /// The step from which on moving statistics stay as they are.
    freeze_after: Option<u64>,
    average: Option<WeightAverage>,
    shadows: Shadows,
    /// Steps between two that a [`LayerProbe`] watches.
    layers_every: Option<u64>,
    layer_rows: Vec<LayerRow>,
    /// Updates done.
    step: u64,
    recent: Recent,
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Stepped {
    /// The networks were updated. The scores are those of the batch, before the update, by
    /// [`Task::training_metrics`](crate::task::Task::training_metrics).
    Updated(Vec<f64>),
    /// A loss is not finite: its network was not updated, and the trainer cannot go on.
    Diverged {
        /// Of the batch; those of networks that come after the one with the loss are not numbers.
        scores: Vec<f64>,
        /// The first layer with a result that is not finite; none where all of them are.
        layer: Option<String>,
    },
}

impl Trainer {
    /// The networks that `settings` describe, untrained, on `data`.
    ///
    /// # Errors
    /// What candle or the norm layers report, for instance too little memory on the device.
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
            networks,
        })
    }

    /// The networks.
    pub fn networks(&self) -> &Networks {
        &self.networks
    }

    /// The averages of their weights, where they are kept.
    pub fn average(&self) -> Option<&WeightAverage> {
        self.average.as_ref()
    }

    /// The averages of other decays that follow the evaluated network's moving statistics.
    pub fn shadows(&self) -> &Shadows {
        &self.shadows
    }

    /// What the last step was seen to do inside the layers, if it was watched; once.
    pub fn take_layer_rows(&mut self) -> Vec<LayerRow> {
        std::mem::take(&mut self.layer_rows)
    }

    /// Updates done.
    pub fn updates(&self) -> u64 {
        self.step
    }

    /// Whole epochs done.
    pub fn epochs(&self) -> u64 {
        self.step / self.updates_per_epoch
    }

    /// Training examples seen.
    pub fn examples(&self) -> u64 {
        self.step * self.batch_size as u64
    }

    /// How long this trainer has waited for batches so far, their way to the device included.
    pub fn waited_for_batches(&self) -> Duration {
        self.waited
    }

    /// Means of the training scores since this was last called, if there are any.
    pub fn take_recent(&mut self) -> Option<Vec<f64>> {
        self.recent.take()
    }

    /// One update of every network by the next batch.
    ///
    /// # Errors
    /// What candle or the norm layers report.
    pub fn step(&mut self) -> Result<Stepped> {
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
            let is_finite = own.iter().all(|score| score.is_finite());
            scores.extend(own);
            if !is_finite {
                scores.resize(self.networks.task().training_metrics().len(), f64::NAN);
                let layer = first_not_finite(&self.networks, &batch.images)?;
                return Ok(Stepped::Diverged { scores, layer });
            }
            self.optimizers[network].step(&gradients, rate)?;
        }
        self.shadows.follow(self.networks.evaluated())?;
        if let Some(average) = &mut self.average {
            average.update()?;
        }
        self.step += 1;
        self.recent.add(&scores);
        Ok(Stepped::Updated(scores))
    }

    /// The gradients of one network, watched where it is time to.
    fn learn(&mut self, network: usize, batch: &Batch) -> Result<Learned> {
        let is_watched =
            self.layers_every.is_some_and(|every| (self.step + 1).is_multiple_of(every));
        let mut probe = is_watched.then(|| LayerProbe::new(self.step + 1));
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

    /// The batch in parts, and one update of the moving statistics, by the moments of all parts together. Loss and gradients
    /// are means over the parts, each weighing as much as its examples do in the loss, so those of the whole batch where
    /// no norm sees the parts; other scores are plain means. The observer sees the first part.
    fn learn_in_parts(&self, network: usize, batch: &Batch, turn: Turn<'_>) -> Result<Learned> {
        let updates = Updates::new();
        let Turn { mut observer, seed, step, .. } = turn;
        let mut scores: Vec<f64> = Vec::new();
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
            scores.resize(learned.scores.len(), 0.0);
            for (index, (mean, score)) in scores.iter_mut().zip(&learned.scores).enumerate() {
                // The loss comes first.
                *mean += if index == 0 { share } else { 1.0 / parts as f64 } * score;
            }
            if learned.scores.iter().any(|score| !score.is_finite()) {
                updates.discard();
                return Ok(Learned { scores, gradients: Gradients::new() });
            }
            for (_, variable) in &trainable {
                if let Some(gradient) = learned.gradients.get(variable) {
                    gradients.add(variable, (gradient * share)?)?;
                }
            }
        }
        updates.commit()?;
        Ok(Learned { scores, gradients })
    }

    /// Everything that the next step depends on.
    ///
    /// # Errors
    /// [`StateError::Tensor`].
    pub fn state(&self) -> std::result::Result<State, StateError> {
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

    /// Goes on from what [`Trainer::state`] returned, for a trainer of the same settings and seed. After an error it must
    /// not be used.
    ///
    /// # Errors
    /// [`StateError`] with the path of what is missing or does not fit.
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

/// Where the state of a network's optimizer is.
fn optimizer_path(network: &str) -> String {
    if network.is_empty() { "optimizer".to_owned() } else { format!("optimizer.{network}") }
}

#[cfg(test)]
mod tests;
