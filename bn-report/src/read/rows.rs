//! The rows of `metrics.csv` and `layers.csv`, grouped while they are read: every row checked, with file, line and column of
//! what is wrong.
//!
//! A line of the form that training writes is parsed from its bytes. Any other line goes through the CSV library, which
//! decides what it means or what is wrong with it; so does a whole file with quotes or bare carriage returns in it.
//!
//! While a run may still be writing, its last line can be cut off: a line without its line end is left out whole, because
//! half a number reads like a number. In a run that ended, that is an error, as is any bad line before the last.

use std::collections::BTreeMap;
use std::path::Path;

use csv::StringRecord;

use super::groups::Groups;
use super::log::Log;
use super::text::read_text;
use crate::error::{Error, Place, Result};

/// A file of rows: numbers, then the cells of a key, then a value. The first number is the step.
pub(super) trait Rows {
    /// What a series is of.
    type Key: Ord + Clone;
    /// The names of the columns.
    const HEADER: &'static [&'static str];
    /// How many columns of whole numbers stand before the key.
    const NUMBERS: usize;

    /// The key in the cells of a row; where there is none, the number of the bad column and what was expected there.
    fn key(record: &StringRecord) -> std::result::Result<Self::Key, (usize, &'static str)>;

    /// The key in words, for messages: `validation accuracy`.
    fn words(key: &Self::Key) -> String;
}

/// Reads a file; `may_be_cut_off` says whether the run may have been stopped in the middle of a line. Returns the log, and
/// whether a cut-off last line was left out.
///
/// # Errors
/// Unreadable; other columns than the header's; a cell that is not what its column holds; a second value of the same
/// quantity at the same step; a cut-off last line where none may be.
pub(super) fn read_rows<R: Rows>(path: &Path, may_be_cut_off: bool) -> Result<(Log<R::Key>, bool)> {
    let text = read_text(path)?;
    let (whole, cut_off) = whole_lines(path, &text, may_be_cut_off)?;
    if whole.is_empty() {
        if may_be_cut_off {
            return Ok((Log::default(), cut_off));
        }
        let message = format!("expected the header {:?}, found an empty file", R::HEADER.join(","));
        return Err(Error::malformed(path, Place::default(), message));
    }
    Ok((parse::<R>(path, whole)?, cut_off))
}

/// The text up to its last line end, and whether something stands behind it.
///
/// # Errors
/// A cut-off last line where none may be.
pub(super) fn whole_lines<'a>(
    path: &Path,
    text: &'a str,
    may_be_cut_off: bool,
) -> Result<(&'a str, bool)> {
    let (whole, cut_off) = match text.rfind('\n') {
        Some(last) => (&text[..=last], last + 1 < text.len()),
        None => ("", !text.is_empty()),
    };
    if cut_off && !may_be_cut_off {
        let place = Place { line: Some(whole.matches('\n').count() as u64 + 1), column: None };
        let message = "the last line is cut off (no line end), though the run ended";
        return Err(Error::malformed(path, place, message));
    }
    Ok((whole, cut_off))
}

/// Parses the text of a file.
///
/// # Errors
/// As [`read_rows`].
pub(super) fn parse<R: Rows>(path: &Path, text: &str) -> Result<Log<R::Key>> {
    let groups = if memchr::memchr2(b'"', b'\r', text.as_bytes()).is_some() {
        parse_carefully::<R>(path, text)?
    } else {
        parse_lines::<R>(path, text)?
    };
    match groups.finish() {
        Some(log) => Ok(log),
        // Some step stands there twice: find out where.
        None => Err(second_value::<R>(path, text)),
    }
}

/// Line by line, for a text whose lines are its records.
fn parse_lines<R: Rows>(path: &Path, text: &str) -> Result<Groups<R::Key>> {
    let mut groups = Groups::default();
    let mut has_header = false;
    let mut lines = Lines { text, number: 0 };
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        if !has_header {
            check_header::<R>(path, lines.number, &one_record(line))?;
            has_header = true;
        } else if let Some((step, group, value)) = plain::<R>(line, &groups) {
            groups.push(group, step, value);
        } else {
            let row = careful::<R>(path, lines.number, &one_record(line))?;
            let group = groups.of_key(row.key);
            groups.remember(cells::<R>(line), group);
            groups.push(group, row.step, row.value);
        }
    }
    Ok(groups)
}

/// The cells of the key as they stand in a line of all columns, with the comma behind them.
fn cells<R: Rows>(line: &str) -> &str {
    let commas: Vec<usize> = line.match_indices(',').map(|(at, _)| at).collect();
    match (commas.get(R::NUMBERS - 1), commas.last()) {
        (Some(first), Some(last)) if first < last => &line[first + 1..=*last],
        _ => "",
    }
}

/// The lines of a text that ends with a line end.
struct Lines<'a> {
    text: &'a str,
    /// Number of the line that was returned last, counted from 1.
    number: u64,
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let end = memchr::memchr(b'\n', self.text.as_bytes())?;
        let line = &self.text[..end];
        self.text = &self.text[end + 1..];
        self.number += 1;
        Some(line)
    }
}

