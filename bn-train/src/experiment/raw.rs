//! An experiment file before validation: values by dotted key, each with its position.
//!
//! TOML is parsed with recovery, so that several syntax errors are found at once.

use crate::keys::{Leaf, Leaves, Place, Problem};
use std::path::Path;
use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

/// One `[[arm]]`.
#[derive(Clone, Debug)]
pub(super) struct RawArm {
    pub(super) place: Place,
    pub(super) leaves: Leaves,
}

/// A file and the `--set` flags.
#[derive(Clone, Debug, Default)]
pub(super) struct Raw {
    pub(super) leaves: Leaves,
    pub(super) arms: Vec<RawArm>,
    pub(super) set: Leaves,
    /// Syntax errors in the file.
    pub(super) syntax: Vec<Problem>,
    /// Malformed arms and flags.
    pub(super) problems: Vec<Problem>,
}

/// Makes paths absolute: paths in the file are relative to `folder`, those in flags to the current directory.
pub(super) fn locate(raw: &mut Raw, path_keys: &[String], folder: &Path) {
    let Raw { leaves, arms, set, .. } = raw;
    let of_file = arms.iter_mut().map(|arm| &mut arm.leaves).chain([leaves]);
    for (leaves, folder) in of_file.map(|leaves| (leaves, folder)).chain([(set, Path::new(""))]) {
        for (_, leaf) in leaves.iter_mut().filter(|(key, _)| path_keys.contains(key)) {
            if let toml::Value::String(text) = &mut leaf.value {
                let path = folder.join(&*text);
                *text = std::path::absolute(&path).unwrap_or(path).to_string_lossy().into_owned();
            }
        }
    }
}

/// Parses the text of a file.
pub(super) fn parse(text: &str) -> Raw {
    let places = Places::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut raw = Raw::default();
    for error in errors {
        let place = error.span().map_or(Place::File, |span| places.at(span.start));
        let message = format!("not valid TOML: {}", error.message());
        raw.syntax.push(Problem { place, message });
    }
    for (key, value) in document.get_ref() {
        match value.get_ref() {
            DeValue::Array(arms) if key.get_ref() == "arm" => parse_arms(arms, &places, &mut raw),
            _ => flatten("", key, value, &places, &mut raw.leaves),
        }
    }
    raw
}

fn parse_arms(arms: &DeArray<'_>, places: &Places<'_>, raw: &mut Raw) {
    for arm in arms.iter() {
        let place = places.at(arm.span().start);
        if let DeValue::Table(table) = arm.get_ref() {
            let mut leaves = Leaves::new();
            for (key, value) in table {
                flatten("", key, value, places, &mut leaves);
            }
            raw.arms.push(RawArm { place, leaves });
        } else {
            let message = format!(
                "`arm` holds a {}; expected tables, each headed [[arm]]",
                arm.get_ref().type_str()
            );
            raw.problems.push(Problem { place, message });
        }
    }
}

/// Parses one `--set KEY=VALUE`. A value that is not valid TOML is taken as text, so that quotes may be left out.
pub(super) fn parse_set(flag: &str, raw: &mut Raw) {
    let place = Place::Flag(format!("--set {flag}"));
    let Some((key, text)) = flag.split_once('=') else {
        let message = "expected KEY=VALUE, for example train.steps=100".to_owned();
        raw.problems.push(Problem { place, message });
        return;
    };
    let (key, text) = (key.trim(), text.trim());
    let value = DeValue::parse(text).map_or_else(|_| text.into(), |value| convert(value.get_ref()));
    set(key, value, &place, raw);
}

/// Sets `key = value` from the command line. Setting a key twice is a problem.
pub(super) fn set(key: &str, value: toml::Value, place: &Place, raw: &mut Raw) {
    match value {
        toml::Value::Table(table) if !table.is_empty() => {
            for (name, value) in table {
                set(&format!("{key}.{name}"), value, place, raw);
            }
        }
        value => {
            let leaf = Leaf { key_place: place.clone(), value_place: place.clone(), value };
            if let Some(first) = raw.set.insert(key.to_owned(), leaf) {
                let message = format!("`{key}` is set twice; drop this or {}", first.key_place);
                raw.problems.push(Problem { place: place.clone(), message });
            }
        }
    }
}

/// Adds the values of `key` to `leaves`, under paths that start with `prefix`.
fn flatten(
    prefix: &str,
    key: &Spanned<DeString<'_>>,
    value: &Spanned<DeValue<'_>>,
    places: &Places<'_>,
    leaves: &mut Leaves,
) {
    let path = format!("{prefix}{}", key.get_ref());
    match value.get_ref() {
        DeValue::Table(table) if !table.is_empty() => {
            for (key, value) in table {
                flatten(&format!("{path}."), key, value, places, leaves);
            }
        }
        other => {
            let (key_place, value_place) =
                (places.at(key.span().start), places.at(value.span().start));
            leaves.insert(path, Leaf { key_place, value_place, value: convert(other) });
        }
    }
}

