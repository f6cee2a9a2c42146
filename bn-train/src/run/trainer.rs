//! A network in training: everything that the next step depends on, with a name.
//!
//! `k` steps, [`Trainer::state`], a new trainer, [`Trainer::load`] and `k` more steps are `2k` steps, bit by bit. The order
//! of examples and all random draws follow from the seed and the step, so the step is all there is to save of them. No
//! file is opened here, and no clock is read.

use super::device_data::DeviceData;
use super::divergence::first_not_finite;
use super::evaluation::Score;
use super::probe::LayerProbe;
use super::recent::Recent;
use super::shadow::Shadows;
use crate::data::Batches;
use crate::experiment::Settings;
use crate::model::{Gradients, Model, Observer, Pass, StepOutput, parameters, statistics};
use crate::ops::buffer::is_plain;
use crate::optimizer::{AveragedStatistics, Optimizer, WeightAverage};
use crate::schedule::Schedule;
use crate::state::{State, StateError};
use bn_core::Updates;
use bn_report::schema::LayerRow;
use candle::{Result, Tensor, Var};

/// A network in training.
#[derive(Debug)]
pub struct Trainer {
    model: Model,
    optimizer: Box<dyn Optimizer>,
    learning_rate: f64,
    schedule: Schedule,
    total_steps: u64,
    seed: u64,
    data: DeviceData,
    batches: Batches,
    batch_size: usize,
    /// Parts of a batch, each a pass of its own.
    accumulate: usize,
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
    /// The network was updated. The score is that of the batch, before the update.
    Updated(Score),
    /// The loss is not finite: nothing was updated, and the trainer cannot go on.
    Diverged {
        /// Of the batch.
        score: Score,
        /// The first layer with a result that is not finite; none where all of them are.
        layer: Option<String>,
    },
}

impl Trainer {
    /// The network that `settings` describe, untrained, on `data`.
    ///
    /// # Errors
    /// What candle or the norm layers report, for instance too little memory on the device.
    pub fn new(settings: &Settings, seed: u64, data: &DeviceData) -> Result<Self> {
        let model = data.model(settings, seed)?;
        let average = match &settings.average {
            None => None,
            Some(settings) => {
                let mut averaged = model.trainable();
                if settings.statistics == AveragedStatistics::Averaged {
                    averaged.extend(moving_statistics(&model));
                }
                Some(WeightAverage::new(settings.decay, averaged)?)
            }
        };
        Ok(Self {
            optimizer: settings.optimizer.build(parameters(model.layers()))?,
            learning_rate: settings.learning_rate,
            schedule: settings.schedule.clone(),
            total_steps: settings.train.steps,
            seed,
            batches: Batches::new(seed, data.train_len(), settings.train.batch_size),
            batch_size: settings.train.batch_size,
            accumulate: settings.train.accumulate,
            data: data.clone(),
            average,
            shadows: Shadows::new(&model, &settings.probes.shadows)?,
            layers_every: settings.output.layers_every,
            layer_rows: Vec::new(),
            step: 0,
            recent: Recent::default(),
            model,
        })
    }

    /// The network.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The averages of its weights, where they are kept.
    pub fn average(&self) -> Option<&WeightAverage> {
        self.average.as_ref()
    }