/// Step, group and value of a line of the form that training writes, of a quantity that was seen before.
fn plain<R: Rows>(line: &str, groups: &Groups<R::Key>) -> Option<(u64, usize, Option<f64>)> {
    let (step, mut at) = digits(line.as_bytes(), 0)?;
    for _ in 1..R::NUMBERS {
        (_, at) = digits(line.as_bytes(), at)?;
    }
    let (group, value) = groups.find(&line[at..])?;
    let value = if value.is_empty() { None } else { Some(value.parse().ok()?) };
    Some((step, group, value))
}

/// A number of at most 18 digits from `at` on, and the place behind the comma that ends it.
fn digits(bytes: &[u8], from: usize) -> Option<(u64, usize)> {
    let mut number = 0;
    let mut at = from;
    loop {
        match bytes.get(at)? {
            digit @ b'0'..=b'9' if at - from < 18 => number = number * 10 + u64::from(digit - b'0'),
            b',' if at > from => return Some((number, at + 1)),
            _ => return None,
        }
        at += 1;
    }
}

/// The whole text through the CSV library.
fn parse_carefully<R: Rows>(path: &Path, text: &str) -> Result<Groups<R::Key>> {
    let mut groups = Groups::default();
    each_record::<R>(path, text, |row, _| {
        let group = groups.of_key(row.key);
        groups.push(group, row.step, row.value);
        Ok(())
    })?;
    Ok(groups)
}

/// Every row of the text in order, with its line.
fn each_record<R: Rows>(
    path: &Path,
    text: &str,
    mut row: impl FnMut(Row<R::Key>, Option<u64>) -> Result<()>,
) -> Result<()> {
    let mut reader = reader(text);
    for (index, record) in reader.records().enumerate() {
        let record = record.map_err(|error| {
            let line = error.position().map(csv::Position::line);
            Error::malformed(path, Place { line, column: None }, error.to_string())
        })?;
        let line = record.position().map_or(0, csv::Position::line);
        if index == 0 {
            check_header::<R>(path, line, &record)?;
        } else {
            row(careful::<R>(path, line, &record)?, Some(line))?;
        }
    }
    Ok(())
}

fn reader(text: &str) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes())
}

/// A line as a record.
fn one_record(line: &str) -> StringRecord {
    reader(line).records().next().and_then(std::result::Result::ok).unwrap_or_default()
}

fn check_header<R: Rows>(path: &Path, line: u64, record: &StringRecord) -> Result<()> {
    if record == R::HEADER {
        return Ok(());
    }
    let found = record.iter().collect::<Vec<_>>().join(",");
    let message = format!("expected the header {:?}, found {found:?}", R::HEADER.join(","));
    Err(Error::malformed(path, Place { line: Some(line), column: None }, message))
}

/// A row that was read in full.
struct Row<K> {
    step: u64,
    key: K,
    value: Option<f64>,
}

/// What a record says, or what is wrong with it.
fn careful<R: Rows>(path: &Path, line: u64, record: &StringRecord) -> Result<Row<R::Key>> {
    let columns = R::HEADER.len();
    if record.len() != columns {
        let message = format!("expected {columns} columns, found {}", record.len());
        return Err(Error::malformed(path, Place { line: Some(line), column: None }, message));
    }
    let bad = |column: usize, wanted: &str| {
        let message =
            format!("{}: expected {wanted}, found {:?}", R::HEADER[column], &record[column]);
        let place = Place { line: Some(line), column: Some(column_start(record, column)) };
        Error::malformed(path, place, message)
    };
    let number = |column: usize| {
        record[column].parse::<u64>().map_err(|_| bad(column, "a whole number, 0 or more"))
    };
    let step = number(0)?;
    for column in 1..R::NUMBERS {
        number(column)?;
    }
    let key = R::key(record).map_err(|(column, wanted)| bad(column, wanted))?;
    let value = match &record[columns - 1] {
        "" => None,
        cell => Some(cell.parse::<f64>().map_err(|_| bad(columns - 1, "a number or nothing"))?),
    };
    Ok(Row { step, key, value })
}

/// The character column where a field starts; quotes are not counted, so it is exact for what training writes.
fn column_start(record: &StringRecord, field: usize) -> u64 {
    record.iter().take(field).map(|cell| cell.chars().count() as u64 + 1).sum::<u64>() + 1
}

/// The error of the first row that repeats a step of its quantity.
fn second_value<R: Rows>(path: &Path, text: &str) -> Error {
    let mut first_seen = BTreeMap::new();
    let found = each_record::<R>(path, text, |row, line| {
        let words = R::words(&row.key);
        let Some(first) = first_seen.insert((row.key, row.step), line) else {
            return Ok(());
        };
        let first = first.map_or(String::new(), |line| format!("; the first is on line {line}"));
        let message = format!("a second value of {words} at step {}{first}", row.step);
        Err(Error::malformed(path, Place { line, column: None }, message))
    });
    match found {
        Err(error) => error,
        Ok(()) => Error::malformed(path, Place::default(), "a step is logged twice"),
    }
}
#[cfg(test)]
mod tests;
