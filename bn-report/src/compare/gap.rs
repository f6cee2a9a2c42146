//! How far apart two readings of the same weights lie: validation by batch and by moving statistics. Pure.

use crate::curve::{self, Band, Curve, Key};
use crate::read::Arm;
use crate::schema::{Split, Statistics};

/// A gap between two readings of the same weights counts as closed when it is no larger than this.
pub const CLOSED_GAP: f64 = 0.05;

/// The widest gap between batch and moving statistics on validation: the same weights, the same examples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gap {
    /// The first step at which it is widest.
    pub step: u64,
    /// Mean by moving statistics there.
    pub moving: f64,
    /// Mean by batch statistics there.
    pub batch: f64,
    /// The first step from which it stays within [`CLOSED_GAP`] to the end.
    pub closed_from: Option<u64>,
}

impl Gap {
    /// How far apart, never negative.
    pub fn size(&self) -> f64 {
        (self.batch - self.moving).abs()
    }
}

/// Both readings of the validation metric, each run's steps cut to those where it has both, so that means compare like with like.
pub fn paired_readings(arm: &Arm, metric: &str) -> Option<(Band, Band)> {
    let mut moving: Vec<Curve> = Vec::new();
    let mut batch: Vec<Curve> = Vec::new();
    for run in &arm.runs {
        let of = |statistics| {
            curve::curve(run.rows(), &Key::new(Split::Validation, Some(statistics), metric))
        };
        let (mut by_moving, mut by_batch) = (of(Statistics::Moving), of(Statistics::Batch));
        let valued = |curve: &Curve, step: &u64| curve.get(step).copied().flatten().is_some();
        by_moving.retain(|step, value| value.is_some() && valued(&by_batch, step));
        by_batch.retain(|step, value| value.is_some() && valued(&by_moving, step));
        moving.push(by_moving);
        batch.push(by_batch);
    }
    let (moving, batch) = (curve::band(&moving), curve::band(&batch));
    (!moving.is_empty()).then_some((moving, batch))
}

pub(super) fn gap(arm: &Arm, metric: &str) -> Option<Gap> {
    let (moving, batch) = paired_readings(arm, metric)?;
    let mut widest: Option<Gap> = None;
    let mut closed_from = None;
    for ((&step, moving), batch) in moving.iter().zip(batch.values()) {
        let here = Gap { step, moving: moving.mean?, batch: batch.mean?, closed_from: None };
        if widest.is_none_or(|widest| here.size() > widest.size()) {
            widest = Some(here);
        }
        closed_from = if here.size() > CLOSED_GAP { None } else { closed_from.or(Some(step)) };
    }
    widest.map(|widest| Gap { closed_from, ..widest })
}
