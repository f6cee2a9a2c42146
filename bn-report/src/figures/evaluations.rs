//! The same weights under different statistics: a panel per arm, and the signed gap between moving and batch statistics.

use super::over_steps::{arm_lines, band_lines, spread, with_level};
use super::sheet::{self, Frame};
use crate::chart::Chart;
use crate::chart::curves::{ArmLines, Curves};
use crate::chart::range::Values;
use crate::chart::style::{self, ArmStyle};
use crate::curve::{self, Key, RunCurve};
use crate::read::{Arm, Experiment, Series};
use crate::schema::{self, Split, Statistics};
use crate::stats::Level;
use crate::text::printable;

/// How to read the panels.
pub(super) const PANELS: &str = "Solid: validation by the moving statistics that a deployed net uses. Dashed: the same weights on the same examples by batch statistics; dotted: by population statistics; finely dashed: by averages of other decays. The difference is caused by the statistics, not by the weights. Faint: every run by moving statistics.";

const GAP: &str = "Validation by moving statistics minus validation by batch statistics, of the same weights on the same examples; 0 (dotted) is no gap. Each run is paired with itself at each step. Band: {level} interval of the mean. Faint: every run.";

fn key(statistics: Statistics, metric: &str) -> Key {
    Key::new(Split::Validation, Some(statistics), metric)
}

/// The kinds of statistics by which any run of an arm measured a metric on validation.
fn kinds(arm: &Arm, metric: &str) -> Vec<Statistics> {
    let mut kinds = Vec::new();
    for record in arm.runs.iter().filter_map(|run| run.record()) {
        let keys = record.log.iter().map(|(key, _)| key);
        let keys = keys.filter(|key| key.split == Split::Validation && key.metric == metric);
        kinds.extend(keys.filter_map(|key| key.statistics));
    }
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// A panel per arm that was measured by more than one kind of statistics.
pub(super) fn panels(experiment: &Experiment, metric: &str, level: Level) -> Vec<Chart> {
    let arms = experiment.arms.iter().enumerate();
    arms.filter_map(|(place, arm)| panel(experiment, place, arm, metric, level)).collect()
}

fn panel(
    experiment: &Experiment,
    place: usize,
    arm: &Arm,
    metric: &str,
    level: Level,
) -> Option<Chart> {
    let kinds = kinds(arm, metric);
    if kinds.len() < 2 {
        return None;
    }
    let own = style::arm(place);
    let mut lines = Vec::new();
    for statistics in kinds {
        let curves = curve::arm_curves(arm, &key(statistics, metric));
        let (ink, dash) = match statistics {
            Statistics::Moving => (own.ink, style::SOLID),
            Statistics::Batch => (style::TEXT, style::DASHED),
            Statistics::Population => (style::TEXT, style::DOTTED),
            Statistics::Shadow(_) => (style::MUTED, FINE),
        };
        let style = ArmStyle { ink, dash, marker: own.marker };
        let mut line = ArmLines {
            name: format!("{statistics} statistics"),
            style: Some(style),
            ..arm_lines(place, arm, &curves, level)
        };
        if statistics != Statistics::Moving {
            line.band.clear();
            line.runs.clear();
        }
        lines.push(line);
    }
    let title = format!("{}: validation {metric} by each kind of statistics", arm.name);
    let curves = Curves {
        title: title.clone(),
        lines,
        target: None,
        rule: None,
        values: spread(experiment, metric),
        smooth: 1,
        measured_bands: false,
        panel: Some(printable(&arm.name)),
    };
    sheet::curves(Frame::new(format!("evaluations-{}", schema::slug(&arm.name)), title, ""), curves)
}

const FINE: style::Dash = &[3.0, 2.0];

/// The gap over steps, all arms; none where no arm logged both.
pub(super) fn gap(experiment: &Experiment, metric: &str, level: Level) -> Option<Chart> {
    let mut lines = Vec::new();
    for (place, arm) in experiment.arms.iter().enumerate() {
        let gaps: Vec<RunCurve> = arm
            .runs
            .iter()
            .filter_map(|run| {
                let log = &run.record()?.log;
                let moving = log.get(&key(Statistics::Moving, metric))?;
                let batch = log.get(&key(Statistics::Batch, metric))?;
                Some(RunCurve { seed: run.seed, curve: difference(moving, batch) })
            })
            .collect();
        if !gaps.is_empty() {
            lines.push(arm_lines(place, arm, &gaps, level));
        }
    }
    let title = format!("gap in validation {metric}: moving minus batch statistics");
    let file = format!("gap-validation-{}", schema::slug(metric));
    let curves = Curves {
        title: title.clone(),
        lines,
        target: None,
        rule: Some(0.0),
        values: Values::Any,
        smooth: 1,
        measured_bands: false,
        panel: None,
    };
    sheet::curves(Frame::new(file, title, with_level(GAP, level)), curves)
}

/// One series minus another, at the steps that both have.
fn difference(one: &Series, other: &Series) -> Series {
    one.iter().filter_map(|(step, value)| Some((step, Some(value? - other.at(step)?)))).collect()
}

/// How to read [`share`].
const SHARE: &str = "The share of all runs of an arm whose value is at the target at that step, or better. A run that falls below the target again is not counted there; nor is one that diverged.";

/// The share of runs at the target over steps.
pub(super) fn share(experiment: &Experiment, key: &Key, target: f64) -> Option<Chart> {
    let better = experiment.better(&key.metric);
    let mut lines = Vec::new();
    for (place, arm) in experiment.arms.iter().enumerate() {
        let curves = curve::arm_curves(arm, key);
        let mut steps: Vec<u64> =
            curves.iter().flat_map(|run| run.curve.steps().to_vec()).collect();
        steps.sort_unstable();
        steps.dedup();
        let all = arm.runs.len();
        let at = |step: u64| {
            let met = curves
                .iter()
                .filter(|run| run.curve.at(step).is_some_and(|value| better.meets(value, target)));
            (step, Some(met.count() as f64 / all as f64), all)
        };
        let mean: Vec<(u64, Option<f64>, usize)> = steps.into_iter().map(at).collect();
        if !mean.is_empty() {
            let line = band_lines(vec![place], arm.name.clone(), &Vec::new());
            lines.push(ArmLines { mean, stepped: true, ..line });
        }
    }
    let title = format!(
        "share of runs with {} {} {target}",
        super::over_steps::words(key, false),
        match better {
            schema::Direction::Higher => "of at least",
            schema::Direction::Lower => "of at most",
        }
    );
    let curves = Curves {
        title: title.clone(),
        lines,
        target: None,
        rule: None,
        values: Values::Share,
        smooth: 1,
        measured_bands: false,
        panel: None,
    };
    sheet::curves(Frame::new("share-at-target", title, SHARE), curves)
}
