//! Estimates how long runs take by timing a few real steps and evaluations.

use super::super::list::counted;
use super::super::machine::Share;
use super::super::terminal::duration;
use super::first_runs;
use crate::data::{self, Dataset, Description};
use crate::experiment::plan::Plan;
use crate::experiment::{PopulationWhen, Settings};
use crate::launch::awake_on;
use crate::model::Mode;
use crate::run::{DeviceData, Trainer};
use anyhow::Context as _;
use candle::{Device, Result, Tensor};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Time to spend on each measurement, unless a single step takes longer.
const BUDGET: Duration = Duration::from_millis(300);
/// The same when all experiments are listed.
const GLANCE: Duration = Duration::from_millis(20);
/// Examples that stand in for those of an evaluation.
const EVALUATED: usize = 256;
/// Steps before timing starts, since the first ones allocate.
const WARM_UP: usize = 3;

/// A data set in memory and on the device.
pub(in super::super) struct Examples {
    dataset: Dataset,
    sizes: Sizes,
    pub(in super::super) data: DeviceData,
}

impl Examples {
    pub(super) fn new(dataset: Dataset, device: &Device) -> Result<Self> {
        let sizes = Sizes {
            train: dataset.train.len(),
            validation: dataset.validation.len(),
            test: dataset.test.len(),
        };
        Self::of(dataset, sizes, device)
    }

    fn of(dataset: Dataset, sizes: Sizes, device: &Device) -> Result<Self> {
        let data = DeviceData::new(&dataset, device)?;
        Ok(Self { dataset, sizes, data })
    }

    /// In place of data that are not there: `count` examples of their shape, which take as long.
    fn stand_in(description: Description, count: usize, device: &Device) -> Result<Self> {
        let Description { shape, classes, train } = description;
        let examples = |count: usize| data::Examples {
            shape,
            pixels: (0..count * shape.pixels()).map(|i| (i % 251) as f32 / 250.0).collect(),
            labels: (0..count).map(|i| (i % classes) as u32).collect(),
        };
        let (validation, test) = (examples(EVALUATED), examples(EVALUATED));
        let dataset = Dataset {
            train: examples(count),
            validation,
            test,
            classes,
            selection_weights: None,
            digest: String::new(),
        };
        // The proportions of MNIST and CIFAR.
        Self::of(dataset, Sizes { train, validation: train / 10, test: train / 5 }, device)
    }

    /// Numbers of examples, their shape, and the digest that runs record.
    pub(super) fn lines(&self) -> Vec<String> {
        let Sizes { train, validation, test } = self.sizes;
        let shape = self.dataset.train.shape;
        let (channels, height, width) = (shape.channels, shape.height, shape.width);
        let classes = self.dataset.classes;
        vec![
            format!("{train} training, {validation} validation and {test} test examples"),
            format!("{channels} x {height} x {width} numbers each, {classes} classes"),
            self.dataset.digest.clone(),
        ]
    }

    /// Images of the first `size` training examples.
    pub(super) fn images(&self, size: usize, device: &Device) -> Result<Tensor> {
        let first: Vec<usize> = (0..size).collect();
        Ok(self.dataset.train.select(&first).to_batch(device)?.images)
    }
}

/// How many examples of each kind there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sizes {
    train: usize,
    validation: usize,
    test: usize,
}

/// Seconds per training step, and per example of an evaluation pass.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pace {
    step_seconds: f64,
    example_seconds: f64,
}

impl Pace {
    /// Times training steps and evaluations of a run on `examples`, for `budget` each.
    fn measure(
        settings: &Settings,
        examples: &Examples,
        device: &Device,
        budget: Duration,
    ) -> Result<Self> {
        awake_on(device, || Self::measure_awake(settings, examples, device, budget))
    }

    fn measure_awake(
        settings: &Settings,
        examples: &Examples,
        device: &Device,
        budget: Duration,
    ) -> Result<Self> {
        let mut trainer = Trainer::new(settings, 0, &examples.data)?;
        let start = Instant::now();
        for _ in 0..WARM_UP {
            step(&mut trainer)?;
            // Where a step takes seconds, its first allocations do not matter.
            if start.elapsed() > 10 * budget {
                break;
            }
        }
        let step_seconds = seconds_each(budget, &mut || step(&mut trainer))?;
        let validation = examples.dataset.validation.to_batch(device)?;
        let size = settings.probes.batch_size;
        let mut evaluation =
            || trainer.networks().evaluate(&validation, Mode::Moving, size).map(|_| ());
        let seconds = seconds_each(budget, &mut evaluation)?;
        Ok(Self { step_seconds, example_seconds: seconds / validation.len() as f64 })
    }

