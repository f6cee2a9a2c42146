//! What a metric is: which way is better, and its unit.

use serde::{Deserialize, Serialize};

/// Which way of a metric is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
}

impl Direction {
    /// `value` with the sign that makes more better.
    pub fn gain(self, value: f64) -> f64 {
        match self {
            Self::Higher => value,
            Self::Lower => -value,
        }
    }

    /// Whether `value` is at `target` or on its better side.
    pub fn meets(self, value: f64, target: f64) -> bool {
        match self {
            Self::Higher => value >= target,
            Self::Lower => value <= target,
        }
    }
}

/// A metric as the manifest defines it: `[[metric]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricDefinition {
    /// Its name in `metrics.csv`.
    pub name: String,
    /// Which way is better.
    pub better: Direction,
    /// Its unit, as a reader should see it; none for a pure number. `share` is a proportion of examples, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// The unit of a proportion of examples, 0 to 1.
pub const SHARE: &str = "share";

impl MetricDefinition {
    /// The definition of a metric that no manifest defines: `accuracy` is a share, higher is better; `error` is a share and
    /// `loss` is in nats, `distance` has no unit, lower is better; names that end in these words likewise. Of any other metric
    /// higher is better, and no unit is known.
    pub fn by_name(name: &str) -> Self {
        let is = |word: &str| name == word || name.ends_with(&format!("_{word}"));
        let (better, unit) = if is("loss") {
            (Direction::Lower, Some("nats"))
        } else if is("distance") {
            (Direction::Lower, None)
        } else if is("error") {
            (Direction::Lower, Some(SHARE))
        } else if is("accuracy") || is("top5") || name.starts_with("accuracy_of_") {
            (Direction::Higher, Some(SHARE))
        } else {
            (Direction::Higher, None)
        };
        Self { name: name.to_owned(), better, unit: unit.map(str::to_owned) }
    }

    /// Whether its values are proportions of examples.
    pub fn is_share(&self) -> bool {
        self.unit.as_deref() == Some(SHARE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_direction_and_unit_where_nothing_defines_them() {
        for (name, better, unit) in [
            ("accuracy", Direction::Higher, Some("share")),
            ("averaged_accuracy", Direction::Higher, Some("share")),
            ("loss", Direction::Lower, Some("nats")),
            ("averaged_loss", Direction::Lower, Some("nats")),
            ("error", Direction::Lower, Some("share")),
            ("distance", Direction::Lower, None),
            ("gloss", Direction::Higher, None),
        ] {
            let definition = MetricDefinition::by_name(name);
            assert_eq!((definition.better, definition.unit.as_deref()), (better, unit), "{name}");
        }
    }

    #[test]
    fn a_target_is_met_on_its_better_side_and_at_its_value() {
        for (direction, met) in
            [(Direction::Higher, [false, true, true]), (Direction::Lower, [true, true, false])]
        {
            assert_eq!([0.4, 0.5, 0.6].map(|value| direction.meets(value, 0.5)), met);
            assert!(!direction.meets(f64::NAN, 0.5) && !direction.meets(0.5, f64::NAN));
        }
    }
}
