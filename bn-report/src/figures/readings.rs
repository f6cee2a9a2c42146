//! The numbers of the panels that show the same weights read twice.

use crate::chart::Chart;
use crate::chart::readings::{self, Readings};
use crate::compare::{Comparison, paired_readings};
use crate::curve::{self, Key};
use crate::error::Result;
use crate::format;
use crate::read::{Arm, Experiment};
use crate::schema::{Split, Statistics};

/// A panel per arm, with shared ranges; none where no arm logged both readings.
pub(super) fn per_arm(experiment: &Experiment, comparison: &Comparison) -> Result<Vec<Chart>> {
    if comparison.rows.iter().all(|row| row.gap.is_none()) {
        return Ok(Vec::new());
    }
    let metric = &comparison.metric;
    let moving = Key::new(Split::Validation, Some(Statistics::Moving), metric);
    let panel = |(index, arm): (usize, &Arm)| {
        let runs: Vec<_> =
            curve::arm_curves(arm, &moving).into_iter().map(|run| run.curve).collect();
        Readings {
            arm: index,
            name: arm.name.clone(),
            main: curve::band(&runs),
            runs,
            pair: paired_readings(
                arm,
                Split::Validation,
                metric,
                [Statistics::Moving, Statistics::Batch],
            ),
            tolerance: comparison.gap_tolerance,
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
    let steps: Vec<u64> =
        panels.iter().flat_map(|panel| panel.main.iter().map(|point| point.step)).collect();
    let mut values: Vec<f64> = panels
        .iter()
        .flat_map(|panel| panel.runs.iter().flat_map(|run| run.finite().map(|(_, value)| value)))
        .collect();
    for (_, batch) in panels.iter().filter_map(|panel| panel.pair.as_ref()) {
        values.extend(batch.iter().filter_map(|point| point.mean));
    }
    for panel in &mut panels {
        panel.steps.clone_from(&steps);
        panel.values.clone_from(&values);
    }
    let draw = |(panel, arm): (&Readings, &Arm)| {
        let title =
            format!("{}: validation {metric} by moving and by batch statistics", panel.name);
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
        Chart::draw(file, title, description, readings::SIZE, |canvas| panel.draw(canvas))
    };
    panels.iter().zip(&experiment.arms).map(draw).collect()
}
