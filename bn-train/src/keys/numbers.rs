//! Keys that take a number.

use super::takes::Takes;
use std::ops::RangeInclusive;
use toml::Value;

/// Finite numbers within bounds, written as floats or integers.
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
    /// At least `least`.
    pub fn from(self, least: f64) -> Self {
        Self { least: Some(least), ..self }
    }

    /// More than `above`.
    pub fn above(self, above: f64) -> Self {
        Self { above: Some(above), ..self }
    }

    /// At most `most`.
    pub fn to(self, most: f64) -> Self {
        Self { most: Some(most), ..self }
    }

    /// Less than `below`.
    pub fn below(self, below: f64) -> Self {
        Self { below: Some(below), ..self }
    }

    pub(super) fn holds(self, number: f64) -> bool {
        number.is_finite()
            && self.least.is_none_or(|least| number >= least)
            && self.above.is_none_or(|above| number > above)
            && self.most.is_none_or(|most| number <= most)
            && self.below.is_none_or(|below| number < below)
    }

    pub(super) fn accepts(self, name: &str) -> String {
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

/// Whole numbers within a range. `1e3` is accepted, `1.5` is not.
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
    /// Only numbers for which `holds` is true. `what` describes them, for example "an odd whole number".
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

/// Sizes of layers: whole numbers from 1 to 65536.
pub fn size() -> Takes<usize> {
    let sizes = whole(1..=65_536);
    let reader = sizes.clone();
    let read = move |value: &Value| reader.read(value).map(|size| size as usize);
    Takes::new(sizes.accepts(), read, |&size| write_whole(size as u64))
}

pub(super) fn as_number(value: &Value) -> Option<f64> {
    match value {
        Value::Float(number) => Some(*number),
        Value::Integer(number) => Some(*number as f64),
        _ => None,
    }
}

/// Up to 2^53, `f64` represents every whole number exactly.
const EXACT: f64 = (1_u64 << 53) as f64;

pub(super) fn as_whole(value: &Value) -> Option<u64> {
    match value {
        Value::Integer(number) => u64::try_from(*number).ok(),
        Value::Float(number) => {
            let is_exact = number.fract() == 0.0 && (0.0..=EXACT).contains(number);
            is_exact.then_some(*number as u64)
        }
        _ => None,
    }
}

pub(super) fn write_whole(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::takes::tests::rewritten;
    use super::*;

    #[test]
    fn numbers_enforce_and_name_their_bounds() {
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
    fn exact_floats_are_whole_numbers() {
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
}
