//! What an experiment file says, before anything is checked: values by dotted key, each with its place.
//!
//! TOML is parsed with recovery, so that several mistakes of syntax are found at once.

use super::problem::{Place, Problem};
use std::collections::BTreeMap;
use toml::de::{DeArray, DeInteger, DeTable, DeValue};

/// One value, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) key_place: Place,
    pub(super) value_place: Place,
    pub(super) value: toml::Value,
}

/// Values by dotted key: `norm.decay`. An empty table is a value; others are taken apart.
pub(super) type Leaves = BTreeMap<String, Leaf>;

/// One `[[arm]]`.
#[derive(Clone, Debug)]
pub(super) struct RawArm {
    pub(super) place: Place,
    pub(super) leaves: Leaves,
}

/// A whole file, with the `--set` flags beside it.
#[derive(Clone, Debug, Default)]
pub(super) struct Raw {
    pub(super) leaves: Leaves,
    pub(super) arms: Vec<RawArm>,
    pub(super) set: Leaves,
    /// Mistakes of syntax.
    pub(super) problems: Vec<Problem>,
}

/// Reads the text of a file.
pub(super) fn parse(text: &str) -> Raw {
    let places = Places::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut raw = Raw::default();
    for error in errors {
        let place = error.span().map_or(Place::File, |span| places.at(span.start));
        raw.problems.push(Problem { place, message: format!("this is not TOML: {}", error.message()) });
    }

    let mut table = document.into_inner();
    let arms = table.iter().find(|(key, value)| key.get_ref() == "arm" && value.get_ref().is_array());
    if let Some((key, value)) = arms.map(|(key, value)| (key.clone(), value.clone())) {
        table.remove(&key);
        if let DeValue::Array(arms) = value.into_inner() {
            parse_arms(&arms, &places, &mut raw);
        }
    }
    raw.leaves = flatten(&table, &places, &mut raw.problems);
    raw
}

fn parse_arms(arms: &DeArray<'_>, places: &Places<'_>, raw: &mut Raw) {
    for arm in arms.iter() {
        let place = places.at(arm.span().start);
        match arm.get_ref() {
            DeValue::Table(table) => {
                let leaves = flatten(table, places, &mut raw.problems);
                raw.arms.push(RawArm { place, leaves });
            }
            other => {
                let message = format!("`arm` holds a {}; expected tables, each headed [[arm]]", other.type_str());
                raw.problems.push(Problem { place, message });
            }
        }
    }
}

/// Reads one `--set KEY=VALUE`. A value that is no TOML is taken as text, so that quotes may be left out.
pub(super) fn parse_set(flag: &str, raw: &mut Raw) {
    let place = Place::Flag(format!("--set {flag}"));
    let Some((key, text)) = flag.split_once('=') else {
        let message = "expected KEY=VALUE, for instance train.steps=100".to_owned();
        raw.problems.push(Problem { place, message });
        return;
    };
    let (key, text) = (key.trim(), text.trim());
    let parsed = DeValue::parse(text);
    let value = match &parsed {
        Ok(value) => convert(value.get_ref()).unwrap_or_else(|_| text.into()),
        Err(_) => text.into(),
    };
    raw.set.insert(key.to_owned(), Leaf { key_place: place.clone(), value_place: place, value });
}

fn flatten(table: &DeTable<'_>, places: &Places<'_>, problems: &mut Vec<Problem>) -> Leaves {
    let mut leaves = Leaves::new();
    flatten_into("", table, places, &mut leaves, problems);
    leaves
}

fn flatten_into(
    prefix: &str,
    table: &DeTable<'_>,
    places: &Places<'_>,
    leaves: &mut Leaves,
    problems: &mut Vec<Problem>,
) {
    for (key, value) in table {
        let path = format!("{prefix}{}", key.get_ref());
        if let DeValue::Table(inner) = value.get_ref()
            && !inner.is_empty()
        {
            flatten_into(&format!("{path}."), inner, places, leaves, problems);
            continue;
        }
        let (key_place, value_place) = (places.at(key.span().start), places.at(value.span().start));
        match convert(value.get_ref()) {
            Ok(value) => {
                leaves.insert(path, Leaf { key_place, value_place, value });
            }
            Err(message) => problems.push(Problem { place: value_place, message }),
        }
    }
}

