//! Typed reading of raw values: a wrong one becomes a problem and its default stands in, so that reading goes on.
//!
//! The reader keeps what it read, defaults included: that is what `config.toml` of a run says.

use super::keys::{self, Key};
use super::problem::{Place, Problem};
use super::raw::{Leaf, Leaves};
use bn_core::Schedule;
use std::collections::BTreeSet;
use toml::Value;

/// A word that stands for one of several things in a file.
pub(super) trait Word: Sized {
    /// The thing that the word stands for.
    fn from_word(word: &str) -> Option<Self>;
}

/// Reads keys out of some leaves.
pub(super) struct Reader<'a> {
    leaves: &'a Leaves,
    problems: &'a mut Vec<Problem>,
    /// The paths that were asked for.
    pub(super) asked: BTreeSet<&'static str>,
    /// All values that were found or defaulted, as nested tables.
    pub(super) effective: toml::Table,
}

impl<'a> Reader<'a> {
    pub(super) fn new(leaves: &'a Leaves, problems: &'a mut Vec<Problem>) -> Self {
        Self { leaves, problems, asked: BTreeSet::new(), effective: toml::Table::new() }
    }

    /// A problem with the value of `path`, or with its absence.
    pub(super) fn complain(&mut self, path: &str, message: String) {
        let place = self.leaves.get(path).map_or(Place::File, |leaf| leaf.value_place.clone());
        self.problems.push(Problem { place, message });
    }

    /// Whether the file or the command line says anything about `path`.
    pub(super) fn is_given(&self, path: &str) -> bool {
        self.leaves.contains_key(path)
    }

    /// A value that has a default or must be given. `fallback` stands in where a problem was found.
    fn read<T>(
        &mut self,
        path: &str,
        fallback: T,
        accept: impl Fn(&Value) -> Option<(T, Value)>,
    ) -> T {
        let key = self.ask(path);
        match (self.leaves.get(path), key.default) {
            (Some(leaf), _) => self.take(key, leaf, accept).unwrap_or(fallback),
            (None, Some(default)) => {
                let accepted = parse_default(default).as_ref().and_then(accept);
                let (checked, value) =
                    accepted.unwrap_or_else(|| unreachable!("{path}: its default is not accepted"));
                insert(&mut self.effective, path, value);
                checked
            }
            (None, None) => {
                self.complain(path, format!("`{path}` is missing; expected {}", key.accepts));
                fallback
            }
        }
    }

    /// A value that may be absent.
    fn read_optional<T>(
        &mut self,
        path: &str,
        accept: impl Fn(&Value) -> Option<(T, Value)>,
    ) -> Option<T> {
        let key = self.ask(path);
        let leaf = self.leaves.get(path)?;
        self.take(key, leaf, accept)
    }

