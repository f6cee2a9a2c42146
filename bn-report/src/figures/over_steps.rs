//! One quantity over steps, all arms in one chart.

use super::sheet::{self, Frame};
use crate::chart::Chart;
use crate::chart::curves::{ArmLines, Curves, Line};
use crate::chart::range::Values;
use crate::curve::{self, Band, Key, RunCurve};
use crate::read::{Arm, Experiment};
use crate::schema::{self, Direction, Status};
use crate::stats::Level;

/// How curves are drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// Logged values that a point of a line is the mean of.
    pub(super) smooth: usize,
    /// The level of intervals.
    pub(super) level: Level,
}

/// A caption with the level of intervals in place of `{level}`.
pub(super) fn with_level(caption: &str, level: Level) -> String {
    caption.replace("{level}", &level.to_string())
}

/// How to read a chart of curves.
pub(super) const CAPTION: &str = "Line: mean over the runs that have a value at that step; it is broken where a run drops out. Band: {level} interval of the mean. Faint: every run. A cross ends a run that diverged; an arrow at the edge marks values beyond the axis.";

/// The lines of an arm from the curves of its runs.
pub(super) fn arm_lines(place: usize, arm: &Arm, curves: &[RunCurve], level: Level) -> ArmLines {
    let band = curve::band_at(level, curves.iter().map(|run| &run.curve));
    let runs =
        curves.iter().map(|run| (run.curve.iter().collect::<Line>(), diverged(arm, run.seed)));
    ArmLines { runs: runs.collect(), ..band_lines(vec![place], arm.name.clone(), &band) }
}

/// A line with its band.
pub(super) fn band_lines(arms: Vec<usize>, name: String, band: &Band) -> ArmLines {
    ArmLines {
        arms,
        name,
        style: None,
        mean: band.iter().map(|point| (point.step, point.mean, point.n)).collect(),
        band: band
            .iter()
            .map(|point| (point.step, point.interval.map(|i| (i.low, i.high))))
            .collect(),
        runs: Vec::new(),
        stepped: false,
    }
}

/// How lines are smoothed, in words.
fn smoothing(window: usize) -> String {
    format!(
        "Smoothed: the strong line is the moving mean of {window} logged values around each step (fewer near both ends), the thin one under it the mean as logged; intervals are averaged likewise. Values under the pointer and in the CSV are not smoothed."
    )
}

fn diverged(arm: &Arm, seed: u64) -> bool {
    let run = arm.runs.iter().find(|run| run.seed == seed);
    run.is_some_and(|run| matches!(run.status(), Some(Status::Diverged { .. })))
}

/// How the values of a metric spread.
pub(super) fn spread(experiment: &Experiment, metric: &str) -> Values {
    let metric = experiment.metric(metric);
    match metric.better {
        _ if metric.is_share() => Values::Share,
        Direction::Lower => Values::Positive,
        Direction::Higher => Values::Any,
    }
}

/// A quantity in words: `validation accuracy, by moving statistics`.
pub(super) fn words(key: &Key, any_statistics: bool) -> String {
    let plain = format!("{} {}", key.split.name(), key.metric);
    match key.statistics {
        Some(statistics) if any_statistics => format!("{plain}, by {statistics} statistics"),
        _ => plain,
    }
}

/// The chart of a quantity; none where no run logged it.
pub(super) fn chart(
    experiment: &Experiment,
    key: &Key,
    target: Option<f64>,
    Look { smooth, level }: Look,
) -> Option<Chart> {
    let mut lines = Vec::new();
    for (place, arm) in experiment.arms.iter().enumerate() {
        let curves = curve::arm_curves(arm, key);
        if !curves.is_empty() {
            lines.push(arm_lines(place, arm, &curves, level));
        }
    }
    let by_statistics = experiment.keys().iter().any(|logged| **logged == *key);
    let title = words(key, by_statistics);
    let metric = experiment.metric(&key.metric);
    let unit = metric.unit.as_deref().filter(|unit| *unit != schema::SHARE);
    let axis = unit.map_or(title.clone(), |unit| format!("{title} ({unit})"));
    let file = format!("{}-{}", key.split.name(), schema::slug(&key.metric));
    let curves = Curves {
        title: axis,
        lines,
        target,
        rule: None,
        values: spread(experiment, &key.metric),
        smooth,
        measured_bands: false,
        panel: None,
    };
    let mut caption = with_level(CAPTION, level);
    if curves.is_smoothed() {
        caption += &format!(" {}", smoothing(smooth));
    }
    sheet::curves(Frame::new(file, title, caption), curves)
}
