//! `[grid]`: lists of values for keys. Every arm is repeated with every combination of values.
//!
//! ```toml
//! [grid]
//! norm.decay = [0.9, 0.99]
//! norm.zero_debias = ["none", "both"]
//! ```
//!
//! makes four arms, `decay 0.9, zero_debias none` and so on. With `[[arm]]` there are four of each, and their names start
//! with the arm's name. Axes keep the order of the file, and the last one changes fastest.

use super::raw::{Raw, RawArm};
use crate::keys::{Leaf, Leaves, Place, Problem};
use bn_report::schema::Axis;
use std::collections::BTreeMap;
use toml::Value;

/// Maximum number of arms. More are probably a mistake, or a sweep for a cluster.
const MOST_ARMS: usize = 200;
const PREFIX: &str = "grid.";

/// The axes of a grid and each arm's coordinates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grid {
    /// In file order; empty without a grid.
    pub axes: Vec<Axis>,
    /// For each arm, its values by key.
    pub coordinates: Vec<BTreeMap<String, String>>,
}

/// An axis: a key and its values.
struct Choice {
    path: String,
    leaf: Leaf,
    values: Vec<Value>,
}

/// Removes `[grid]` from `raw` and expands its arms.
pub(super) fn expand(raw: &mut Raw) -> Grid {
    let choices = take(raw);
    if choices.is_empty() {
        return Grid { axes: Vec::new(), coordinates: vec![BTreeMap::new(); raw.arms.len()] };
    }
    let points: usize = choices.iter().map(|choice| choice.values.len()).product();
    let count = points.saturating_mul(raw.arms.len());
    if count > MOST_ARMS {
        let message = format!(
            "the grid has {points} points, which makes {count} arms; expected {MOST_ARMS} at most"
        );
        raw.problems.push(Problem { place: choices[0].leaf.key_place.clone(), message });
        return Grid { axes: Vec::new(), coordinates: vec![BTreeMap::new(); raw.arms.len()] };
    }
    let mut grid = Grid {
        axes: choices.iter().map(Choice::axis).collect(),
        coordinates: Vec::with_capacity(count),
    };
    let mut arms = Vec::with_capacity(count);
    for arm in &raw.arms {
        for point in 0..points {
            let (arm, coordinates) = at(arm, &choices, point);
            arms.push(arm);
            grid.coordinates.push(coordinates);
        }
    }
    raw.arms = arms;
    grid
}

/// Takes the axes out of `raw`, in file order.
fn take(raw: &mut Raw) -> Vec<Choice> {
    let mut choices = Vec::new();
    let paths: Vec<String> =
        raw.leaves.keys().filter(|path| path.starts_with(PREFIX)).cloned().collect();
    for path in paths {
        let Some(leaf) = raw.leaves.remove(&path) else { continue };
        let own = path[PREFIX.len()..].to_owned();
        match leaf.value.as_array() {
            Some(values) if !values.is_empty() => {
                let values = values.clone();
                let names: Vec<String> = values.iter().map(shown).collect();
                if let Some(twice) = names.iter().enumerate().find(|(i, n)| names[..*i].contains(n))
                {
                    let message = format!("`{path}` lists {} twice", twice.1);
                    raw.problems.push(Problem { place: leaf.value_place.clone(), message });
                }
                choices.push(Choice { path: own, leaf, values });
            }
            _ => {
                let message =
                    format!("`{path}` is {}; expected a list of values for `{own}`", leaf.value);
                raw.problems.push(Problem { place: leaf.value_place, message });
            }
        }
    }
    choices.sort_by_key(|choice| match choice.leaf.key_place {
        Place::At { line, column } => (line, column),
        _ => (usize::MAX, 0),
    });
    choices
}

impl Choice {
    fn axis(&self) -> Axis {
        Axis { key: self.path.clone(), values: self.values.iter().map(shown).collect() }
    }

    /// The last part of the key, for arm names.
    fn name(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or(&self.path)
    }
}

