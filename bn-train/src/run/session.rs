//! The training loop around a [`Trainer`], from the first step or a checkpoint to the end of the run.
//!
//! Everything but `timing.csv` is deterministic: the same settings, seed and kind of device give the same rows, on any
//! number of threads, interrupted or not. A step is updated, evaluated and saved in this order. A checkpoint's step has
//! therefore been evaluated, and a resumed run continues with the next step.

use super::checkpoint::{Best, Checkpoint, CheckpointError, Checkpoints, Header};
use super::device_data::DeviceData;
use super::files::DirectoryError;
use super::outputs::Outputs;
use super::probe::population_gaps;
use super::telemetry::{Position, passes, rows};
use super::trainer::{StepOutcome, Trainer};
use super::writer::Writers;
use crate::data::Batch;
use crate::experiment::Settings;
use crate::model::{Mode, MomentsByPath};
use crate::optimizer::AveragedStatistics;
use crate::state::StateError;
use crate::task::Headline;
use bn_report::schema::{MetricRow, ScheduleRow, Split, Statistics, Status};
use std::sync::atomic::{AtomicBool, Ordering};

/// Progress of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Training loss of the last batch, of the first network if there are several; on a GPU, of the last that is known.
    pub loss: Option<f64>,
    /// Name and value of the task's main metric at the last validation, under moving statistics.
    pub headline: Option<(&'static str, f64)>,
}

/// An error that ends a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A tensor operation failed.
    #[error("tensor operation failed")]
    Tensor(#[from] candle::Error),
    /// A file of the run failed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A checkpoint could not be written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The state of the training could not be read from its tensors, or set to a checkpoint's.
    #[error("the run's state cannot be saved or restored")]
    State(#[from] StateError),
}

/// Trains a run by `settings` and returns its final status.
///
/// Calls `on_progress` after every step. When `stop` becomes true, the run saves a checkpoint and ends as interrupted
/// before its next step.
///
/// # Errors
/// [`TrainError`]. A loss that is not finite is not an error but the status [`Status::Diverged`].
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
        headline: None,
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
            if let Some(status) = session.settle()? {
                return Ok(status);
            }
            session.save(None)?;
            return Ok(Status::Interrupted);
        }
        let outcome = session.trainer.step()?;
        let ended = match session.note(outcome)? {
            None => session.finish_step()?,
            ended => ended,
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
    /// Training loss of the last batch.
    loss: Option<f64>,
    /// Main metric of the last evaluation.
    headline: Option<f64>,
}

