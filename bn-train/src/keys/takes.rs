//! What a key takes: how a value is read, how it is written back, and what a message says is expected.

use bn_core::Schedule;
use std::ops::RangeInclusive;
use toml::Value;

/// The value that a file's value stands for; none where it is not accepted.
type Read<T> = dyn Fn(&Value) -> Option<T>;

/// How a value of type `T` stands in a file.
pub struct Takes<T> {
    pub(super) accepts: Box<dyn Fn(&str) -> String>,
    pub(super) read: Box<Read<T>>,
    pub(super) write: Box<dyn Fn(&T) -> Value>,
    pub(super) words: Vec<(String, String)>,
}

impl<T> Takes<T> {
    /// Values that `read` accepts and `write` writes back; a message says that `accepts` is expected.
    pub fn new(
        accepts: impl Into<String>,
        read: impl Fn(&Value) -> Option<T> + 'static,
        write: impl Fn(&T) -> Value + 'static,
    ) -> Self {
        let accepts = accepts.into();
        Self {
            accepts: Box::new(move |_| accepts.clone()),
            read: Box::new(read),
            write: Box::new(write),
            words: Vec::new(),
        }
    }
}

/// Finite numbers within bounds; whole numbers will do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Number {
    least: Option<f64>,
    above: Option<f64>,
    most: Option<f64>,
    below: Option<f64>,
}

/// Any finite number.
pub fn number() -> Number {
    Number::default()
}

impl Number {
    /// This or more.
    pub fn from(self, least: f64) -> Self {
        Self { least: Some(least), ..self }
    }

    /// More than this.
    pub fn above(self, above: f64) -> Self {
        Self { above: Some(above), ..self }
    }

    /// This or less.
    pub fn to(self, most: f64) -> Self {
        Self { most: Some(most), ..self }
    }

    /// Less than this.
    pub fn below(self, below: f64) -> Self {
        Self { below: Some(below), ..self }
    }

    fn holds(self, number: f64) -> bool {
        number.is_finite()
            && self.least.is_none_or(|least| number >= least)
            && self.above.is_none_or(|above| number > above)
            && self.most.is_none_or(|most| number <= most)
            && self.below.is_none_or(|below| number < below)
    }

    fn accepts(self, name: &str) -> String {
        let low = match (self.least, self.above) {
            (Some(least), _) => Some(format!("{least} <= ")),
            (None, above) => above.map(|above| format!("{above} < ")),
        };
        let high = match (self.most, self.below) {
            (Some(most), _) => Some(format!(" <= {most}")),
            (None, below) => below.map(|below| format!(" < {below}")),
        };
        match (low, high) {
            (Some(low), Some(high)) => format!("a number, {low}{name}{high}"),
            (None, Some(high)) => format!("a number, {name}{high}"),
            (Some(_), None) => match (self.least, self.above) {
                (Some(least), _) => format!("a number from {least}"),
                (None, above) => format!("a number above {}", above.unwrap_or_default()),
            },
            (None, None) => "a number".to_owned(),
        }
    }
}

impl From<Number> for Takes<f64> {
    fn from(bounds: Number) -> Self {
        Self {
            accepts: Box::new(move |name| bounds.accepts(name)),
            read: Box::new(move |value| as_number(value).filter(|&number| bounds.holds(number))),
            write: Box::new(|&number| Value::Float(number)),
            words: Vec::new(),
        }
    }
}

/// Whole numbers within a range. `1e3` is one; `1.5` is none.
#[derive(Clone, Debug)]
pub struct Whole {
    what: &'static str,
    range: RangeInclusive<u64>,
    holds: fn(u64) -> bool,
}

/// Whole numbers within `range`, up to the largest that TOML can write.
pub fn whole(range: RangeInclusive<u64>) -> Whole {
    Whole { what: "a whole number", range, holds: |_| true }
}

impl Whole {
    /// Only those that `holds` is true of: `what` is "an odd whole number", say.
    pub fn only(self, what: &'static str, holds: fn(u64) -> bool) -> Self {
        Self { what, holds, ..self }
    }

    fn accepts(&self) -> String {
        let (least, most) = (self.range.start(), *self.range.end());
        if most >= i64::MAX as u64 {
            format!("{} from {least}", self.what)
        } else {
            format!("{} from {least} to {most}", self.what)
        }
    }

