//! Which charts a report has, and the numbers that go into each. Pure, but for the drawing itself.

mod dots;
mod readings;

use crate::chart::Chart;
use crate::chart::curves::{Curves, Series};
use crate::compare::Comparison;
use crate::curve::{self, Key};
use crate::error::Result;
use crate::format;
use crate::read::{Arm, Experiment};
use crate::schema::{self, Split, Statistics, Status};

/// The charts of a report, in the order of the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    /// The compared metric over steps, all arms.
    pub main: Option<Chart>,
    /// The same weights read twice, a panel per arm; empty where no arm logged both readings.
    pub readings: Vec<Chart>,
    /// The metric at the end, every run a dot.
    pub finals: Option<Chart>,
    /// Steps to the target, every run a dot.
    pub steps: Option<Chart>,
    /// The other metrics and splits over steps.
    pub more: Vec<Chart>,
}

impl Figures {
    /// Draws every chart.
    ///
    /// # Errors
    /// [`crate::error::Error::Chart`], should the drawing library refuse.
    pub fn draw(experiment: &Experiment, comparison: &Comparison) -> Result<Self> {
        let mut keys = Vec::new();
        let metrics = curve::metrics(experiment);
        let others = metrics.iter().filter(|metric| **metric != comparison.metric);
        let metrics: Vec<&String> = std::iter::once(&comparison.metric).chain(others).collect();
        let moving = Some(comparison.statistics);
        // While training, batch norm always normalizes with the batch.
        let batch = Some(Statistics::Batch);
        for (split, statistics) in [(Split::Validation, moving), (Split::Train, batch)] {
            keys.extend(metrics.iter().map(|metric| Key::new(split, statistics, metric)));
        }
        let watched = comparison.watched();
        keys.retain(|key| *key != watched);
        let mut more = Vec::new();
        for key in &keys {
            more.extend(over_steps(experiment, comparison, key)?);
        }
        Ok(Self {
            main: over_steps(experiment, comparison, &watched)?,
            readings: readings::per_arm(experiment, comparison)?,
            finals: dots::finals(comparison)?,
            steps: dots::steps_to_target(comparison)?,
            more,
        })
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Chart> {
        self.main
            .iter()
            .chain(&self.readings)
            .chain(&self.finals)
            .chain(&self.steps)
            .chain(&self.more)
    }
}

/// A quantity in words: `validation accuracy, by moving statistics`, with `after` after its name.
fn words(experiment: &Experiment, key: &Key, after: &str) -> String {
    let keys = experiment.keys();
    let plain = format!("{} {}{after}", key.split.name(), key.metric);
    match key.statistics {
        Some(statistics)
            if keys
                .iter()
                .any(|other| other.split == key.split && other.statistics == key.statistics) =>
        {
            format!("{plain}, by {statistics} statistics")
        }
        _ => plain,
    }
}

fn over_steps(
    experiment: &Experiment,
    comparison: &Comparison,
    key: &Key,
) -> Result<Option<Chart>> {
    let series = |(index, arm): (usize, &Arm)| {
        let curves = curve::arm_curves(arm, key);
        let diverged = |seed: u64| {
            let run = arm.runs.iter().find(|run| run.seed == seed);
            run.is_some_and(|run| matches!(run.status(), Some(Status::Diverged { .. })))
        };
        Series {
            arm: index,
            name: arm.name.clone(),
            band: curve::band(curves.iter().map(|run| &run.curve)),
            runs: curves.into_iter().map(|run| (run.curve, diverged(run.seed))).collect(),
        }
    };
    let series: Vec<Series> = experiment.arms.iter().enumerate().map(series).collect();
    let valued = |series: &Series| series.band.iter().any(|point| point.mean.is_some());
    if !series.iter().any(valued) {
        return Ok(None);
    }
    let title = words(experiment, key, "");
    let describe = |series: &Series| {
        let mut means = series.band.iter().filter_map(|point| Some((point.step, point.mean?)));
        let name = &series.name;
        let Some(first) = means.next() else {
            return format!("{name}: no value.");
        };
        let last = means.next_back().unwrap_or(first);
        let [(from, first), (to, last)] =
            [first, last].map(|(step, mean)| (step, format::value(mean)));
        format!("{name}: {first} at step {from}, {last} at step {to}.")
    };
    let description =
        format!("Mean over runs. {}", series.iter().map(describe).collect::<Vec<_>>().join(" "));
    let target = comparison
        .target
        .as_ref()
        .filter(|_| *key == comparison.watched())
        .map(|target| target.value);
    let lower_is_better = experiment.better(&key.metric) == schema::Direction::Lower;
    let curves = Curves { title: title.clone(), series, target, lower_is_better };
    let file = format!("{}-{}.svg", key.split.name(), schema::slug(&key.metric));
    Chart::draw(file, words(experiment, key, " over steps"), description, curves.size(), |canvas| {
        curves.draw(canvas)
    })
    .map(Some)
}
