//! How fast runs went, from `timing.csv`: the only figure that differs from one time to the next.

use super::sheet::{self, Frame};
use crate::chart::Chart;
use crate::chart::dots::{DotRow, Dots};
use crate::format;
use crate::read::{Arm, Experiment, Run};
use crate::stats;

/// Training examples per second, a dot per run; none where nothing was timed.
pub(super) fn chart(experiment: &Experiment) -> Option<Chart> {
    let rows = experiment.arms.iter().enumerate().map(|(place, arm)| row(place, arm)).collect();
    let title = "training examples per second";
    let dots = Dots {
        title: title.into(),
        rows,
        without: None,
        steps: false,
        rule: None,
        connected: false,
    };
    let caption = "Dot: the median over a run's rows of timing.csv. Upright bar: the median over runs. Times hold for the machine and its load when the runs were made.";
    sheet::dots(Frame::new("speed", title, caption), dots)
}

fn row(place: usize, arm: &Arm) -> DotRow {
    let values: Vec<(u64, Option<f64>)> =
        arm.runs.iter().map(|run| (run.seed, speed(run))).collect();
    let speeds: Vec<f64> = values.iter().filter_map(|(_, speed)| *speed).collect();
    let centre = stats::median(&speeds);
    DotRow {
        arms: vec![place],
        name: arm.name.clone(),
        values,
        centre,
        interval: None,
        text: centre.map_or(format::ABSENT.to_owned(), format::steps),
    }
}

fn speed(run: &Run) -> Option<f64> {
    let rows = &run.record()?.timing;
    let speeds: Vec<f64> = rows.iter().filter_map(|row| row.examples_per_second).collect();
    stats::median(&speeds)
}
