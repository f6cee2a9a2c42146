//! Schedules of a run: the learning rate, and the bounds of r and d.

use super::super::chart;
use super::first_runs;
use crate::experiment::Settings;
use crate::experiment::plan::Plan;
use bn_report::schema::ScheduleRow;

/// A curve and the arms that share it.
pub(super) struct Curve<'a> {
    pub(super) what: &'static str,
    pub(super) lines: Vec<String>,
    pub(super) arms: Vec<&'a str>,
}

/// The distinct curves of the learning rate and of the bounds of r and d.
pub(super) fn curves(plan: &Plan) -> Vec<Curve<'_>> {
    let mut curves: Vec<Curve<'_>> = Vec::new();
    for run in first_runs(plan) {
        for (what, lines) in curves_of(&run.settings) {
            match curves.iter_mut().find(|curve| curve.what == what && curve.lines == lines) {
                Some(curve) => curve.arms.push(&run.arm),
                None => curves.push(Curve { what, lines, arms: vec![&run.arm] }),
            }
        }
    }
    curves
}

fn curves_of(settings: &Settings) -> Vec<(&'static str, Vec<String>)> {
    let draw =
        |index: usize| chart::draw(settings.train.steps, |step| settings.scheduled(step)[index].1);
    let names = settings.scheduled(0).into_iter().enumerate();
    names.map(|(index, (name, _))| (words(name), draw(index))).collect()
}

fn words(name: &'static str) -> &'static str {
    match name {
        ScheduleRow::LEARNING_RATE => "learning rate",
        ScheduleRow::RENORM_R_MIN => "lower bound of r",
        ScheduleRow::RENORM_R_MAX => "upper bound of r",
        ScheduleRow::RENORM_D_MAX => "bound of |d|",
        other => other,
    }
}
