//! Reads keys. A wrong value is recorded as a problem, and reading continues.

use super::entry::{Entry, Presence};
use super::leaf::{Leaf, Leaves};
use super::problem::{Place, Problem};
use super::span::{RunLength, Span};
use super::suggestion::did_you_mean;
use super::takes::Takes;
use std::collections::BTreeMap;
use toml::Value;

/// One key: its name, what it takes, and what it means.
pub struct Key<T> {
    name: &'static str,
    takes: Takes<T>,
    about: &'static str,
    also: &'static [&'static str],
    decides: bool,
    is_path: bool,
}

impl<T> Key<T> {
    /// The key `name` in the reader's table. `about` is its meaning.
    pub fn new(name: &'static str, takes: impl Into<Takes<T>>, about: &'static str) -> Self {
        Self { name, takes: takes.into(), about, also: &[], decides: true, is_path: false }
    }

    /// Names of the key in other programs. If a file uses one of them, the message suggests this key.
    pub fn also(self, also: &'static [&'static str]) -> Self {
        Self { also, ..self }
    }

    /// Marks a key that does not affect a run's `metrics.csv`, so that the digest leaves it out.
    pub fn watches(self) -> Self {
        Self { decides: false, ..self }
    }
}

impl Key<String> {
    /// Marks a path of a file or folder. It is relative to the experiment file, or on the command line to the current
    /// directory. Readers receive an absolute path.
    pub fn is_path(self) -> Self {
        Self { is_path: true, ..self }
    }
}

/// The results of reading.
#[derive(Debug, Default)]
pub struct Found {
    /// The keys that were read, in order.
    pub entries: Vec<Entry>,
    /// All values, including defaults, as nested tables.
    pub written: toml::Table,
    /// Values that affect a run's metrics and differ from their defaults, as TOML by path.
    pub changed: BTreeMap<String, String>,
    /// The problems found.
    pub problems: Vec<Problem>,
    /// Tables whose kind could not be read, so it is unknown which of their keys apply.
    pub(super) unclear: Vec<String>,
}

impl Found {
    /// Whether `path` was read, or might have been if its table's kind were known.
    pub fn listens_to(&self, path: &str) -> bool {
        self.entries.iter().any(|entry| entry.path == path)
            || self.unclear.iter().any(|table| path.starts_with(&format!("{table}.")))
    }
}

/// The keys of one table.
pub struct Keys<'a> {
    leaves: &'a Leaves,
    /// Empty at the top level, `model.` within `[model]`.
    prefix: String,
    length: RunLength,
    found: &'a mut Found,
}

/// The value of one key.
enum Taken<T> {
    Absent,
    Wrong,
    Valid(T),
}

impl<'a> Keys<'a> {
    /// The top-level keys of a file with the values `leaves`. Results go to `found`.
    pub fn new(leaves: &'a Leaves, length: RunLength, found: &'a mut Found) -> Self {
        Self { leaves, prefix: String::new(), length, found }
    }

    /// The length of the run, for values that scale with it.
    pub fn length(&self) -> RunLength {
        self.length
    }

    /// The number of steps of a key that takes steps or epochs and has a default.
    pub fn steps(&mut self, key: Key<Span>, default: u64) -> Option<u64> {
        let span = self.with_default(key, Span::Steps(default))?;
        Some(span.steps(self.length))
    }

