//! The settings that change by plan during a run, from `schedules.csv`: learning rate, decay, bounds of batch renormalization.

use std::collections::BTreeSet;

use super::Section;
use super::over_steps::band_lines;
use super::sheet::{self, Frame};
use crate::chart::Chart;
use crate::chart::curves::{ArmLines, Curves};
use crate::chart::range::Values;
use crate::read::{Arm, Experiment, Series};
use crate::schema::{self, ScheduleRow};

const INTRO: &str = "From schedules.csv: the settings that change by plan, as the updates used them. A value holds until the next one.";

/// The known settings, in the order of the page, in words.
const KNOWN: [(&str, &str); 5] = [
    (ScheduleRow::LEARNING_RATE, "learning rate"),
    (ScheduleRow::DECAY, "decay of the moving averages"),
    (ScheduleRow::RENORM_R_MAX, "batch renormalization: upper bound of r"),
    (ScheduleRow::RENORM_R_MIN, "batch renormalization: lower bound of r"),
    (ScheduleRow::RENORM_D_MAX, "batch renormalization: bound of |d|"),
];

/// A chart for each setting that was logged; those of settings that stay as they are in every arm are folded away.
pub(super) fn section(experiment: &Experiment) -> Section {
    let mut section =
        Section { intro: INTRO.to_owned(), ..Section::new("schedules", "Schedules", Vec::new()) };
    let mut constant = Vec::new();
    for name in names(experiment) {
        let arms = experiment.arms.iter();
        let is_constant = arms.flat_map(|arm| logged(arm, name)).all(is_constant);
        let chart = chart(experiment, name);
        let charts = if is_constant { &mut constant } else { &mut section.charts };
        charts.extend(chart);
    }
    if !constant.is_empty() {
        section.folds.push(("Settings with a schedule that stay as they are".to_owned(), constant));
    }
    section
}

/// What was logged: the known names first, the others in their order.
fn names(experiment: &Experiment) -> Vec<&str> {
    let records = experiment.records();
    let all: BTreeSet<&str> =
        records.flat_map(|record| record.schedules.iter().map(|(name, _)| name.as_str())).collect();
    let is_known = |name: &&str| KNOWN.iter().any(|(known, _)| known == name);
    let known = KNOWN.iter().map(|(name, _)| *name).filter(|name| all.contains(name));
    known.chain(all.iter().copied().filter(|name| !is_known(name))).collect()
}

fn logged<'a>(arm: &'a Arm, name: &str) -> impl Iterator<Item = &'a Series> {
    let name = name.to_owned();
    arm.runs.iter().filter_map(move |run| run.record()?.schedules.get(&name))
}

fn is_constant(series: &Series) -> bool {
    let mut values = series.iter().map(|(_, value)| value);
    let first = values.next();
    values.all(|value| Some(value) == first)
}

/// The schedule of an arm as a line: that of its longest run, since seeds share it; runs that differ are there as runs.
pub(super) fn line(place: usize, arm: &Arm, name: &str) -> Option<ArmLines> {
    // Of equally long runs the first.
    let last = |series: &Series| series.last().map(|(step, _)| step);
    let longest = logged(arm, name).reduce(|a, b| if last(b) > last(a) { b } else { a })?;
    let differs = |series: &&Series| series.iter().any(|(step, value)| longest.held(step) != value);
    let others = logged(arm, name).filter(differs).map(|series| (series.iter().collect(), false));
    let n = logged(arm, name).count();
    Some(ArmLines {
        mean: longest.iter().map(|(step, value)| (step, value, n)).collect(),
        runs: others.collect(),
        stepped: true,
        ..band_lines(vec![place], arm.name.clone(), &Vec::new())
    })
}

fn chart(experiment: &Experiment, name: &str) -> Option<Chart> {
    let arms = experiment.arms.iter().enumerate();
    let lines: Vec<ArmLines> = arms.filter_map(|(place, arm)| line(place, arm, name)).collect();
    let known = KNOWN.iter().find(|(known, _)| *known == name);
    let title = known.map_or(name, |(_, words)| words);
    let mut caption = "Line: the value that each update used, of all seeds of an arm.".to_owned();
    if lines.iter().any(|line| !line.runs.is_empty()) {
        caption += " Faint: runs whose schedule is another than that of the arm's longest run.";
    }
    let curves = Curves {
        title: title.to_owned(),
        lines,
        target: None,
        rule: None,
        values: if name == ScheduleRow::LEARNING_RATE { Values::Positive } else { Values::Any },
        smooth: 1,
        measured_bands: false,
        panel: None,
    };
    let file = format!("schedule-{}", schema::slug(name));
    sheet::curves(Frame::new(file, title, caption), curves)
}
