//! The options of batch renormalization: variant, decay, bounds over the steps.

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use crate::channel::{Bounds, RenormVariant};
use crate::error::{Error, Result, require};
use crate::schedule::Schedule;

/// The lower bound of r.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(rename_all = "snake_case"))]
pub enum RMin {
    /// A bound of its own schedule, in `[0, 1]`.
    Bound(Schedule),
    /// `1 / r_max`, as in the paper.
    InverseOfRMax,
}

/// Bounds of r and d over the steps. `None` means unbounded, in every variant.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(default, deny_unknown_fields))]
pub struct Clipping {
    /// Lower bound of r. Defaults to none.
    pub r_min: Option<RMin>,
    /// Upper bound of r, 1 or more. Defaults to none.
    pub r_max: Option<Schedule>,
    /// Bound of |d|, 0 or more. Defaults to none.
    pub d_max: Option<Schedule>,
}

impl Clipping {
    /// No bounds.
    pub fn none() -> Self {
        Self::default()
    }

    /// The same bounds at every step.
    pub fn constant(r_min: Option<f64>, r_max: Option<f64>, d_max: Option<f64>) -> Self {
        Self {
            r_min: r_min.map(|bound| RMin::Bound(Schedule::constant(bound))),
            r_max: r_max.map(Schedule::constant),
            d_max: d_max.map(Schedule::constant),
        }
    }

    /// The paper's schedule, scaled from its 130,000 steps to `total_steps`.
    ///
    /// Plain batch norm (r = 1, d = 0) for the first 5/130; then linearly to `r_max` 3 at 40/130 and
    /// `d_max` 5 at 25/130; `r_min = 1 / r_max` throughout.
    pub fn paper(total_steps: u64) -> Self {
        let at = |thousands: u64| (total_steps as f64 * thousands as f64 / 130.0).round() as u64;
        let ramp =
            |from: f64, to: f64, end: u64| Schedule::piecewise([(at(5), from), (at(end), to)]);
        Self {
            r_min: Some(RMin::InverseOfRMax),
            r_max: ramp(1.0, 3.0, 40).ok(),
            d_max: ramp(0.0, 5.0, 25).ok(),
        }
    }

    /// The bounds at one step; a step is an update of the moving statistics.
    pub fn at(&self, step: u64) -> Bounds {
        let r_max = self.r_max.as_ref().map(|schedule| schedule.at(step));
        Bounds {
            r_min: match &self.r_min {
                Some(RMin::Bound(schedule)) => Some(schedule.at(step)),
                Some(RMin::InverseOfRMax) => r_max.map(f64::recip),
                None => None,
            },
            r_max,
            d_max: self.d_max.as_ref().map(|schedule| schedule.at(step)),
        }
    }

    fn check(&self) -> Result<()> {
        if let Some(RMin::Bound(bound)) = &self.r_min {
            bound.require_each("r_min", "0 <= r_min <= 1", |v| (0.0..=1.0).contains(&v))?;
        }
        if let (Some(RMin::InverseOfRMax), None) = (&self.r_min, &self.r_max) {
            return Err(Error::contradiction(
                "r_min = 1 / r_max",
                "no r_max",
                "there is nothing to invert",
            ));
        }
        if let Some(bound) = &self.r_max {
            bound.require_each("r_max", "r_max >= 1", |v| v >= 1.0)?;
        }
        if let Some(bound) = &self.d_max {
            bound.require_each("d_max", "d_max >= 0", |v| v >= 0.0)?;
        }
        Ok(())
    }
}

/// Batch renormalization of a layer.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(default, deny_unknown_fields))]
pub struct RenormConfig {
    /// The algorithm.
    pub variant: RenormVariant,
    /// λ, the weight of the old value in the reference averages of r and d; in `[0, 1)`.
    pub decay: f64,
    /// Bounds of r and d.
    pub clipping: Clipping,
}

impl Default for RenormConfig {
    /// Keras' variant, which is also TensorFlow's today.
    fn default() -> Self {
        Self::new(RenormVariant::Keras)
    }
}

impl RenormConfig {
    /// A variant with decay 0.99 (the systems' default; α = 0.01 in the paper) and no bounds.
    pub fn new(variant: RenormVariant) -> Self {
        Self { variant, decay: 0.99, clipping: Clipping::none() }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let in_range = (0.0..1.0).contains(&self.decay);
        require(in_range, "renorm decay", "0 <= decay < 1", self.decay)?;
        self.clipping.check()
    }
}