    /// The averages of other decays that follow its moving statistics.
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
        self.step / self.batches.per_epoch()
    }

    /// Training examples seen.
    pub fn examples(&self) -> u64 {
        self.step * self.batch_size as u64
    }

    /// Mean of the training scores since this was last called, if there are any.
    pub fn take_recent(&mut self) -> Option<Score> {
        self.recent.take()
    }

    /// One update by the next batch.
    ///
    /// # Errors
    /// What candle or the norm layers report.
    pub fn step(&mut self) -> Result<Stepped> {
        let (images, labels) = self.data.batch(self.batches.at(self.step))?;
        let is_watched =
            self.layers_every.is_some_and(|every| (self.step + 1).is_multiple_of(every));
        let mut probe = is_watched.then(|| LayerProbe::new(self.step + 1));
        let observer = probe.as_mut().map(|probe| probe as &mut dyn Observer);
        let output = if self.accumulate == 1 {
            self.model.train_step_in(training_pass(&images, observer), &images, &labels)?
        } else {
            self.accumulated_step(&images, &labels, observer)?
        };
        if let Some(probe) = probe {
            self.layer_rows = probe.finish(&self.model, &output.gradients)?;
        }
        let score = Score { loss: output.loss, accuracy: output.accuracy };
        if !score.loss.is_finite() {
            let layer = first_not_finite(&self.model, &images)?;
            return Ok(Stepped::Diverged { score, layer });
        }
        let factor = self.schedule.factor(self.step, self.total_steps);
        self.optimizer.step(&output.gradients, self.learning_rate * factor)?;
        self.shadows.follow(&self.model)?;
        if let Some(average) = &mut self.average {
            average.update()?;
        }
        self.step += 1;
        self.recent.add(score);
        Ok(Stepped::Updated(score))
    }

    /// The batch in parts: mean loss and gradients over the parts, and one update of the moving statistics, by the moments
    /// of all parts together. The observer sees the first part.
    fn accumulated_step(
        &self,
        images: &Tensor,
        labels: &Tensor,
        mut observer: Option<&mut dyn Observer>,
    ) -> Result<StepOutput> {
        let updates = Updates::new();
        let (mut loss, mut accuracy) = (0.0, 0.0);
        let mut gradients = Gradients::new();
        let parts = self.accumulate;
        let share = 1.0 / parts as f64;
        let size = self.batch_size / parts;
        let trainable = self.model.trainable();
        for part in 0..parts {
            let images = images.narrow(0, part * size, size)?;
            let labels = labels.narrow(0, part * size, size)?;
            let observer = observer.take().map(|observer| observer as &mut dyn Observer);
            let pass = training_pass(&images, observer);
            let output = self.model.train_step_in(pass.with_updates(&updates), &images, &labels)?;
            loss += share * output.loss;
            accuracy += share * output.accuracy;
            if !output.loss.is_finite() {
                updates.discard();
                return Ok(StepOutput { loss, accuracy, gradients: Gradients::new() });
            }
            for (_, variable) in &trainable {
                if let Some(gradient) = output.gradients.get(variable) {
                    gradients.add(variable, (gradient * share)?)?;
                }
            }
        }
        updates.commit()?;
        Ok(StepOutput { loss, accuracy, gradients })
    }

    /// Everything that the next step depends on.
    ///
    /// # Errors
    /// [`StateError::Tensor`].
    pub fn state(&self) -> std::result::Result<State, StateError> {
        let mut state = State::new();
        state.put("seed", self.seed);
        state.put("step", self.step);
        let mut model = State::new();
        for (path, variable) in variables(&self.model) {
            model.put_tensor(&path, &variable)?;
        }
        state.put_state("model", model);
        state.put_state("optimizer", self.optimizer.state()?);
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
        load_model(&self.model, &mut state)?;
        self.optimizer.load(state.take_state("optimizer"))?;
        if let Some(average) = &mut self.average {
            average.load(state.take_state("average"))?;
        }
        let mut shadows = state.take_state("shadow");
        for (path, variable) in self.shadows.statistics() {
            shadows.restore(&path, &variable)?;
        }
        shadows.finish()?;
        self.shadows.resume(&self.model);
        self.recent = Recent::from_state(state.take_state("recent"))?;
        state.finish()
    }
}

/// A training pass over `images`: on a tape where there are kernels, else in candle's graph.
fn training_pass<'a>(images: &Tensor, observer: Option<&'a mut dyn Observer>) -> Pass<'a> {
    let pass = if is_plain(images) { Pass::train() } else { Pass::train_by_graph() };
    match observer {
        Some(observer) => pass.with_observer(observer),
        None => pass,
    }
}

/// Puts the variables of a saved trainer into `model`, and takes them out of `state`.
///
/// # Errors
/// [`StateError`] with the path of what is missing or does not fit.
pub fn load_model(model: &Model, state: &mut State) -> std::result::Result<(), StateError> {
    let mut saved = state.take_state("model");
    for (path, variable) in variables(model) {
        saved.restore(&path, &variable)?;
    }
    saved.finish()
}

/// All parameters and statistics of `model`, frozen ones too.
fn variables(model: &Model) -> Vec<(String, Var)> {
    let parameters = parameters(model.layers()).into_iter();
    let parameters = parameters.map(|parameter| (parameter.path, parameter.var));
    parameters.chain(statistics(model.layers())).collect()
}

/// The moving means and variances of `model`.
fn moving_statistics(model: &Model) -> Vec<(String, Var)> {
    let is_moving =
        |path: &str| path.ends_with(".moving_mean") || path.ends_with(".moving_variance");
    let all = statistics(model.layers()).into_iter();
    all.filter(|(path, _)| is_moving(path)).collect()
}

#[cfg(test)]
mod tests;
