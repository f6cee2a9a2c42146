//! A run from its first step, or from a checkpoint, to its end: the loop around a [`Trainer`].
//!
//! Deterministic but for `timing.csv`: the same settings, seed and device kind give the same rows, on any number of
//! threads, and whether the run was interrupted or not. What belongs to a step happens in this order: the update, the
//! evaluation, the checkpoint. So a checkpoint's step has been evaluated, and a run that goes on from there takes the next.

use super::checkpoint::{Best, Checkpoint, CheckpointError, Checkpoints, Header};
use super::device_data::DeviceData;
use super::evaluation::{Score, evaluate, population, spread};
use super::files::DirectoryError;
use super::outputs::Outputs;
use super::telemetry::{Moment, passes, rows};
use super::trainer::{Stepped, Trainer};
use super::writer::Writers;
use crate::experiment::Settings;
use crate::model::{Mode, MomentsByPath};
use crate::optimizer::AveragedStatistics;
use crate::state::StateError;
use bn_report::schema::{MetricRow, Split, Statistics, Status};
use candle::Tensor;
use std::sync::atomic::{AtomicBool, Ordering};

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
    #[error("tensor operation failed")]
    Tensor(#[from] candle::Error),
    /// A file of the run.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A checkpoint that cannot be written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A checkpoint of other settings.
    #[error("the checkpoint does not fit these settings")]
    State(#[from] StateError),
}

/// Trains what `settings` describe; returns how the run ended.
///
/// `on_progress` hears of every step. When `stop` becomes true, the run makes a checkpoint and ends as interrupted before
/// its next step.
///
/// # Errors
/// [`TrainError`]. A loss that is not finite is no error but a result, [`Status::Diverged`].
pub fn train(
    settings: &Settings,
    seed: u64,
    data: &DeviceData,
    outputs: Outputs,
    stop: &AtomicBool,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<Status, TrainError> {
    let Outputs { writers, checkpoints, run_digest, resumed } = outputs;
    let mut session = Session {
        trainer: Trainer::new(settings, seed, data)?,
        settings,
        data,
        writers,
        checkpoints,
        run_digest,
        saved: None,
        best: None,
        loss: None,
        accuracy: None,
    };
    let ended = match resumed {
        Some(checkpoint) => session.resume(checkpoint)?,
        None => session.finish_step()?,
    };
    if let Some(status) = ended {
        return Ok(status);
    }
    loop {
        on_progress(session.progress());
        if session.trainer.updates() == settings.train.steps {
            return Ok(Status::Finished);
        }
        if stop.load(Ordering::Relaxed) {
            session.save(None)?;
            return Ok(Status::Interrupted);
        }
        let ended = match session.trainer.step()? {
            Stepped::Updated(score) => {
                session.loss = Some(score.loss);
                session.finish_step()?
            }
            Stepped::Diverged { score, layer } => Some(session.blow_up(score, layer)?),
        };
        if let Some(status) = ended {
            return Ok(status);
        }
    }
}

/// A run in progress.
struct Session<'a> {
    trainer: Trainer,
    settings: &'a Settings,
    data: &'a DeviceData,
    writers: Writers,
    checkpoints: Checkpoints,
    run_digest: String,
    /// Step of the last checkpoint.
    saved: Option<u64>,
    best: Option<Best>,
    /// Of the last batch.
    loss: Option<f64>,
    /// Of the last evaluation.
    accuracy: Option<f64>,
}

impl Session<'_> {
    fn progress(&self) -> Progress {
        Progress { step: self.trainer.updates(), loss: self.loss, accuracy: self.accuracy }
    }

    fn resume(&mut self, checkpoint: Checkpoint) -> Result<Option<Status>, TrainError> {
        self.saved = Some(checkpoint.header.step);
        self.best = checkpoint.header.best;
        self.trainer.load(checkpoint.state)?;
        Ok(None)
    }

    /// What belongs to the step that was made: evaluation and checkpoint. A status if the run ends here.
    fn finish_step(&mut self) -> Result<Option<Status>, TrainError> {
        let step = self.trainer.updates();
        let is_last = step == self.settings.train.steps;
        self.write_layers()?;
        let mut score = None;
        if self.settings.train.evaluates(step) {
            self.writers.pause(self.now())?;
            let evaluation = self.evaluate(is_last)?;
            self.writers.resume();
            self.accuracy = Some(evaluation.accuracy);
            score = Some(evaluation.accuracy);
            if !evaluation.training_loss.is_finite() {
                return Ok(Some(diverged(step, "validation loss", evaluation.training_loss, None)));
            }
        }
        if is_last || (step > 0 && step.is_multiple_of(self.settings.output.checkpoint_every)) {
            self.save(score)?;
        }
        Ok(None)
    }

    /// What the step was seen to do inside the layers.
    fn write_layers(&mut self) -> Result<(), DirectoryError> {
        let rows = self.trainer.take_layer_rows();
        if rows.is_empty() { Ok(()) } else { self.writers.layers(&rows) }
    }

    fn now(&self) -> Moment {
        let trainer = &self.trainer;
        Moment { step: trainer.updates(), epoch: trainer.epochs(), examples: trainer.examples() }
    }

    /// Measures the network on the validation split, and on the test split at the end; writes all rows at once.
    fn evaluate(&mut self, is_last: bool) -> Result<Evaluation, TrainError> {
        let mut all = self.training_rows();
        let others = self.other_statistics(is_last)?;
        let validation = self.split_rows(Split::Validation, &others, &mut all)?;
        if is_last {
            self.split_rows(Split::Test, &others, &mut all)?;
        }
        self.writers.rows(&all)?;
        Ok(validation)
    }

    /// The mean over the steps since the last rows.
    fn training_rows(&mut self) -> Vec<MetricRow> {
        let recent = self.trainer.take_recent();
        recent.map_or_else(Vec::new, |score| {
            rows(self.now(), Split::Train, self.batch_statistics(), "", score).to_vec()
        })
    }

    /// What training normalizes with.
    fn batch_statistics(&self) -> Option<Statistics> {
        self.trainer.model().is_normalized.then_some(Statistics::Batch)
    }

    /// Statistics beside the layers' own and the batch's: of the population, and of shadow averages.
    fn other_statistics(
        &self,
        is_last: bool,
    ) -> Result<Vec<(Statistics, MomentsByPath)>, TrainError> {
        let (model, probes) = (self.trainer.model(), &self.settings.probes);
        let mut all = Vec::new();
        if model.is_normalized && probes.population.applies(is_last) {
            let images = spread(self.data.split(Split::Train).0, probes.population_examples)?;
            all.push((Statistics::Population, population(model, &images, probes.batch_size)?));
        }
        let shadows = self.trainer.shadows();
        for (index, shadow) in shadows.kinds().enumerate() {
            all.push((Statistics::Shadow(shadow), shadows.moments(index)?));
        }
        Ok(all)
    }

    fn split_rows(
        &self,
        split: Split,
        others: &[(Statistics, MomentsByPath)],
        all: &mut Vec<MetricRow>,
    ) -> Result<Evaluation, TrainError> {
        let model = self.trainer.model();
        let batch_size = self.settings.probes.batch_size;
        let (images, labels) = self.data.split(split);
        let mut scores = Vec::new();
        for &(mode, statistics) in passes(model.is_normalized) {
            let score = evaluate(model, images, labels, mode, batch_size)?;
            all.extend(rows(self.now(), split, statistics, "", score));
            scores.push(score);
        }
        for (statistics, moments) in others {
            let score = evaluate(model, images, labels, Mode::Given(moments), batch_size)?;
            all.extend(rows(self.now(), split, Some(*statistics), "", score));
        }
        if let Some(average) = self.trainer.average() {
            let (statistics, score) =
                average.evaluate(|| self.score_by_average_statistics(images, labels))?;
            all.extend(rows(self.now(), split, statistics, "averaged_", score));
        }
        Ok(Evaluation {
            accuracy: scores[0].accuracy,
            training_loss: scores[scores.len() - 1].loss,
        })
    }

    /// Scores the network, which holds averaged weights, by the statistics that belong to them.
    fn score_by_average_statistics(
        &self,
        images: &Tensor,
        labels: &Tensor,
    ) -> candle::Result<(Option<Statistics>, Score)> {
        let (model, probes) = (self.trainer.model(), &self.settings.probes);
        let average = self.settings.average.as_ref();
        let recomputes =
            average.is_some_and(|average| average.statistics == AveragedStatistics::Recomputed);
        if recomputes && model.is_normalized {
            let training = spread(self.data.split(Split::Train).0, probes.population_examples)?;
            let moments = population(model, &training, probes.batch_size)?;
            let score = evaluate(model, images, labels, Mode::Given(&moments), probes.batch_size)?;
            return Ok((Some(Statistics::Population), score));
        }
        let (mode, statistics) = passes(model.is_normalized)[0];
        Ok((statistics, evaluate(model, images, labels, mode, probes.batch_size)?))
    }

    /// Writes the rows of a training loss that is not finite: the mean of those before it, and its own, which is absent.
    fn blow_up(&mut self, score: Score, layer: Option<String>) -> Result<Status, TrainError> {
        let before = self.now();
        self.write_layers()?;
        self.writers.pause(before)?;
        let mut all = self.training_rows();
        let step = before.step + 1;
        let at = Moment {
            step,
            examples: before.examples + self.settings.train.batch_size as u64,
            ..before
        };
        all.extend(rows(at, Split::Train, self.batch_statistics(), "", score));
        self.writers.rows(&all)?;
        Ok(diverged(step, "training loss", score.loss, layer))
    }

    /// Makes a checkpoint of this step, unless there is one. `score` is the step's validation accuracy, if it has one.
    fn save(&mut self, score: Option<f64>) -> Result<(), TrainError> {
        let step = self.trainer.updates();
        if self.saved == Some(step) {
            return Ok(());
        }
        self.best = Best::of(self.best, step, score);
        let header = Header {
            run_digest: self.run_digest.clone(),
            step,
            files: self.writers.sync()?,
            best: self.best,
        };
        self.checkpoints.save(&Checkpoint { header, state: self.trainer.state()? })?;
        self.saved = Some(step);
        Ok(())
    }
}

/// What an evaluation tells the loop.
struct Evaluation {
    /// By moving statistics, where there are some.
    accuracy: f64,
    /// Loss in the mode that is nearest to training: if this is not finite, nor will the next step be.
    training_loss: f64,
}

fn diverged(step: u64, what: &str, value: f64, layer: Option<String>) -> Status {
    let value = if value.is_nan() { "not a number" } else { "infinite" };
    let at = layer.map_or(String::new(), |layer| format!("; `{layer}` is not finite first"));
    Status::Diverged { step, reason: format!("{what} is {value}{at}") }
}

#[cfg(test)]
mod tests;