    /// The keys of the table `name`.
    pub fn table(&mut self, name: &str) -> Keys<'_> {
        Keys {
            leaves: self.leaves,
            prefix: format!("{}{name}.", self.prefix),
            length: self.length,
            found: &mut *self.found,
        }
    }

    /// The value of a key with a default. Returns `None`, and records a problem, if it is wrong.
    pub fn with_default<T>(&mut self, key: Key<T>, default: T) -> Option<T> {
        let value = (key.takes.write)(&default);
        match self.take(&key, Presence::Default(value.to_string()), Some(&value)) {
            Taken::Absent => {
                let path = self.path(key.name);
                insert(&mut self.found.written, &path, value);
                Some(default)
            }
            Taken::Wrong => None,
            Taken::Valid(read) => Some(read),
        }
    }

    /// The value of a required key. Returns `None`, and records a problem, if it is missing or wrong.
    pub fn required<T>(&mut self, key: Key<T>, example: T) -> Option<T> {
        let example = (key.takes.write)(&example).to_string();
        match self.take(&key, Presence::Required { example }, None) {
            Taken::Absent => {
                let (path, accepts) = (self.path(key.name), Self::accepts(&key));
                self.refuse(key.name, format!("`{path}` is missing; expected {accepts}"));
                None
            }
            Taken::Wrong => None,
            Taken::Valid(read) => Some(read),
        }
    }

    /// The value of a key that excludes the key `other`; one of the two is required. Returns `Some(None)` if `other` is
    /// given. Returns `None`, and records a problem, if both or neither are given or the value is wrong.
    pub fn required_unless<T>(
        &mut self,
        other: &str,
        key: Key<T>,
        example: T,
    ) -> Option<Option<T>> {
        let example = (key.takes.write)(&example).to_string();
        let (path, other_path) = (self.path(key.name), self.path(other));
        match self.take(&key, Presence::Required { example }, None) {
            Taken::Absent if self.is_given(other) => Some(None),
            Taken::Absent => {
                let accepts = Self::accepts(&key);
                let message =
                    format!("`{path}` is missing; expected {accepts}, or `{other_path}` instead");
                self.refuse(key.name, message);
                None
            }
            Taken::Valid(_) if self.is_given(other) => {
                self.refuse(
                    other,
                    format!("`{other_path}` and `{path}` exclude each other; drop one"),
                );
                None
            }
            Taken::Wrong => None,
            Taken::Valid(read) => Some(Some(read)),
        }
    }

    /// The value of an optional key; `Some(None)` if absent. Returns `None`, and records a problem, if it is wrong.
    pub fn optional<T>(&mut self, key: Key<T>, example: T) -> Option<Option<T>> {
        let example = (key.takes.write)(&example).to_string();
        match self.take(&key, Presence::Optional { example }, None) {
            Taken::Absent => Some(None),
            Taken::Wrong => None,
            Taken::Valid(read) => Some(Some(read)),
        }
    }

    /// Whether the file or the command line sets the key `name`.
    pub fn is_given(&self, name: &str) -> bool {
        self.leaves.contains_key(&self.path(name))
    }

    /// Records a problem with the key `name`. `message` says what is wrong and what would be accepted.
    pub fn refuse(&mut self, name: &str, message: String) {
        let leaf = self.leaves.get(&self.path(name));
        let place = leaf.map_or(Place::File, |leaf| leaf.value_place.clone());
        self.found.problems.push(Problem { place, message });
    }

    /// The values `key` takes, as messages name them.
    fn accepts<T>(key: &Key<T>) -> String {
        (key.takes.accepts)(key.name.rsplit('.').next().unwrap_or(key.name))
    }

    /// The full path of the key `name`.
    pub fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Marks this table's kind as unknown, so that its keys are not reported as unused.
    pub(super) fn give_up(&mut self) {
        self.found.unclear.push(self.prefix.trim_end_matches('.').to_owned());
    }

    fn take<T>(&mut self, key: &Key<T>, presence: Presence, default: Option<&Value>) -> Taken<T> {
        let path = self.path(key.name);
        let entry = Entry {
            path: path.clone(),
            about: key.about.to_owned(),
            accepts: Self::accepts(key),
            words: key.takes.words.clone(),
            also: key.also.iter().map(ToString::to_string).collect(),
            decides: key.decides,
            is_path: key.is_path,
            presence,
        };
        let Some(leaf) = self.leaves.get(&path) else {
            self.found.entries.push(entry);
            return Taken::Absent;
        };
        let taken = match (key.takes.read)(&leaf.value) {
            Some(read) => {
                let value = (key.takes.write)(&read);
                if key.decides && default != Some(&value) {
                    self.found.changed.insert(path.clone(), value.to_string());
                }
                insert(&mut self.found.written, &path, value);
                Taken::Valid(read)
            }
            None => {
                let hint = hint(&entry, leaf, &|value| (key.takes.read)(value).is_some());
                let message =
                    format!("`{path}` is {}; expected {}{hint}", leaf.value, entry.accepts);
                self.refuse(key.name, message);
                Taken::Wrong
            }
        };
        self.found.entries.push(entry);
        taken
    }
}

/// A suggestion for a refused value.
fn hint(entry: &Entry, leaf: &Leaf, accepts: &dyn Fn(&Value) -> bool) -> String {
    let Some(text) = leaf.value.as_str() else {
        return String::new();
    };
    if let Some(word) = did_you_mean(text, entry.words.iter().map(|(word, _)| word.as_str())) {
        return format!("; did you mean {word:?}?");
    }
    let written = |value: &str| match &leaf.value_place {
        Place::Flag(_) => format!("; write --set {}={value}", entry.path),
        Place::At { .. } | Place::File => format!("; write {value}"),
    };
    let as_list = format!("[{text}]");
    match (parse(text), parse(&as_list)) {
        (Some(value), _) if accepts(&value) => written(text),
        (_, Some(value)) if accepts(&value) => written(&as_list),
        _ => String::new(),
    }
}

fn parse(text: &str) -> Option<Value> {
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