    /// Seconds of a run's steps and evaluations. Writing files takes little time in comparison.
    fn of_run(self, settings: &Settings, sizes: Sizes) -> f64 {
        let (train, probes) = (&settings.train, &settings.probes);
        let is_normalized = settings.norm.as_ref().is_some_and(|norm| norm.batch_norm().is_some());
        // One pass each for moving statistics, batch statistics and every shadow average.
        let passes = if is_normalized { 2 + probes.shadows.len() } else { 1 };
        let population = probes.population_examples.min(sizes.train);
        let mut evaluations =
            train.steps / train.evaluate_every + train.evaluate_at.len() as u64 + 2;
        let mut examples = 0;
        if is_normalized && probes.population == PopulationWhen::End {
            examples += population + sizes.validation + sizes.test;
        }
        let mut each = passes * sizes.validation;
        if is_normalized && probes.population == PopulationWhen::Evaluations {
            each += population + sizes.validation;
        }
        evaluations = evaluations.min(train.steps + 1);
        examples += evaluations as usize * each + passes * sizes.test;
        train.steps as f64 * self.step_seconds + examples as f64 * self.example_seconds
    }
}

/// A whole step: on a GPU, until it has computed it.
fn step(trainer: &mut Trainer) -> Result<()> {
    trainer.step()?;
    trainer.settle().map(drop)
}

/// Mean seconds per call of `work`, repeated until `budget` is spent.
fn seconds_each(budget: Duration, work: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    let mut count = 0;
    while count == 0 || start.elapsed() < budget {
        work()?;
        count += 1;
    }
    Ok(start.elapsed().as_secs_f64() / f64::from(count))
}

/// A line per kind of network with its step time, then the total.
pub(super) fn time(
    plan: &Plan,
    data: &BTreeMap<String, Examples>,
    device: &Device,
    share: Share,
) -> anyhow::Result<Vec<String>> {
    let (paces, total) = paces(plan, data, device, BUDGET)?;
    let line = |(arm, pace, evaluated): &(String, Pace, usize)| {
        let step = 1e3 * pace.step_seconds;
        let evaluation = 1e3 * pace.example_seconds * *evaluated as f64;
        format!(
            "{arm}: {step:.2} ms per step, {evaluation:.2} ms per pass over the validation examples"
        )
    };
    let mut lines: Vec<String> = paces.iter().map(line).collect();
    let Share { jobs, threads } = share;
    let (runs, threads) = (counted(plan.runs.len(), "run"), counted(threads, "thread"));
    let left = duration(total / jobs as f64);
    lines.push(format!("{runs}, {jobs} at a time with {threads} each: about {left}"));
    Ok(lines)
}

/// Estimated seconds for all runs of `plan` in sequence, from a short measurement of each network.
///
/// # Errors
/// The data cannot be read, or training fails.
pub(in super::super) fn glance(plan: &Plan, device: &Device) -> anyhow::Result<f64> {
    let data = super::load(plan, device)?;
    paces(plan, &data, device, GLANCE).map(|(_, total)| total)
}

/// The same without the data, from examples of the same shape.
///
/// # Errors
/// Training fails.
pub(in super::super) fn glance_without_data(plan: &Plan, device: &Device) -> anyhow::Result<f64> {
    let mut wanted: BTreeMap<String, (Description, usize)> = BTreeMap::new();
    for run in first_runs(plan) {
        let (source, train) = (&run.settings.data, &run.settings.train);
        let entry = wanted.entry(source.identity().to_owned());
        let (description, count) = entry.or_insert_with(|| (source.describe(), 0));
        // A few of each class, for samplers that draw by class.
        *count = (*count).max(train.pass_size()).max(4 * description.classes);
    }
    let stand_in = |(identity, (description, count))| {
        Ok((identity, Examples::stand_in(description, count, device)?))
    };
    let data: Result<BTreeMap<_, _>> = wanted.into_iter().map(stand_in).collect();
    paces(plan, &data?, device, GLANCE).map(|(_, total)| total)
}

/// For each kind of work: its first arm, its pace and the number of validation examples.
type Paces = Vec<(String, Pace, usize)>;

/// The pace of each kind of work, and the total seconds of all runs in sequence.
fn paces(
    plan: &Plan,
    data: &BTreeMap<String, Examples>,
    device: &Device,
    budget: Duration,
) -> anyhow::Result<(Paces, f64)> {
    let mut paces = Paces::new();
    let mut kinds: Vec<String> = Vec::new();
    let mut total = 0.0;
    for run in first_runs(plan) {
        let settings = &run.settings;
        let (work, examples) = (work(settings), &data[settings.data.identity()]);
        let index = match kinds.iter().position(|known| *known == work) {
            Some(index) => index,
            None => {
                let pace = Pace::measure(settings, examples, device, budget)
                    .with_context(|| format!("arm {:?}", run.arm))?;
                kinds.push(work);
                paces.push((run.arm.clone(), pace, examples.sizes.validation));
                paces.len() - 1
            }
        };
        total += plan.seeds.len() as f64 * paces[index].1.of_run(settings, examples.sizes);
    }
    Ok((paces, total))
}

/// A key for the settings that affect a step's time: everything but the schedule and floating-point values.
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