impl Session<'_> {
    fn progress(&self) -> Progress {
        let metric = self.trainer.networks().task().headline().metric;
        let headline = self.headline.map(|value| (metric, value));
        Progress { step: self.trainer.updates(), loss: self.loss, headline }
    }

    fn resume(&mut self, checkpoint: Checkpoint) -> Result<Option<Status>, TrainError> {
        self.saved = Some(checkpoint.header.step);
        self.best = checkpoint.header.best;
        self.trainer.load(checkpoint.state)?;
        Ok(None)
    }

    /// Keeps the loss of a step. Ends the run if it diverged.
    fn note(&mut self, outcome: StepOutcome) -> Result<Option<Status>, TrainError> {
        match outcome {
            StepOutcome::Updated(scores) => self.loss = scores.first().copied(),
            StepOutcome::Pending => {}
            StepOutcome::Diverged { scores, layer } => {
                return self.blow_up(&scores, layer).map(Some);
            }
        }
        Ok(None)
    }

    /// Waits for the trainer's pending steps. Ends the run if one of them diverged.
    fn settle(&mut self) -> Result<Option<Status>, TrainError> {
        match self.trainer.settle()? {
            None => Ok(None),
            Some(outcome) => self.note(outcome),
        }
    }

    /// Evaluates and saves the current step if due. Returns a status if the run ends here.
    fn finish_step(&mut self) -> Result<Option<Status>, TrainError> {
        let step = self.trainer.updates();
        let is_last = step == self.settings.train.steps;
        let is_evaluated = self.settings.train.evaluates(step);
        let is_saved =
            is_last || (step > 0 && step.is_multiple_of(self.settings.output.checkpoint_every));
        let schedules = self.settings.schedule_changes(step);
        // Nothing is written about steps that may turn out to follow one that diverged.
        if (is_evaluated || is_saved || !schedules.is_empty())
            && let Some(status) = self.settle()?
        {
            return Ok(Some(status));
        }
        self.write_layers()?;
        self.write_schedules(schedules)?;
        if is_last {
            self.write_schedules(self.settings.schedule_ends(step))?;
        }
        let mut score = None;
        if is_evaluated {
            self.writers.pause(self.now())?;
            let evaluation = self.evaluate(is_last)?;
            self.writers.resume();
            self.headline = Some(evaluation.headline);
            score = Some(evaluation.headline);
            if !evaluation.first.is_finite() {
                let metric = &self.trainer.networks().metrics()[0];
                let what = format!("validation {metric}");
                return Ok(Some(diverged(step, &what, evaluation.first, None)));
            }
        }
        if is_saved {
            self.save(score)?;
        }
        Ok(None)
    }

    /// Writes the rows of the layer probe, if the step was probed.
    fn write_layers(&mut self) -> Result<(), DirectoryError> {
        let rows = self.trainer.take_layer_rows();
        if rows.is_empty() { Ok(()) } else { self.writers.layers(&rows) }
    }

    fn write_schedules(&mut self, rows: Vec<ScheduleRow>) -> Result<(), DirectoryError> {
        if rows.is_empty() { Ok(()) } else { self.writers.schedules(&rows) }
    }

    fn now(&self) -> Position {
        let trainer = &self.trainer;
        Position {
            step: trainer.updates(),
            epoch: trainer.epochs(),
            examples: trainer.examples(),
            waited: trainer.waited_for_batches(),
        }
    }

    /// Evaluates on the validation split, and on the test split at the end. Writes all rows at once.
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

    /// Rows of the mean training scores since the last evaluation.
    fn training_rows(&mut self) -> Vec<MetricRow> {
        let recent = self.trainer.take_recent();
        let names = self.trainer.networks().task().training_metrics();
        recent.map_or_else(Vec::new, |scores| {
            rows(self.now(), Split::Train, self.batch_statistics(), "", names, &scores).collect()
        })
    }

    /// The statistics that training normalizes with.
    fn batch_statistics(&self) -> Option<Statistics> {
        self.trainer.networks().is_normalized().then_some(Statistics::Batch)
    }

    /// Statistics besides moving and batch ones: of the population, and of shadow averages.
    fn other_statistics(
        &mut self,
        is_last: bool,
    ) -> Result<Vec<(Statistics, MomentsByPath)>, TrainError> {
        let (networks, probes) = (self.trainer.networks(), &self.settings.probes);
        let mut all = Vec::new();
        if networks.is_normalized() && probes.population.applies(is_last) {
            let moments = self.population()?;
            if self.settings.output.layers_every.is_some() {
                let gaps = population_gaps(self.now().step, networks.evaluated(), &moments)?;
                self.writers.layers(&gaps)?;
            }
            all.push((Statistics::Population, moments));
        }
        let shadows = self.trainer.shadows();
        for (index, shadow) in shadows.kinds().enumerate() {
            all.push((Statistics::Shadow(shadow), shadows.moments(index)?));
        }
        Ok(all)
    }

    /// Population moments of the norm layers over training examples, with the current weights.
    fn population(&self) -> candle::Result<MomentsByPath> {
        let probes = &self.settings.probes;
        let examples = self.data.split(Split::Train).spread(probes.population_examples)?;
        self.trainer.networks().population(&examples.images, probes.batch_size)
    }

    fn split_rows(
        &self,
        split: Split,
        others: &[(Statistics, MomentsByPath)],
        all: &mut Vec<MetricRow>,
    ) -> Result<Evaluation, TrainError> {
        let networks = self.trainer.networks();
        let batch_size = self.settings.probes.batch_size;
        let (examples, names) = (self.data.split(split), networks.metrics());
        let mut passed = Vec::new();
        for &(mode, statistics) in passes(networks.is_normalized()) {
            let scores = networks.evaluate(examples, mode, batch_size)?;
            all.extend(rows(self.now(), split, statistics, "", &names, &scores));
            passed.push(scores);
        }
        for (statistics, moments) in others {
            let scores = networks.evaluate(examples, Mode::Given(moments), batch_size)?;
            all.extend(rows(self.now(), split, Some(*statistics), "", &names, &scores));
        }
        if let Some(average) = self.trainer.average() {
            let (statistics, scores) =
                average.evaluate(|| self.scores_by_average_statistics(examples))?;
            all.extend(rows(self.now(), split, statistics, "averaged_", &names, &scores));
        }
        let headline = networks.task().headline().metric;
        let index = names.iter().position(|name| name == headline).unwrap_or(0);
        Ok(Evaluation { headline: passed[0][index], first: passed[passed.len() - 1][0] })
    }

    /// Evaluates the networks, which hold averaged weights, with the statistics configured for them.
    fn scores_by_average_statistics(
        &self,
        examples: &Batch,
    ) -> candle::Result<(Option<Statistics>, Vec<f64>)> {
        let (networks, batch_size) = (self.trainer.networks(), self.settings.probes.batch_size);
        let average = self.settings.average.as_ref();
        let recomputes =
            average.is_some_and(|average| average.statistics == AveragedStatistics::Recomputed);
        if recomputes && networks.is_normalized() {
            let moments = self.population()?;
            let scores = networks.evaluate(examples, Mode::Given(&moments), batch_size)?;
            return Ok((Some(Statistics::Population), scores));
        }
        let (mode, statistics) = passes(networks.is_normalized())[0];
        Ok((statistics, networks.evaluate(examples, mode, batch_size)?))
    }

    /// Writes the rows of a training loss that is not finite: the mean of the scores before it, and the scores of its step,
    /// where values that are not finite are absent.
    fn blow_up(&mut self, scores: &[f64], layer: Option<String>) -> Result<Status, TrainError> {
        let before = self.now();
        self.write_layers()?;
        self.write_schedules(self.settings.schedule_ends(before.step))?;
        self.writers.pause(before)?;
        let mut all = self.training_rows();
        let step = before.step + 1;
        let at = Position {
            step,
            examples: before.examples + self.settings.train.batch_size as u64,
            ..before
        };
        let names = self.trainer.networks().task().training_metrics();
        all.extend(rows(at, Split::Train, self.batch_statistics(), "", names, scores));
        self.writers.rows(&all)?;
        let which = scores.iter().position(|score| !score.is_finite()).unwrap_or(0);
        Ok(diverged(step, &format!("training {}", spaced(names[which])), scores[which], layer))
    }

    /// Saves a checkpoint of this step, unless there is one. `score` is the step's main metric, if it was evaluated.
    fn save(&mut self, score: Option<f64>) -> Result<(), TrainError> {
        let step = self.trainer.updates();
        if self.saved == Some(step) {
            return Ok(());
        }
        let Headline { is_higher_better, .. } = self.trainer.networks().task().headline();
        self.best = Best::of(self.best, step, score, is_higher_better);
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

/// What the loop needs from an evaluation.
struct Evaluation {
    /// Main metric, under moving statistics if the network has any.
    headline: f64,
    /// First metric in the mode closest to training. If it is not finite, the next step will not be either.
    first: f64,
}

/// `discriminator loss` for `discriminator_loss`.
fn spaced(name: &str) -> String {
    name.replace('_', " ")
}

fn diverged(step: u64, what: &str, value: f64, layer: Option<String>) -> Status {
    let value = if value.is_nan() { "not a number" } else { "infinite" };
    let at =
        layer.map_or(String::new(), |layer| format!("; `{layer}` is the first that is not finite"));
    Status::Diverged { step, reason: format!("{what} is {value}{at}") }
}

#[cfg(test)]
mod tests;
