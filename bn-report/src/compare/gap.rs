//! How far apart two readings of the same weights lie: a metric by two kinds of statistics on the same examples. Pure.

use crate::curve::{self, Band, Curve, Key};
use crate::read::{Arm, Series};
use crate::schema::{Split, Statistics};

/// The widest gap between moving and batch statistics on validation: the same weights, the same examples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gap {
    /// The first step at which it is widest.
    pub step: u64,
    /// Mean by moving statistics there.
    pub moving: f64,
    /// Mean by batch statistics there.
    pub batch: f64,
    /// The first step from which it stays within the tolerance of the comparison to the end; none where it is wider at the end.
    pub closed_from: Option<u64>,
}

impl Gap {
    /// Moving minus batch: negative where moving statistics read less.
    pub fn signed(&self) -> f64 {
        self.moving - self.batch
    }

    /// How far apart, never negative.
    pub fn size(&self) -> f64 {
        self.signed().abs()
    }
}

/// The mean curves of a metric by two kinds of statistics, each run's steps cut to those where it has both, so that means compare
/// like with like; none where no run has both.
pub fn paired_readings(
    arm: &Arm,
    split: Split,
    metric: &str,
    statistics: [Statistics; 2],
) -> Option<(Band, Band)> {
    let mut curves: [Vec<Curve>; 2] = [Vec::new(), Vec::new()];
    for record in arm.runs.iter().filter_map(|run| run.record()) {
        let of = |statistics| record.log.get(&Key::new(split, Some(statistics), metric));
        let Some((one, other)) = of(statistics[0]).zip(of(statistics[1])) else { continue };
        let shared = |curve: &Series, other: &Series| {
            curve.filtered(|step, value| value.is_some() && other.at(step).is_some())
        };
        curves[0].push(shared(one, other));
        curves[1].push(shared(other, one));
    }
    let [one, other] = curves.map(|curves| curve::band(&curves));
    (!one.is_empty()).then_some((one, other))
}

/// The gap of an arm; within `tolerance` it counts as closed.
pub(super) fn gap(arm: &Arm, metric: &str, tolerance: f64) -> Option<Gap> {
    let statistics = [Statistics::Moving, Statistics::Batch];
    let (moving, batch) = paired_readings(arm, Split::Validation, metric, statistics)?;
    let mut widest: Option<Gap> = None;
    let mut closed_from = None;
    for (moving, batch) in moving.iter().zip(&batch) {
        let step = moving.step;
        let here = Gap { step, moving: moving.mean?, batch: batch.mean?, closed_from: None };
        if widest.is_none_or(|widest| here.size() > widest.size()) {
            widest = Some(here);
        }
        closed_from = if here.size() > tolerance { None } else { closed_from.or(Some(step)) };
    }
    widest.map(|widest| Gap { closed_from, ..widest })
}