    fn read(&self, value: &Value) -> Option<u64> {
        as_whole(value).filter(|&number| self.range.contains(&number) && (self.holds)(number))
    }
}

impl From<Whole> for Takes<u64> {
    fn from(whole: Whole) -> Self {
        let reader = whole.clone();
        Self::new(whole.accepts(), move |value| reader.read(value), |&number| write_whole(number))
    }
}

/// `true` or `false`.
pub fn flag() -> Takes<bool> {
    Takes::new("true or false", Value::as_bool, |&flag| Value::Boolean(flag))
}

/// A text that is not empty.
pub fn text() -> Takes<String> {
    let read = |value: &Value| {
        value.as_str().filter(|text| !text.trim().is_empty()).map(ToOwned::to_owned)
    };
    Takes::new("a text", read, |text| Value::String(text.clone()))
}

/// A list; `what` names its items: "widths".
pub fn list<T: 'static>(what: &str, item: impl Into<Takes<T>>) -> Takes<Vec<T>> {
    let Takes { accepts, read, write, .. } = item.into();
    Takes::new(
        format!("a list of {what}, each {}", accepts("it")),
        move |value| value.as_array()?.iter().map(&read).collect(),
        move |items: &Vec<T>| Value::Array(items.iter().map(&write).collect()),
    )
}

/// One of several words: its spelling, what it stands for, and what it means in the template (empty where that is plain).
pub type Word<T> = (&'static str, T, &'static str);

/// One of `words`.
pub fn words<T: Clone + PartialEq + 'static>(words: &[Word<T>]) -> Takes<T> {
    let meanings =
        words.iter().map(|(word, _, about)| ((*word).to_owned(), (*about).to_owned())).collect();
    let pairs: Vec<(&'static str, T)> =
        words.iter().map(|(word, stands_for, _)| (*word, stands_for.clone())).collect();
    let written = pairs.clone();
    let read = move |value: &Value| {
        let word = value.as_str()?;
        pairs.iter().find(|(known, _)| *known == word).map(|(_, stands_for)| stands_for.clone())
    };
    let write = move |value: &T| {
        let word = written.iter().find(|(_, stands_for)| stands_for == value);
        Value::String(word.map_or("", |(word, _)| *word).to_owned())
    };
    let spelled: Vec<&str> = words.iter().map(|(word, ..)| *word).collect();
    Takes { words: meanings, ..Takes::new(one_of(&spelled), read, write) }
}

/// `"a", "b" or "c"`.
pub(crate) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => "nothing".to_owned(),
    }
}

/// Points `[[step, number], ...]`: at least one, with steps that do not go back; `what` names the number.
pub fn points(what: &str, bounds: Number) -> Takes<Schedule> {
    let accepts = format!(
        "points [[step, {what}], ...] with steps that do not go back, each {what} {}",
        bounds.accepts(what)
    );
    Takes::new(accepts, move |value| read_points(value, bounds), write_points)
}

/// A number, or points with lines between them.
pub fn bound(bounds: Number) -> Takes<Schedule> {
    let read = move |value: &Value| match as_number(value) {
        Some(number) => bounds.holds(number).then(|| Schedule::constant(number)),
        None => read_points(value, bounds),
    };
    let write = |schedule: &Schedule| match schedule.points() {
        [(0, number)] => Value::Float(*number),
        _ => write_points(schedule),
    };
    Takes {
        accepts: Box::new(move |name| {
            let number = bounds.accepts(name);
            format!("{number}; or points [[step, {name}], ...] with steps that do not go back")
        }),
        ..Takes::new("", read, write)
    }
}

fn read_points(value: &Value, bounds: Number) -> Option<Schedule> {
    let point = |point: &Value| match point.as_array()?.as_slice() {
        [step, number] => {
            Some((as_whole(step)?, as_number(number).filter(|&number| bounds.holds(number))?))
        }
        _ => None,
    };
    let points: Option<Vec<(u64, f64)>> = value.as_array()?.iter().map(point).collect();
    Schedule::piecewise(points?).ok()
}

fn write_points(schedule: &Schedule) -> Value {
    let point =
        |&(step, number): &(u64, f64)| Value::Array(vec![write_whole(step), Value::Float(number)]);
    Value::Array(schedule.points().iter().map(point).collect())
}

