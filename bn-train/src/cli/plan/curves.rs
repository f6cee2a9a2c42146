//! Schedules of a run: the learning rate, and the bounds of r and d.

use super::chart;
use super::first_runs;
use crate::experiment::Settings;
use crate::experiment::plan::Plan;
use bn_core::{Clipping, RMin};

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
    let steps = settings.train.steps;
    let rate = |step| settings.learning_rate * settings.schedule.factor(step, steps);
    let mut curves = vec![("learning rate", chart::draw(steps, rate))];
    let renorm = settings.norm.as_ref().and_then(|norm| norm.batch_norm()?.renorm.as_ref());
    if let Some(Clipping { r_min, r_max, d_max }) = renorm.map(|renorm| &renorm.clipping) {
        let bounds = [("upper bound of r", r_max), ("bound of |d|", d_max)];
        for (what, bound) in bounds {
            let lines = bound.as_ref().map(|bound| chart::draw(steps, |step| bound.at(step)));
            curves.extend(lines.map(|lines| (what, lines)));
        }
        if let Some(RMin::Bound(bound)) = r_min {
            curves.push(("lower bound of r", chart::draw(steps, |step| bound.at(step))));
        }
    }
    curves
}