/// The value without its spans.
fn convert(value: &DeValue<'_>) -> Result<toml::Value, String> {
    Ok(match value {
        DeValue::String(text) => toml::Value::String(text.to_string()),
        DeValue::Integer(integer) => toml::Value::Integer(convert_integer(integer)?),
        DeValue::Float(float) => {
            let number = float.as_str().parse().map_err(|_| format!("{float} is not a number"))?;
            toml::Value::Float(number)
        }
        DeValue::Boolean(flag) => toml::Value::Boolean(*flag),
        DeValue::Datetime(time) => toml::Value::Datetime(*time),
        DeValue::Array(array) => {
            toml::Value::Array(array.iter().map(|item| convert(item.get_ref())).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => {
            let convert_entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<_>)| {
                let key: &std::borrow::Cow<'_, str> = key.get_ref();
                Ok((key.to_string(), convert(value.get_ref())?))
            };
            toml::Value::Table(table.iter().map(convert_entry).collect::<Result<_, String>>()?)
        }
    })
}

fn convert_integer(integer: &DeInteger<'_>) -> Result<i64, String> {
    i64::from_str_radix(integer.as_str(), integer.radix())
        .map_err(|_| format!("{integer} is too large: whole numbers end at 9223372036854775807"))
}

/// Lines and columns of byte offsets.
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
        Place::At { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_carry_their_place() {
        let raw = parse("a = 1\n\n[norm]\n  decay = 0.9\n[norm.renorm]\nr_max = [[0, 1], [5, 2.5]]\n");
        assert!(raw.problems.is_empty());
        let leaf = &raw.leaves["norm.decay"];
        assert_eq!(leaf.key_place, Place::At { line: 4, column: 3 });
        assert_eq!(leaf.value_place, Place::At { line: 4, column: 11 });
        assert_eq!(raw.leaves["norm.renorm.r_max"].value.as_array().unwrap().len(), 2);
        assert_eq!(raw.leaves.keys().collect::<Vec<_>>(), ["a", "norm.decay", "norm.renorm.r_max"]);
    }

    #[test]
    fn arms_keep_their_order() {
        let raw = parse("[[arm]]\nname = 'b'\nnorm.decay = 0.1\n[[arm]]\nname = 'a'\n[arm.train]\nsteps = 1_000\n");
        let names: Vec<_> = raw.arms.iter().map(|arm| arm.leaves["name"].value.as_str().unwrap()).collect();
        assert_eq!(names, ["b", "a"]);
        assert_eq!(raw.arms[1].leaves["train.steps"].value.as_integer(), Some(1000));
    }

    #[test]
    fn every_mistake_of_syntax_is_found() {
        let raw = parse("a = \nb = 2\nc = [1,\n");
        assert!(raw.problems.len() >= 2, "{:?}", raw.problems);
        assert!(raw.problems.iter().any(|problem| matches!(problem.place, Place::At { line: 1, .. })));
        assert!(raw.leaves.contains_key("b"));
    }

    #[test]
    fn set_takes_toml_and_plain_words() {
        let mut raw = Raw::default();
        for flag in ["train.steps=100", "norm.kind=renorm", "norm.kind2=\"batch\"", "seeds=[1,2]", "no value"] {
            parse_set(flag, &mut raw);
        }
        assert_eq!(raw.set["train.steps"].value, toml::Value::Integer(100));
        assert_eq!(raw.set["norm.kind"].value, toml::Value::String("renorm".into()));
        assert_eq!(raw.set["norm.kind2"].value, toml::Value::String("batch".into()));
        assert_eq!(raw.set["seeds"].value.as_array().unwrap().len(), 2);
        assert_eq!(raw.problems[0].place, Place::Flag("--set no value".into()));
    }
}
