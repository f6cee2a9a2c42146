//! How long runs would take: a few real steps and evaluations, timed.

use super::super::list::counted;
use super::super::machine::Share;
use super::super::terminal::duration;
use super::first_runs;
use crate::data::Dataset;
use crate::experiment::Settings;
use crate::experiment::plan::Plan;
use crate::model::Mode;
use crate::ops::parallel::awake;
use crate::run::{DeviceData, Trainer};
use anyhow::Context as _;
use candle::{Device, Result, Tensor};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Time spent on one pace, unless a single step takes longer.
const BUDGET: Duration = Duration::from_millis(300);
/// Steps that do not count: the first ones allocate.
const WARM_UP: usize = 3;

/// A data set, also on the device.
pub(super) struct Examples {
    dataset: Dataset,
    pub(super) data: DeviceData,
}

impl Examples {
    pub(super) fn new(dataset: Dataset, device: &Device) -> Result<Self> {
        let data = DeviceData::new(&dataset, device)?;
        Ok(Self { dataset, data })
    }

    /// Images of the first `size` training examples.
    pub(super) fn images(&self, size: usize, device: &Device) -> Result<Tensor> {
        let first: Vec<usize> = (0..size).collect();
        Ok(self.dataset.train.select(&first).to_batch(device)?.images)
    }
}

/// What one step and one evaluation take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pace {
    pub(super) step_seconds: f64,
    pub(super) evaluation_seconds: f64,
}

impl Pace {
    /// Times training by `settings`, which are those of a run on `examples`.
    pub(super) fn measure(
        settings: &Settings,
        examples: &Examples,
        device: &Device,
    ) -> Result<Self> {
        awake(|| Self::measure_awake(settings, examples, device))
    }

    fn measure_awake(settings: &Settings, examples: &Examples, device: &Device) -> Result<Self> {
        let mut trainer = Trainer::new(settings, 0, &examples.data)?;
        for _ in 0..WARM_UP {
            trainer.step()?;
        }
        let step_seconds = seconds_each(&mut || trainer.step().map(|_| ()))?;
        let validation = examples.dataset.validation.to_batch(device)?;
        let (networks, size) = (trainer.networks(), settings.probes.batch_size);
        let modes: &[Mode<'_>] =
            if networks.is_normalized() { &[Mode::Moving, Mode::Batch] } else { &[Mode::Moving] };
        let mut evaluation = || {
            modes
                .iter()
                .try_for_each(|&mode| networks.evaluate(&validation, mode, size).map(|_| ()))
        };
        Ok(Self { step_seconds, evaluation_seconds: seconds_each(&mut evaluation)? })
    }

    /// A whole run by `settings`.
    pub(super) fn of_run(self, settings: &Settings) -> f64 {
        let train = &settings.train;
        let evaluations = train.steps / train.evaluate_every + train.evaluate_at.len() as u64 + 2;
        train.steps as f64 * self.step_seconds + evaluations as f64 * self.evaluation_seconds
    }
}

/// Mean seconds of `work`, repeated until the budget is spent.
fn seconds_each(work: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    let mut count = 0;
    while count == 0 || start.elapsed() < BUDGET {
        work()?;
        count += 1;
    }
    Ok(start.elapsed().as_secs_f64() / f64::from(count))
}

/// What a step takes in each network, and what all runs take.
pub(super) fn time(
    plan: &Plan,
    data: &BTreeMap<String, Examples>,
    device: &Device,
    share: Share,
) -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut paces: Vec<(String, Pace)> = Vec::new();
    let mut total = 0.0;
    for run in first_runs(plan) {
        let settings = &run.settings;
        let work = work(settings);
        let known = paces.iter().find(|(known, _)| *known == work).map(|(_, pace)| *pace);
        let pace = match known {
            Some(pace) => pace,
            None => Pace::measure(settings, &data[settings.data.identity()], device)
                .with_context(|| format!("arm {:?}", run.arm))?,
        };
        if known.is_none() {
            let (step, evaluation) = (1e3 * pace.step_seconds, 1e3 * pace.evaluation_seconds);
            let arm = &run.arm;
            lines.push(format!("{arm}: {step:.2} ms a step, {evaluation:.2} ms an evaluation"));
            paces.push((work, pace));
        }
        total += plan.seeds.len() as f64 * pace.of_run(settings);
    }
    let Share { jobs, threads } = share;
    let (runs, threads) = (counted(plan.runs.len(), "run"), counted(threads, "thread"));
    let left = duration(total / jobs as f64);
    lines.push(format!("{runs}, {jobs} at a time with {threads} each: about {left}"));
    Ok(lines)
}

/// What decides the time of a step: the settings, less numbers that take as long whatever they are, less the schedule.
fn work(settings: &Settings) -> String {
    let mut written = settings.written.clone();
    written.remove("schedule");
    for (_, value) in written.iter_mut() {
        if let toml::Value::Table(table) = value {
            table.retain(|_, value| !matches!(value, toml::Value::Float(_)));
        }
    }
    written.to_string()
}
