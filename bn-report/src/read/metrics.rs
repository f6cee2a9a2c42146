//! `metrics.csv`: every row checked, with file, line and column of what is wrong.
//!
//! While a run may still be writing, its last line can be cut off: a line without its line end is left out whole, because
//! half a number reads like a number. Of a run that ended whole that is an error, as is any bad line before the last.

use std::collections::BTreeMap;
use std::path::Path;

use csv::StringRecord;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as ValueError, StrDeserializer};

use super::text::read_text;
use crate::error::{Error, Place, Result};
use crate::schema::MetricRow;

/// Rows of a run, and whether a cut-off last line was left out.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Metrics {
    /// The rows, in the order of the file.
    pub(super) rows: Vec<MetricRow>,
    /// A last line without line end was left out.
    pub(super) cut_off: bool,
}

/// Reads `metrics.csv`; `may_be_cut_off` says whether the run may have been stopped in the middle of a line.
///
/// # Errors
/// Unreadable; other columns than [`MetricRow::HEADER`]; a cell that is not what its column holds; a second value of the same
/// thing at the same step; a cut-off last line where none may be.
pub(super) fn read_metrics(path: &Path, may_be_cut_off: bool) -> Result<Metrics> {
    let text = read_text(path)?;
    let (whole, cut_off) = match text.rfind('\n') {
        Some(last) if last + 1 == text.len() => (text.as_str(), false),
        Some(last) => (&text[..=last], true),
        None => ("", !text.is_empty()),
    };
    if cut_off && !may_be_cut_off {
        let place = Place { line: Some(whole.matches('\n').count() as u64 + 1), column: None };
        let message = "the last line is cut off (no line end), though the run ended whole";
        return Err(Error::malformed(path, place, message));
    }
    if whole.is_empty() {
        if may_be_cut_off {
            return Ok(Metrics { rows: Vec::new(), cut_off });
        }
        let message =
            format!("expected the header {:?}, found an empty file", MetricRow::HEADER.join(","));
        return Err(Error::malformed(path, Place::default(), message));
    }
    Ok(Metrics { rows: parse(path, whole)?, cut_off })
}

fn parse(path: &Path, text: &str) -> Result<Vec<MetricRow>> {
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut rows = Vec::new();
    let mut first_seen = BTreeMap::new();
    for (index, record) in reader.records().enumerate() {
        let record = record.map_err(|error| {
            let line = error.position().map(csv::Position::line);
            Error::malformed(path, Place { line, column: None }, error.to_string())
        })?;
        let line = record.position().map(csv::Position::line);
        if index == 0 {
            if record != MetricRow::HEADER[..] {
                let found = record.iter().collect::<Vec<_>>().join(",");
                let message = format!(
                    "expected the header {:?}, found {found:?}",
                    MetricRow::HEADER.join(",")
                );
                return Err(Error::malformed(path, Place { line, column: None }, message));
            }
            continue;
        }
        let row = parse_row(&record).map_err(|(column, message)| {
            let place = Place { line, column: column.map(|column| column_start(&record, column)) };
            Error::malformed(path, place, message)
        })?;
        let key = (row.split, row.statistics, row.metric.clone(), row.step);
        if let Some(first) = first_seen.insert(key, line) {
            let first =
                first.map_or(String::new(), |line| format!("; the first is on line {line}"));
            let message = format!(
                "a second value of {} {} at step {}{first}",
                row.split.name(),
                row.metric,
                row.step
            );
            return Err(Error::malformed(path, Place { line, column: None }, message));
        }
        rows.push(row);
    }
    Ok(rows)
}

/// The character column where a field starts; quotes are not counted, so it is exact for what training writes.
fn column_start(record: &StringRecord, field: usize) -> u64 {
    record.iter().take(field).map(|cell| cell.chars().count() as u64 + 1).sum::<u64>() + 1
}

type Bad = (Option<usize>, String);

fn parse_row(record: &StringRecord) -> std::result::Result<MetricRow, Bad> {
    let columns = MetricRow::HEADER.len();
    if record.len() != columns {
        return Err((None, format!("expected {columns} columns, found {}", record.len())));
    }
    let bad = |column: usize, wanted: &str| {
        let message = format!(
            "{}: expected {wanted}, found {:?}",
            MetricRow::HEADER[column],
            &record[column]
        );
        (Some(column), message)
    };
    let count = |column: usize| {
        record[column].parse::<u64>().map_err(|_| bad(column, "a whole number, 0 or more"))
    };
    Ok(MetricRow {
        step: count(0)?,
        epoch: count(1)?,
        examples: count(2)?,
        split: word(&record[3]).ok_or_else(|| bad(3, "train, validation or test"))?,
        statistics: match &record[4] {
            "" => None,
            cell => Some(word(cell).ok_or_else(|| bad(4, "batch, moving, population or nothing"))?),
        },
        metric: match &record[5] {
            "" => return Err(bad(5, "the name of a metric")),
            cell => cell.to_owned(),
        },
        value: match &record[6] {
            "" => None,
            cell => Some(cell.parse::<f64>().map_err(|_| bad(6, "a number or nothing"))?)
                .filter(|v| v.is_finite()),
        },
    })
}

/// A word as the schema's own serde reads it, so that the words are defined once.
fn word<'de, T: Deserialize<'de>>(cell: &'de str) -> Option<T> {
    let deserializer: StrDeserializer<'de, ValueError> = cell.into_deserializer();
    T::deserialize(deserializer).ok()
}
