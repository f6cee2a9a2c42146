//! Which charts a report has, and the numbers that go into each. Pure, but for the drawing itself.

use crate::chart::Chart;
use crate::chart::curves::{Curves, Series};
use crate::chart::dots::{DotRow, Dots};
use crate::chart::readings::{self, Readings};
use crate::compare::{Comparison, paired_readings};
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
        let others = metrics
            .iter()
            .filter(|metric| **metric != comparison.metric);
        for metric in std::iter::once(&comparison.metric).chain(others) {
            keys.push(Key::new(
                Split::Validation,
                Some(comparison.statistics),
                metric,
            ));
            // While training, batch norm always normalizes with the batch.
            keys.push(Key::new(Split::Train, Some(Statistics::Batch), metric));
        }
        let watched = comparison.watched();
        keys.retain(|key| *key != watched);
        let mut more = Vec::new();
        for key in &keys {
            more.extend(over_steps(experiment, comparison, key)?);
        }
        Ok(Self {
            main: over_steps(experiment, comparison, &watched)?,
            readings: read_twice(experiment, comparison)?,
            finals: finals(comparison)?,
            steps: steps_to_target(comparison)?,
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
    let mut rows = experiment.records().flat_map(|record| &record.rows);
    let plain = format!("{} {}{after}", key.split.name(), key.metric);
    match key.statistics {
        Some(statistics)
            if rows.any(|row| row.split == key.split && row.statistics == key.statistics) =>
        {
            format!("{plain}, by {} statistics", statistics.name())
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
            band: curve::band(curves.iter().map(|(_, curve)| curve)),
            runs: curves
                .into_iter()
                .map(|(seed, curve)| (curve, diverged(seed)))
                .collect(),
        }
    };
    let series: Vec<Series> = experiment.arms.iter().enumerate().map(series).collect();
    let valued = |series: &Series| series.band.values().any(|summary| summary.mean.is_some());
    if !series.iter().any(valued) {
        return Ok(None);
    }
    let title = words(experiment, key, "");
    let describe = |series: &Series| {
        let mut means = series
            .band
            .iter()
            .filter_map(|(step, summary)| Some((*step, summary.mean?)));
        let name = &series.name;
        let Some(first) = means.next() else {
            return format!("{name}: no value.");
        };
        let last = means.last().unwrap_or(first);
        let [(from, first), (to, last)] =
            [first, last].map(|(step, mean)| (step, format::value(mean)));
        format!("{name}: {first} at step {from}, {last} at step {to}.")
    };
    let description = format!(
        "Mean over runs. {}",
        series.iter().map(describe).collect::<Vec<_>>().join(" ")
    );
    let target = comparison
        .target
        .as_ref()
        .filter(|_| *key == comparison.watched())
        .map(|target| target.value);
    let lower_is_better = schema::lower_is_better(&key.metric);
    let curves = Curves {
        title: title.clone(),
        series,
        target,
        lower_is_better,
    };
    let file = format!("{}-{}.svg", key.split.name(), schema::slug(&key.metric));
    Chart::draw(
        file,
        words(experiment, key, " over steps"),
        description,
        curves.size(),
        |canvas| curves.draw(canvas),
    )
    .map(Some)
}

fn read_twice(experiment: &Experiment, comparison: &Comparison) -> Result<Vec<Chart>> {
    if comparison.rows.iter().all(|row| row.gap.is_none()) {
        return Ok(Vec::new());
    }
    let metric = &comparison.metric;
    let moving = Key::new(Split::Validation, Some(Statistics::Moving), metric);
    let panel = |(index, arm): (usize, &Arm)| {
        let runs: Vec<_> = curve::arm_curves(arm, &moving)
            .into_iter()
            .map(|(_, curve)| curve)
            .collect();
        Readings {
            arm: index,
            name: arm.name.clone(),
            main: curve::band(&runs),
            runs,
            pair: paired_readings(arm, metric),
            gap: comparison.rows[index].gap,
            target: comparison
                .target
                .as_ref()
                .filter(|target| target.split == Split::Validation)
                .map(|t| t.value),
            steps: Vec::new(),
            values: Vec::new(),
            lower_is_better: comparison.lower_is_better(),
        }
    };
    let mut panels: Vec<Readings> = experiment.arms.iter().enumerate().map(panel).collect();
    let steps: Vec<u64> = panels
        .iter()
        .flat_map(|panel| panel.main.keys().copied())
        .collect();
    let mut values: Vec<f64> = panels
        .iter()
        .flat_map(|panel| {
            panel
                .runs
                .iter()
                .flat_map(|run| run.values().copied().flatten())
        })
        .collect();
    for (_, batch) in panels.iter().filter_map(|panel| panel.pair.as_ref()) {
        values.extend(batch.values().filter_map(|summary| summary.mean));
    }
    for panel in &mut panels {
        panel.steps.clone_from(&steps);
        panel.values.clone_from(&values);
    }
    let draw = |(panel, arm): (&Readings, &Arm)| {
        let title = format!(
            "{}: validation {metric} by moving and by batch statistics",
            panel.name
        );
        let description = match &panel.gap {
            None => "Only one reading was logged.".to_owned(),
            Some(gap) => format!(
                "Widest gap at step {}: {} by moving statistics, {} by batch statistics.",
                gap.step,
                format::value(gap.moving),
                format::value(gap.batch)
            ),
        };
        let file = format!("readings-{}.svg", arm.slug);
        Chart::draw(file, title, description, readings::SIZE, |canvas| {
            panel.draw(canvas)
        })
    };
    panels.iter().zip(&experiment.arms).map(draw).collect()
}

fn finals(comparison: &Comparison) -> Result<Option<Chart>> {
    let rows = comparison
        .rows
        .iter()
        .zip(comparison.cells())
        .enumerate()
        .map(|(arm, (row, cells))| DotRow {
            arm,
            name: row.name.clone(),
            values: row.finals.iter().map(|(_, value)| *value).collect(),
            summary: row.final_value,
            text: if row.final_value.n == 0 {
                "no run finished".to_owned()
            } else {
                cells.final_value
            },
        });
    let title = comparison.final_heading();
    let unfinished = comparison
        .rows
        .iter()
        .any(|row| row.final_value.n < row.finals.len());
    let without = unfinished.then(|| "no final value".to_owned());
    dots(
        "final",
        Dots {
            title,
            rows: rows.collect(),
            without,
            steps: false,
        },
    )
}

fn steps_to_target(comparison: &Comparison) -> Result<Option<Chart>> {
    let Some(target) = comparison.target_words() else {
        return Ok(None);
    };
    let rows = comparison
        .rows
        .iter()
        .zip(comparison.cells())
        .enumerate()
        .map(|(arm, (row, cells))| DotRow {
            arm,
            name: row.name.clone(),
            values: row
                .reached
                .iter()
                .map(|(_, step)| step.map(|step| step as f64))
                .collect(),
            summary: row.steps_to_target,
            text: cells.steps_to_target,
        });
    let unreached = comparison
        .rows
        .iter()
        .any(|row| row.steps_to_target.n < row.reached.len());
    let without = unreached.then(|| "not reached".to_owned());
    dots(
        "steps-to-target",
        Dots {
            title: format!("steps to {target}"),
            rows: rows.collect(),
            without,
            steps: true,
        },
    )
}

fn dots(file: &str, dots: Dots) -> Result<Option<Chart>> {
    let Some((low, high)) = dots.range() else {
        return Ok(None);
    };
    let rows: Vec<String> = dots
        .rows
        .iter()
        .map(|row| format!("{}: {}.", row.name, row.text))
        .collect();
    let title = format!("{}, every run", dots.title);
    let number = if dots.steps {
        format::steps
    } else {
        format::value
    };
    let description = format!(
        "Axis from {} to {}. {}",
        number(low),
        number(high),
        rows.join(" ")
    );
    Chart::draw(
        format!("{file}.svg"),
        title,
        description,
        dots.size(),
        |canvas| dots.draw(canvas),
    )
    .map(Some)
}
