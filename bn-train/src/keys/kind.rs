//! Kinds: the alternatives that a table can describe, each registered once.

use super::entry::Entry;
use super::leaf::Leaves;
use super::reader::{Found, Key, Keys};
use super::span::RunLength;
use super::takes::{Takes, one_of};
use std::fmt;
use std::sync::Arc;
use toml::Value;

/// One kind of network, data set, optimizer and so on: its name, its description, and a function that reads its keys.
#[derive(Clone)]
pub struct Kind<T> {
    name: String,
    about: String,
    read: Arc<Reader<T>>,
}

type Reader<T> = dyn Fn(&mut Keys<'_>) -> Option<T> + Send + Sync;

impl<T> Kind<T> {
    /// The kind that a file calls `name`. `about` describes it in a few words. `read` reads its keys and returns `None` if
    /// one of them is wrong. It must ask for every key of the kind, whatever their values are.
    pub fn new(
        name: impl Into<String>,
        about: impl Into<String>,
        read: impl Fn(&mut Keys<'_>) -> Option<T> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), about: about.into(), read: Arc::new(read) }
    }

    /// Its name in a file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its keys in `table`, in reading order.
    pub fn entries(&self, table: &str) -> Vec<Entry> {
        let mut found = Found::default();
        (self.read)(&mut Keys::new(&Leaves::new(), RunLength::UNKNOWN, &mut found).table(table));
        found.entries
    }
}

impl<T> fmt::Debug for Kind<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kind").field(&self.name).finish()
    }
}

/// All kinds of one table; the first is the default.
#[derive(Clone, Debug)]
pub struct Kinds<T> {
    table: &'static str,
    selector: &'static str,
    kinds: Vec<Kind<T>>,
}

impl<T> Kinds<T> {
    /// The kinds of `table`, selected by its key `selector`.
    pub fn new(table: &'static str, selector: &'static str, kinds: Vec<Kind<T>>) -> Self {
        Self { table, selector, kinds }
    }

    /// Adds a kind, or replaces the one with the same name.
    pub fn add(&mut self, kind: Kind<T>) {
        match self.kinds.iter_mut().find(|known| known.name == kind.name) {
            Some(known) => *known = kind,
            None => self.kinds.push(kind),
        }
    }

    /// The table they belong to.
    pub fn table(&self) -> &'static str {
        self.table
    }

    /// Path of the key that selects the kind: `model.kind`.
    pub fn selector(&self) -> String {
        format!("{}.{}", self.table, self.selector)
    }

    /// Each kind's name with its keys.
    pub fn entries(&self) -> Vec<(&str, Vec<Entry>)> {
        self.kinds.iter().map(|kind| (kind.name(), kind.entries(self.table))).collect()
    }

    /// Each kind's name with its description.
    pub fn abouts(&self) -> Vec<(String, String)> {
        self.kinds.iter().map(|kind| (kind.name.clone(), kind.about.clone())).collect()
    }

    /// Reads the table from the top-level `keys`. Returns `None`, and records problems, if something is wrong.
    pub fn read(&self, keys: &mut Keys<'_>) -> Option<T> {
        let mut keys = keys.table(self.table);
        let kind = self.kind(&mut keys);
        if kind.is_none() {
            keys.give_up();
        }
        (kind?.read)(&mut keys)
    }

    fn kind(&self, keys: &mut Keys<'_>) -> Option<&Kind<T>> {
        let names: Vec<String> = self.kinds.iter().map(|kind| kind.name.clone()).collect();
        let default = names.first()?.clone();
        let accepts = one_of(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let read =
            move |value: &Value| names.iter().find(|name| value.as_str() == Some(name)).cloned();
        let takes = Takes {
            words: self.kinds.iter().map(|kind| (kind.name.clone(), kind.about.clone())).collect(),
            ..Takes::new(accepts, read, |name: &String| Value::String(name.clone()))
        };
        let name = keys.with_default(Key::new(self.selector, takes, ""), default)?;
        self.kinds.iter().find(|kind| kind.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Leaf, Place, number, whole};
    use super::*;

    fn kinds() -> Kinds<f64> {
        let small = Kind::new("small", "half of size", |keys: &mut Keys<'_>| {
            let size = keys.with_default(Key::new("size", number().from(0.0), "how large"), 1.0);
            Some(0.5 * size?)
        });
        Kinds::new("thing", "kind", vec![small])
    }

    fn read(kinds: &Kinds<f64>, values: &[(&str, &str)]) -> (Option<f64>, Found) {
        let leaf = |value: &str| {
            let value: toml::Table = format!("v = {value}").parse().unwrap();
            Leaf { key_place: Place::File, value_place: Place::File, value: value["v"].clone() }
        };
        let leaves: Leaves =
            values.iter().map(|(path, value)| ((*path).to_owned(), leaf(value))).collect();
        let mut found = Found::default();
        let thing = kinds.read(&mut Keys::new(&leaves, RunLength::UNKNOWN, &mut found));
        (thing, found)
    }

    #[test]
    fn first_kind_is_the_default_and_defaults_are_written() {
        let (thing, found) = read(&kinds(), &[]);
        assert_eq!(thing, Some(0.5));
        assert_eq!(found.written.to_string(), "[thing]\nkind = \"small\"\nsize = 1.0\n");
        assert!(found.changed.is_empty() && found.problems.is_empty());
    }

    #[test]
    fn only_values_that_differ_from_a_default_are_changed() {
        let (thing, found) = read(&kinds(), &[("thing.size", "3"), ("thing.kind", "'small'")]);
        assert_eq!(thing, Some(1.5));
        assert_eq!(found.changed, [("thing.size".to_owned(), "3.0".to_owned())].into());
        assert!(read(&kinds(), &[("thing.size", "1")]).1.changed.is_empty());
    }

    #[test]
    fn wrong_value_reports_what_is_accepted() {
        for (path, value, expected) in [
            ("thing.size", "-1", "`thing.size` is -1; expected a number from 0"),
            ("thing.size", "'2'", "`thing.size` is \"2\"; expected a number from 0; write 2"),
            (
                "thing.kind",
                "'smal'",
                "`thing.kind` is \"smal\"; expected \"small\"; did you mean \"small\"?",
            ),
        ] {
            let (thing, found) = read(&kinds(), &[(path, value)]);
            let messages: Vec<&str> =
                found.problems.iter().map(|problem| problem.message.as_str()).collect();
            assert_eq!((thing, messages), (None, vec![expected]));
        }
    }

    #[test]
    fn keys_of_an_unknown_kind_are_not_reported() {
        let (_, found) = read(&kinds(), &[("thing.kind", "'other'")]);
        assert!(found.listens_to("thing.whatever") && !found.listens_to("things.x"));
        assert!(!read(&kinds(), &[]).1.listens_to("thing.whatever"));
    }

    #[test]
    fn added_kind_is_read_and_lists_its_keys() {
        let mut kinds = kinds();
        kinds.add(Kind::new("count", "a count", |keys: &mut Keys<'_>| {
            let count = keys.required(Key::new("count", whole(1..=9), "how many"), 3);
            count.map(|count| count as f64)
        }));
        assert_eq!(read(&kinds, &[("thing.kind", "'count'"), ("thing.count", "2")]).0, Some(2.0));
        let (_, found) = read(&kinds, &[("thing.kind", "'count'")]);
        let message = &found.problems[0].message;
        assert_eq!(message, "`thing.count` is missing; expected a whole number from 1 to 9");
        let paths: Vec<String> =
            kinds.entries()[1].1.iter().map(|entry| entry.path.clone()).collect();
        assert_eq!(paths, ["thing.count"]);
    }
}