    fn ask(&mut self, path: &str) -> &'static Key {
        let key =
            keys::find(path).unwrap_or_else(|| unreachable!("{path} is not in the list of keys"));
        self.asked.insert(key.path);
        key
    }

    fn take<T>(
        &mut self,
        key: &Key,
        leaf: &Leaf,
        accept: impl Fn(&Value) -> Option<(T, Value)>,
    ) -> Option<T> {
        match accept(&leaf.value) {
            Some((checked, value)) => {
                insert(&mut self.effective, key.path, value);
                Some(checked)
            }
            None => {
                self.complain(
                    key.path,
                    format!("`{}` is {}; expected {}", key.path, leaf.value, key.accepts),
                );
                None
            }
        }
    }

    /// A number that `accept`s. Whole numbers will do.
    pub(super) fn number(
        &mut self,
        path: &str,
        fallback: f64,
        accept: impl Fn(f64) -> bool,
    ) -> f64 {
        self.read(path, fallback, |value| {
            as_number(value).filter(|&number| accept(number)).map(keep_number)
        })
    }

    /// A number that may be absent.
    pub(super) fn optional_number(&mut self, path: &str) -> Option<f64> {
        self.read_optional(path, |value| as_number(value).map(keep_number))
    }

    /// A whole number within `range`.
    pub(super) fn integer(
        &mut self,
        path: &str,
        fallback: u64,
        range: std::ops::RangeInclusive<u64>,
    ) -> u64 {
        self.read(path, fallback, |value| {
            as_integer(value)
                .filter(|number| range.contains(number))
                .map(|number| (number, value.clone()))
        })
    }

    /// A list of whole numbers within `range`.
    pub(super) fn integers(
        &mut self,
        path: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Vec<u64> {
        self.read(path, Vec::new(), |value| {
            let item = |item| as_integer(item).filter(|number| range.contains(number));
            let items: Option<Vec<u64>> = value.as_array()?.iter().map(item).collect();
            items.map(|items| (items, value.clone()))
        })
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, path: &str) -> bool {
        self.read(path, false, |value| value.as_bool().map(|flag| (flag, value.clone())))
    }

    /// One of several words.
    pub(super) fn word<T: Word + Clone>(&mut self, path: &str, fallback: T) -> T {
        self.read(path, fallback, |value| {
            value.as_str().and_then(T::from_word).map(|word| (word, value.clone()))
        })
    }

    /// One of several words, or nothing.
    pub(super) fn optional_word<T: Word>(&mut self, path: &str) -> Option<T> {
        self.read_optional(path, |value| {
            value.as_str().and_then(T::from_word).map(|word| (word, value.clone()))
        })
    }

    /// A text that is not empty, or nothing.
    pub(super) fn optional_text(&mut self, path: &str) -> Option<String> {
        self.read_optional(path, |value| {
            let text = value.as_str().filter(|text| !text.trim().is_empty())?;
            Some((text.to_owned(), value.clone()))
        })
    }

    /// Points `[[step, number], ...]`: at least one, steps rising, every number `accept`ed.
    pub(super) fn points(&mut self, path: &str, accept: impl Fn(f64) -> bool) -> Schedule {
        self.read(path, Schedule::constant(1.0), |value| {
            let points = as_points(value)
                .filter(|points| points.points().iter().all(|point| accept(point.1)))?;
            Some((points, value.clone()))
        })
    }

    /// A number, or points; nothing where absent.
    pub(super) fn optional_bound(&mut self, path: &str) -> Option<Schedule> {
        self.read_optional(path, |value| match as_number(value) {
            Some(number) => Some((Schedule::constant(number), Value::Float(number))),
            None => as_points(value).map(|points| (points, value.clone())),
        })
    }
}

fn as_number(value: &Value) -> Option<f64> {
    match value {
        Value::Float(number) => number.is_finite().then_some(*number),
        Value::Integer(number) => Some(*number as f64),
        _ => None,
    }
}

fn keep_number(number: f64) -> (f64, Value) {
    (number, Value::Float(number))
}

fn as_integer(value: &Value) -> Option<u64> {
    value.as_integer().and_then(|number| u64::try_from(number).ok())
}

fn as_points(value: &Value) -> Option<Schedule> {
    let point = |point: &Value| match point.as_array()?.as_slice() {
        [step, number] => Some((as_integer(step)?, as_number(number)?)),
        _ => None,
    };
    let points: Option<Vec<(u64, f64)>> = value.as_array()?.iter().map(point).collect();
    Schedule::piecewise(points?).ok()
}

fn parse_default(text: &str) -> Option<Value> {
    format!("value = {text}").parse::<toml::Table>().ok()?.remove("value")
}

/// Puts `value` at a dotted path of nested tables.
fn insert(table: &mut toml::Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            table.insert(path.to_owned(), value);
        }
        Some((first, rest)) => {
            let inner = table.entry(first).or_insert_with(|| Value::Table(toml::Table::new()));
            if let Value::Table(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}
