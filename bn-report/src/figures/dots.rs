//! The numbers of the charts with one dot per run.

use crate::chart::Chart;
use crate::chart::dots::{DotRow, Dots};
use crate::compare::Comparison;
use crate::error::Result;
use crate::format;
use crate::stats::Summary;
use crate::stats::censored::Time;

/// The metric at the end, every run a dot.
pub(super) fn finals(comparison: &Comparison) -> Result<Option<Chart>> {
    let rows =
        comparison.rows.iter().zip(comparison.cells()).enumerate().map(|(arm, (row, cells))| {
            DotRow {
                arm,
                name: row.name.clone(),
                values: row.finals.iter().map(|(_, outcome)| outcome.value()).collect(),
                summary: row.final_value,
                text: if row.final_value.n == 0 {
                    "no run finished".to_owned()
                } else {
                    cells.final_value
                },
            }
        });
    let title = comparison.final_heading();
    let unfinished = comparison.rows.iter().any(|row| row.final_value.n < row.finals.len());
    let without = unfinished.then(|| "no final value".to_owned());
    draw("final", Dots { title, rows: rows.collect(), without, steps: false })
}

/// Steps to the target, every run a dot; none without a target.
pub(super) fn steps_to_target(comparison: &Comparison) -> Result<Option<Chart>> {
    let Some(target) = comparison.target_words() else {
        return Ok(None);
    };
    let rows =
        comparison.rows.iter().zip(comparison.cells()).enumerate().map(|(arm, (row, cells))| {
            DotRow {
                arm,
                name: row.name.clone(),
                values: row.sustained.runs.iter().map(|(_, time)| at(*time)).collect(),
                summary: Summary::of(row.sustained.runs.iter().filter_map(|(_, time)| at(*time))),
                text: cells.steps_to_target,
            }
        });
    let unreached = comparison.rows.iter().any(|row| row.sustained.reached < row.reached.len());
    let without = unreached.then(|| "not reached".to_owned());
    draw(
        "steps-to-target",
        Dots { title: format!("steps to {target}"), rows: rows.collect(), without, steps: true },
    )
}

/// The step of a time that was reached.
fn at(time: Time) -> Option<f64> {
    match time {
        Time::At(step) => Some(step as f64),
        Time::After(_) => None,
    }
}

fn draw(file: &str, dots: Dots) -> Result<Option<Chart>> {
    let Some((low, high)) = dots.range() else {
        return Ok(None);
    };
    let rows: Vec<String> =
        dots.rows.iter().map(|row| format!("{}: {}.", row.name, row.text)).collect();
    let title = format!("{}, every run", dots.title);
    let number = if dots.steps { format::steps } else { format::value };
    let description = format!("Axis from {} to {}. {}", number(low), number(high), rows.join(" "));
    Chart::draw(format!("{file}.svg"), title, description, dots.size(), |canvas| dots.draw(canvas))
        .map(Some)
}