fn as_number(value: &Value) -> Option<f64> {
    match value {
        Value::Float(number) => Some(*number),
        Value::Integer(number) => Some(*number as f64),
        _ => None,
    }
}

/// The largest whole number up to which a float holds every one.
const EXACT: f64 = (1_u64 << 53) as f64;

fn as_whole(value: &Value) -> Option<u64> {
    match value {
        Value::Integer(number) => u64::try_from(*number).ok(),
        Value::Float(number) => {
            let is_exact = number.fract() == 0.0 && (0.0..=EXACT).contains(number);
            is_exact.then_some(*number as u64)
        }
        _ => None,
    }
}

fn write_whole(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `takes` makes of a value, written back; nothing where it refuses it.
    fn rewritten<T>(takes: &Takes<T>, value: &str) -> Option<String> {
        let value: toml::Table = format!("v = {value}").parse().unwrap();
        (takes.read)(&value["v"]).map(|read| (takes.write)(&read).to_string())
    }

    #[test]
    fn numbers_keep_to_their_bounds_and_say_them() {
        let unit: Takes<f64> = number().from(0.0).below(1.0).into();
        assert_eq!((unit.accepts)("decay"), "a number, 0 <= decay < 1");
        assert_eq!(rewritten(&unit, "0"), Some("0.0".into()));
        for wrong in ["1.0", "-0.1", "nan", "inf", "'0.5'", "true"] {
            assert_eq!(rewritten(&unit, wrong), None, "{wrong}");
        }
        let accepts = |bounds: Number| bounds.accepts("x");
        assert_eq!(accepts(number()), "a number");
        assert_eq!(accepts(number().above(0.0)), "a number above 0");
        assert_eq!(accepts(number().from(0.5)), "a number from 0.5");
        assert_eq!(accepts(number().to(1.0)), "a number, x <= 1");
        assert_eq!(accepts(number().above(0.0).to(1.0)), "a number, 0 < x <= 1");
    }

    #[test]
    fn a_float_is_a_whole_number_where_that_is_exact() {
        let steps: Takes<u64> = whole(1..=u64::MAX).into();
        assert_eq!(rewritten(&steps, "1e3"), Some("1000".into()));
        assert_eq!(rewritten(&steps, "9007199254740992.0"), Some("9007199254740992".into()));
        for wrong in ["1.5", "-1e3", "1e300", "0.0", "nan", "'1000'"] {
            assert_eq!(rewritten(&steps, wrong), None, "{wrong}");
        }
        let odd: Takes<u64> = whole(1..=31).only("an odd whole number", |n| n % 2 == 1).into();
        assert_eq!((odd.accepts)("kernel"), "an odd whole number from 1 to 31");
        assert_eq!((rewritten(&odd, "3"), rewritten(&odd, "4")), (Some("3".into()), None));
    }

    #[test]
    fn what_is_written_reads_back_to_the_same() {
        let bounds = bound(number().from(0.0));
        for (value, written) in [
            ("3", "3.0"),
            ("[[0, 1], [5, 2.5]]", "[[0, 1.0], [5, 2.5]]"),
            ("[[5, 1]]", "[[5, 1.0]]"),
            ("[[0, 1]]", "1.0"),
        ] {
            assert_eq!(rewritten(&bounds, value).as_deref(), Some(written));
            assert_eq!(rewritten(&bounds, written).as_deref(), Some(written));
        }
        for wrong in ["-1", "[]", "[[5, 1], [0, 1]]", "[[0, -1]]", "[[0.5, 1]]", "[1, 2]"] {
            assert_eq!(rewritten(&bounds, wrong), None, "{wrong}");
        }
        let widths = list("widths", whole(1..=9));
        assert_eq!(rewritten(&widths, "[1, 2]").as_deref(), Some("[1, 2]"));
        assert_eq!(rewritten(&widths, "[]").as_deref(), Some("[]"));
        assert_eq!(rewritten(&widths, "[0]"), None);
        let words = words(&[("a", 1, ""), ("b", 2, "two")]);
        assert_eq!((words.accepts)("w"), "\"a\" or \"b\"");
        assert_eq!(rewritten(&words, "'b'").as_deref(), Some("\"b\""));
        assert_eq!(rewritten(&words, "'c'"), None);
    }
}
