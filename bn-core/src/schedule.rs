//! [`Schedule`]: a number by step. Schedules are data, so they can be saved, checked and drawn.

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, require};

/// A number by step: linear between points, constant before the first and after the last.
///
/// Two points at the same step are a jump; the second applies from that step on.
///
/// ```
/// use bn_core::Schedule;
/// let r_max = Schedule::piecewise([(0, 1.0), (5_000, 1.0), (40_000, 3.0)])?;
/// assert_eq!(r_max.at(0), 1.0);
/// assert_eq!(r_max.at(22_500), 2.0);
/// assert_eq!(r_max.at(1_000_000), 3.0);
/// # Ok::<(), bn_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(Serialize, Deserialize),
    serde(try_from = "Vec<(u64, f64)>", into = "Vec<(u64, f64)>")
)]
pub struct Schedule {
    points: Vec<(u64, f64)>,
}

impl Schedule {
    /// The same value at every step.
    pub fn constant(value: f64) -> Self {
        Self { points: vec![(0, value)] }
    }

    /// Linear between `(step, value)` points.
    ///
    /// # Errors
    /// [`Value`](crate::ErrorKind::Value) without points, for decreasing steps, or for a non-finite value.
    pub fn piecewise(points: impl IntoIterator<Item = (u64, f64)>) -> Result<Self> {
        let points: Vec<_> = points.into_iter().collect();
        if points.is_empty() {
            return Err(Error::value("schedule", "one (step, value) point or more", "none"));
        }
        if let Some(pair) = points.windows(2).find(|pair| pair[1].0 < pair[0].0) {
            let got = format!("{} after {}", pair[1].0, pair[0].0);
            return Err(Error::value("schedule", "steps that do not go back", got));
        }
        for (step, value) in &points {
            require(
                value.is_finite(),
                "schedule",
                "finite values",
                format!("{value} at step {step}"),
            )?;
        }
        Ok(Self { points })
    }

    /// The value at `step`.
    pub fn at(&self, step: u64) -> f64 {
        let after = self.points.partition_point(|point| point.0 <= step);
        let Some(&(from, low)) = after.checked_sub(1).and_then(|i| self.points.get(i)) else {
            return self.points[0].1;
        };
        let Some(&(to, high)) = self.points.get(after) else {
            return low;
        };
        low + (high - low) * ((step - from) as f64 / (to - from) as f64)
    }

    /// The points, in step order.
    pub fn points(&self) -> &[(u64, f64)] {
        &self.points
    }

    /// Refuses a schedule with a point outside a range. (Between points it cannot leave the range.)
    pub(crate) fn require_each(
        &self,
        name: &'static str,
        expected: &'static str,
        holds: impl Fn(f64) -> bool,
    ) -> Result<()> {
        for &(_, value) in &self.points {
            require(holds(value), name, expected, value)?;
        }
        Ok(())
    }
}

impl TryFrom<Vec<(u64, f64)>> for Schedule {
    type Error = Error;

    fn try_from(points: Vec<(u64, f64)>) -> Result<Self> {
        Self::piecewise(points)
    }
}

impl From<Schedule> for Vec<(u64, f64)> {
    fn from(schedule: Schedule) -> Self {
        schedule.points
    }
}

impl From<f64> for Schedule {
    fn from(value: f64) -> Self {
        Self::constant(value)
    }
}
