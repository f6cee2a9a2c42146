//! The training loop.
//!
//! Deterministic but for `timing.csv`: the same settings, seed and device kind give the same rows, on any number of
//! threads.

use super::directory::RunFiles;
use super::evaluation::{Score, evaluate};
use super::files::DirectoryError;
use super::telemetry::{Moment, Recent, passes, rows};
use crate::data::{Batches, Dataset};
use crate::experiment::Settings;
use crate::model::{Model, Sizes};
use bn_report::schema::{Split, Statistics, Status, TimingRow};
use candle::{Device, Tensor};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A data set on a device.
#[derive(Clone, Debug)]
pub struct DeviceData {
    device: Device,
    sizes: Sizes,
    train: (Tensor, Tensor),
    validation: (Tensor, Tensor),
    test: (Tensor, Tensor),
}

impl DeviceData {
    /// Copies `data` to `device`.
    ///
    /// # Errors
    /// What candle reports, for instance too little memory on the device.
    pub fn new(data: &Dataset, device: &Device) -> candle::Result<Self> {
        Ok(Self {
            device: device.clone(),
            sizes: Sizes { input: data.train.shape, classes: data.classes },
            train: data.train.to_tensors(device)?,
            validation: data.validation.to_tensors(device)?,
            test: data.test.to_tensors(device)?,
        })
    }

    /// The network that `settings` describe, for this data.
    ///
    /// # Errors
    /// As [`Model::build`].
    pub fn model(&self, settings: &Settings, seed: u64) -> candle::Result<Model> {
        Model::build(&settings.model, settings.norm.as_ref(), self.sizes, seed, &self.device)
    }

    fn batch(&self, indices: &[usize]) -> candle::Result<(Tensor, Tensor)> {
        let indices: Vec<u32> = indices.iter().map(|&index| index as u32).collect();
        let indices = Tensor::new(indices, &self.device)?;
        let (images, labels) = &self.train;
        Ok((images.index_select(&indices, 0)?, labels.index_select(&indices, 0)?))
    }
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Updates done.
    pub step: u64,
    /// Training loss of the last batch.
    pub loss: Option<f64>,
    /// Last validation accuracy, by moving statistics.
    pub accuracy: Option<f64>,
}

/// Why a run could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A tensor operation.
    #[error("a tensor operation")]
    Tensor(#[from] candle::Error),
    /// A file of the run.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// Trains what `settings` describe and writes what happens to `files`; returns how the run ended.
///
/// `on_progress` hears of every step. When `stop` becomes true, the run ends as interrupted before its next step.
///
/// # Errors
/// [`TrainError`]. A loss that is not finite is no error but a result, [`Status::Diverged`].
pub fn train(
    settings: &Settings,
    seed: u64,
    data: &DeviceData,
    files: &mut RunFiles,
    stop: &AtomicBool,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<Status, TrainError> {
    let model = data.model(settings, seed)?;
    let mut optimizer = settings.optimizer.build(model.trainable())?;
    let batch_size = settings.train.batch_size;
    let mut batches = Batches::new(seed, data.train.0.dim(0)?, batch_size);
    let mut recent = Recent::default();
    let mut clock = Clock::start();
    let mut progress = Progress { step: 0, loss: None, accuracy: None };

    for step in 0..=settings.train.steps {
        if settings.train.evaluates(step) {
            let epoch = step / batches.per_epoch();
            let at = Moment { step, epoch, examples: step * batch_size as u64 };
            files.append_timing(&clock.row(at))?;
            let looked = look(&model, data, at, recent.take(), files)?;
            clock.resume();
            progress.accuracy = Some(looked.accuracy);
            if !looked.training_loss.is_finite() {
                return Ok(diverged(step, "validation loss", looked.training_loss));
            }
        }
        on_progress(Progress { step, ..progress });
        if step == settings.train.steps {
            break;
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(Status::Interrupted);
        }

        let (images, labels) = data.batch(batches.at(step))?;
        let output = model.train_step(&images, &labels)?;
        let score = Score { loss: output.loss, accuracy: output.accuracy };
        if !score.loss.is_finite() {
            return Ok(diverged(step + 1, "training loss", score.loss));
        }
        let factor = settings.schedule.factor(step, settings.train.steps);
        optimizer.step(&output.gradients, settings.learning_rate * factor)?;
        recent.add(score);
        progress.loss = Some(score.loss);
    }
    test(&model, data, settings, &batches, files)?;
    Ok(Status::Finished)
}

fn diverged(step: u64, what: &str, value: f64) -> Status {
    let value = if value.is_nan() { "not a number" } else { "infinite" };
    Status::Diverged { step, reason: format!("{what} is {value}") }
}

/// What a look at the net tells the loop.
struct Look {
    /// By moving statistics, where there are some.
    accuracy: f64,
    /// Validation loss in the mode that is nearest to training: if this is not finite, nor will the next step be.
    training_loss: f64,
}

/// Measures the net on the validation split and writes all rows of this moment at once.
fn look(
    model: &Model,
    data: &DeviceData,
    at: Moment,
    recent: Option<Score>,
    files: &mut RunFiles,
) -> Result<Look, TrainError> {
    let batch = model.is_normalized.then_some(Statistics::Batch);
    let mut all: Vec<_> =
        recent.into_iter().flat_map(|score| rows(at, Split::Train, batch, score)).collect();
    let mut scores = Vec::new();
    for &(mode, statistics) in passes(model.is_normalized) {
        let score = evaluate(model, &data.validation.0, &data.validation.1, mode)?;
        all.extend(rows(at, Split::Validation, statistics, score));
        scores.push(score);
    }
    files.append_metrics(&all)?;
    Ok(Look { accuracy: scores[0].accuracy, training_loss: scores[scores.len() - 1].loss })
}

/// Measures the trained net on the test split, once.
fn test(
    model: &Model,
    data: &DeviceData,
    settings: &Settings,
    batches: &Batches,
    files: &mut RunFiles,
) -> Result<(), TrainError> {
    let step = settings.train.steps;
    let examples = step * settings.train.batch_size as u64;
    let at = Moment { step, epoch: step / batches.per_epoch(), examples };
    let mut all = Vec::new();
    for &(mode, statistics) in passes(model.is_normalized) {
        let score = evaluate(model, &data.test.0, &data.test.1, mode)?;
        all.extend(rows(at, Split::Test, statistics, score));
    }
    files.append_metrics(&all)?;
    Ok(())
}

/// Times training, less the looks at the net in between. The only clock of a run.
struct Clock {
    start: Instant,
    resumed: Instant,
    examples: u64,
}

impl Clock {
    fn start() -> Self {
        let now = Instant::now();
        Self { start: now, resumed: now, examples: 0 }
    }

    fn row(&mut self, at: Moment) -> TimingRow {
        let trained = self.resumed.elapsed();
        let examples = at.examples - std::mem::replace(&mut self.examples, at.examples);
        let rate = (examples > 0 && trained > Duration::ZERO)
            .then(|| examples as f64 / trained.as_secs_f64());
        TimingRow {
            step: at.step,
            seconds: Some(self.start.elapsed().as_secs_f64()),
            examples_per_second: rate,
        }
    }

    fn resume(&mut self) {
        self.resumed = Instant::now();
    }
}