/// Removes spans from a value. An integer beyond 64 bits becomes a float, which keys for whole numbers reject.
fn convert(value: &DeValue<'_>) -> toml::Value {
    match value {
        DeValue::String(text) => toml::Value::String(text.to_string()),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) => toml::Value::Integer(number),
            Err(_) => toml::Value::Float(integer.as_str().parse().unwrap_or(f64::INFINITY)),
        },
        DeValue::Float(float) => toml::Value::Float(float.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(flag) => toml::Value::Boolean(*flag),
        DeValue::Datetime(time) => toml::Value::Datetime(*time),
        DeValue::Array(array) => {
            toml::Value::Array(array.iter().map(|item| convert(item.get_ref())).collect())
        }
        DeValue::Table(table) => {
            let entries = table
                .iter()
                .map(|(key, value)| (key.get_ref().to_string(), convert(value.get_ref())));
            toml::Value::Table(entries.collect())
        }
    }
}

/// Converts byte offsets to lines and columns.
struct Places<'a> {
    text: &'a str,
}

impl<'a> Places<'a> {
    fn new(text: &'a str) -> Self {
        Self { text }
    }

    fn at(&self, offset: usize) -> Place {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place::At {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_carry_their_place() {
        let raw =
            parse("a = 1\n\n[norm]\n  decay = 0.9\n[norm.renorm]\nr_max = [[0, 1], [5, 2.5]]\n");
        assert!(raw.syntax.is_empty() && raw.problems.is_empty());
        let leaf = &raw.leaves["norm.decay"];
        assert_eq!(leaf.key_place, Place::At { line: 4, column: 3 });
        assert_eq!(leaf.value_place, Place::At { line: 4, column: 11 });
        assert_eq!(raw.leaves["norm.renorm.r_max"].value.as_array().unwrap().len(), 2);
        assert_eq!(raw.leaves.keys().collect::<Vec<_>>(), ["a", "norm.decay", "norm.renorm.r_max"]);
    }

    #[test]
    fn arms_keep_their_order() {
        let raw = parse(
            "[[arm]]\nname = 'b'\nnorm.decay = 0.1\n[[arm]]\nname = 'a'\n[arm.train]\nsteps = 1_000\n",
        );
        let names: Vec<_> =
            raw.arms.iter().map(|arm| arm.leaves["name"].value.as_str().unwrap()).collect();
        assert_eq!(names, ["b", "a"]);
        assert_eq!(raw.arms[1].leaves["train.steps"].value.as_integer(), Some(1000));
    }

    #[test]
    fn every_syntax_error_is_found() {
        let raw = parse("a = \nb = 2\nc = [1,\n");
        assert!(raw.syntax.len() >= 2, "{:?}", raw.syntax);
        assert!(
            raw.syntax.iter().any(|problem| matches!(problem.place, Place::At { line: 1, .. }))
        );
        assert!(raw.leaves.contains_key("b"));
    }

    #[test]
    fn set_takes_toml_and_unquoted_text() {
        let mut raw = Raw::default();
        for flag in [
            "train.steps=100",
            "norm.kind=renorm",
            "norm.kind2=\"batch\"",
            "seeds=[1,2]",
            "no value",
            "norm={decay=0.5,renorm={decay=0.9}}",
        ] {
            parse_set(flag, &mut raw);
        }
        assert_eq!(raw.set["train.steps"].value, toml::Value::Integer(100));
        assert_eq!(raw.set["norm.kind"].value, toml::Value::String("renorm".into()));
        assert_eq!(raw.set["norm.kind2"].value, toml::Value::String("batch".into()));
        assert_eq!(raw.set["seeds"].value.as_array().unwrap().len(), 2);
        assert_eq!(raw.set["norm.decay"].value, toml::Value::Float(0.5));
        assert_eq!(raw.set["norm.renorm.decay"].value, toml::Value::Float(0.9));
        assert_eq!(raw.problems.len(), 1);
        assert_eq!(raw.problems[0].place, Place::Flag("--set no value".into()));
    }

    #[test]
    fn setting_a_key_twice_is_a_problem() {
        let mut raw = Raw::default();
        for flag in ["norm.decay=0.9", "norm={decay=0.5}"] {
            parse_set(flag, &mut raw);
        }
        assert_eq!(raw.problems.len(), 1);
        let Problem { place, message } = &raw.problems[0];
        assert_eq!(place, &Place::Flag("--set norm={decay=0.5}".into()));
        assert_eq!(message, "`norm.decay` is set twice; drop this or --set norm.decay=0.9");
    }
}
