//! All pairs of arms for programs: numbers in full, absent is empty.

use super::{Cells, write_csv, write_json};
use crate::compare::{Comparison, PairRow};
use crate::error::Result;

type Column = (&'static str, fn(&Comparison, &PairRow) -> String);

const COLUMNS: &[Column] = &[
    ("arm", |comparison, pair| comparison.rows[pair.arm].name.clone()),
    ("against", |comparison, pair| comparison.rows[pair.other].name.clone()),
    ("measure", |_, pair| pair.measure.clone()),
    ("n", |_, pair| pair.against.n.to_string()),
    ("lost_in_arm_only", |_, pair| pair.against.lost.0.to_string()),
    ("lost_in_other_only", |_, pair| pair.against.lost.1.to_string()),
    ("difference_mean", |_, pair| number(pair.against.pairs.mean)),
    ("difference_low", |_, pair| number(pair.against.pairs.interval.map(|i| i.low))),
    ("difference_high", |_, pair| number(pair.against.pairs.interval.map(|i| i.high))),
    ("improvement", |_, pair| number(pair.against.improvement)),
    ("p", |_, pair| number(pair.against.p_value)),
    ("p_holm", |_, pair| number(pair.against.p_adjusted)),
    ("verdict", |_, pair| pair.against.decision.words(Some(pair.better))),
];

fn number(number: Option<f64>) -> String {
    number.map_or(String::new(), |number| number.to_string())
}

fn lines(comparison: &Comparison, pairs: &[PairRow]) -> impl Iterator<Item = Cells> {
    pairs.iter().map(move |pair| {
        COLUMNS.iter().map(|(name, cell)| (*name, cell(comparison, pair))).collect()
    })
}

/// One line per pair.
///
/// # Errors
/// [`Error::Render`](crate::Error::Render), should the CSV library refuse.
pub fn pairs_csv(comparison: &Comparison, pairs: &[PairRow]) -> Result<String> {
    let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
    write_csv(&names, lines(comparison, pairs))
}

/// One object per pair.
///
/// # Errors
/// [`Error::Render`](crate::Error::Render), should the JSON library refuse.
pub fn pairs_json(comparison: &Comparison, pairs: &[PairRow]) -> Result<String> {
    write_json(lines(comparison, pairs))
}