/// The arm at a point of the grid, with its coordinates.
fn at(arm: &RawArm, choices: &[Choice], point: usize) -> (RawArm, BTreeMap<String, String>) {
    let mut leaves: Leaves = arm.leaves.clone();
    let (mut parts, mut coordinates) = (Vec::new(), BTreeMap::new());
    let mut rest = point;
    for choice in choices.iter().rev() {
        let value = &choice.values[rest % choice.values.len()];
        rest /= choice.values.len();
        leaves.insert(choice.path.clone(), Leaf { value: value.clone(), ..choice.leaf.clone() });
        parts.push(format!("{} {}", choice.name(), shown(value)));
        coordinates.insert(choice.path.clone(), shown(value));
    }
    parts.extend(
        arm.leaves
            .get("name")
            .and_then(|leaf| leaf.value.as_str())
            .map(|name| name.trim().to_owned()),
    );
    parts.reverse();
    let place = arm.place.clone();
    let name = Leaf {
        key_place: place.clone(),
        value_place: arm.leaves.get("name").map_or(place.clone(), |leaf| leaf.value_place.clone()),
        value: Value::String(parts.join(", ")),
    };
    leaves.insert("name".to_owned(), name);
    (RawArm { place, leaves }, coordinates)
}

/// A value as shown in names: text without quotes.
fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::super::{Flags, Registry};

    const HEAD: &str = "optimizer.learning_rate = 0.1\ntrain.steps = 10\n";

    fn names(text: &str) -> Result<Vec<String>, String> {
        let text = format!("{HEAD}{text}");
        let experiment = Registry::built_in().parse("x", "x", &text, &Flags::default());
        let experiment = experiment.map_err(|invalid| invalid.to_string())?;
        Ok(experiment.arms.into_iter().map(|arm| arm.name).collect())
    }

    #[test]
    fn every_combination_is_an_arm() {
        let text = "[grid]\nnorm.zero_debias = ['none', 'both']\nnorm.decay = [0.9, 0.99]";
        let want = [
            "zero_debias none, decay 0.9",
            "zero_debias none, decay 0.99",
            "zero_debias both, decay 0.9",
            "zero_debias both, decay 0.99",
        ];
        assert_eq!(names(text).unwrap(), want);
        let text = "grid = { train.batch_size = [8, 16] }\n[[arm]]\nname = 'a'\n[[arm]]\nname = 'b'\nnorm.kind = 'none'";
        let want = ["a, batch_size 8", "a, batch_size 16", "b, batch_size 8", "b, batch_size 16"];
        assert_eq!(names(text).unwrap(), want);
    }

    #[test]
    fn arms_have_the_values_of_their_coordinates() {
        let text =
            format!("{HEAD}grid = {{ norm.decay = [0.5, 0.25], train.batch_size = [8, 16] }}");
        let experiment = Registry::built_in().parse("x", "x", &text, &Flags::default()).unwrap();
        let axes: Vec<&str> = experiment.grid.axes.iter().map(|axis| axis.key.as_str()).collect();
        assert_eq!(axes, ["norm.decay", "train.batch_size"]);
        for (arm, coordinates) in experiment.arms.iter().zip(&experiment.grid.coordinates) {
            let decay = &arm.settings.written["norm"]["decay"];
            assert_eq!(decay.to_string(), coordinates["norm.decay"]);
            let size = arm.settings.train.batch_size.to_string();
            assert_eq!(size, coordinates["train.batch_size"]);
        }
    }

    #[test]
    fn invalid_grids_are_refused_with_the_reason() {
        for (grid, expected) in [
            (
                "norm.decay = 0.9",
                "`grid.norm.decay` is 0.9; expected a list of values for `norm.decay`",
            ),
            ("norm.decay = []", "expected a list of values"),
            ("norm.decay = [0.9, 0.9]", "`grid.norm.decay` lists 0.9 twice"),
            ("norm.decay = [0.9, 2.0]", "`norm.decay` is 2.0"),
            ("norm.dekay = [0.9]", "did you mean `norm.decay`"),
            ("seeds = [1, 2]", "belongs to the experiment"),
            (
                "train.steps = [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]\ntrain.batch_size = [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]",
                "225 arms; expected 200 at most",
            ),
        ] {
            let message = names(&format!("[grid]\n{grid}")).unwrap_err();
            assert!(message.contains(expected), "{grid}: {message}");
        }
    }
}
