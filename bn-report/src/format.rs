//! Numbers as a reader sees them. An absent number is an en dash in a text and nothing in a CSV cell. Pure.

use crate::stats::{Interval, Summary};

/// Stands where a number is absent.
pub const ABSENT: &str = "\u{2013}";

/// Three decimals below 10, fewer above; scientific where that would show nothing: `0.972`, `13.4`, `2.1e-5`.
pub fn value(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 0.0005 => format!("{value:.1e}"),
        size if size < 9.9995 => format!("{value:.3}"),
        size if size < 99.995 => format!("{value:.2}"),
        size if size < 99_999.5 => format!("{value:.0}"),
        _ => format!("{value:.1e}"),
    }
}

/// Two decimals where that shows something, for sentences: `0.97`.
pub fn short(number: f64) -> String {
    if (0.01..9.995).contains(&number.abs()) { format!("{number:.2}") } else { value(number) }
}

/// A number with its sign, for differences: `+0.012`, `-0.300`, `0`.
pub fn signed(number: f64, format: impl Fn(f64) -> String) -> String {
    if number > 0.0 { format!("+{}", format(number)) } else { format(number) }
}

/// `mean ± sd`, the mean alone where there is no spread, or [`ABSENT`].
pub fn mean_sd(summary: &Summary, number: impl Fn(f64) -> String) -> String {
    match (summary.mean, summary.sd) {
        (Some(mean), Some(sd)) => format!("{} \u{b1} {}", number(mean), number(sd)),
        (Some(mean), None) => number(mean),
        (None, _) => ABSENT.to_owned(),
    }
}

/// `[low, high]`, or [`ABSENT`].
pub fn interval(interval: Option<Interval>, number: impl Fn(f64) -> String) -> String {
    interval.map_or(ABSENT.to_owned(), |Interval { low, high }| {
        format!("[{}, {}]", number(low), number(high))
    })
}

/// A p-value: `0.031`, `< 0.001`.
pub fn p_value(p: f64) -> String {
    if p < 0.001 { "< 0.001".to_owned() } else { format!("{p:.3}") }
}

/// A count with thousands apart: `1,500`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A number of steps that may be negative or a mean, rounded to whole steps: `1,480`, `-25`.
pub fn steps(number: f64) -> String {
    let sign = if number.round() < 0.0 { "-" } else { "" };
    format!("{sign}{}", count(number.abs().round() as u64))
}

/// How many times as much: one decimal below 10, none above.
pub fn ratio(ratio: f64) -> String {
    if ratio < 9.95 { format!("{ratio:.1}") } else { format!("{ratio:.0}") }
}

/// A number with its noun: `1 run`, `5 runs`.
pub fn plural(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_what_a_reader_needs() {
        let values = [0.0, 0.00002, 0.9724, 9.9996, 13.44, 99.999, 1234.5, 1e9, -0.5];
        assert_eq!(
            values.map(value),
            ["0", "2.0e-5", "0.972", "10.00", "13.44", "100", "1234", "1.0e9", "-0.500"]
        );
        assert_eq!([0.934, 0.004, 12.0].map(short), ["0.93", "0.004", "12.00"]);
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([1.04, 9.96, 29.6].map(ratio), ["1.0", "10", "30"]);
        assert_eq!([-0.2, -1234.0, 24.5].map(steps), ["0", "-1,234", "25"]);
        assert_eq!([0.5, -0.5, 0.0].map(|number| signed(number, value)), ["+0.500", "-0.500", "0"]);
        assert_eq!([0.03125, 0.0001].map(p_value), ["0.031", "< 0.001"]);
    }

    #[test]
    fn an_absent_number_is_a_dash_and_an_absent_spread_is_left_out() {
        assert_eq!(mean_sd(&Summary::of([0.9, 0.9]), value), "0.900 \u{b1} 0");
        assert_eq!(mean_sd(&Summary::of([0.1, 0.1, 0.1]), value), "0.100 \u{b1} 0");
        assert_eq!(mean_sd(&Summary::of([0.9]), value), "0.900");
        assert_eq!(mean_sd(&Summary::of([]), value), ABSENT);
        assert_eq!(interval(None, value), ABSENT);
        assert_eq!(interval(Summary::of([0.5, 0.5]).interval, value), "[0.500, 0.500]");
    }
}
