//! `metrics.csv`, `layers.csv`, `schedules.csv` and `timing.csv`: what their columns hold.

use std::path::Path;

use csv::StringRecord;

use super::log::{Key, LayerKey};
use super::rows::{Rows, whole_lines};
use super::text::read_text;
use crate::error::{Error, Place, Result};
use crate::schema::{LayerRow, MetricRow, ScheduleRow, Split, TimingRow};
use crate::text::printable;

/// `metrics.csv`.
pub(super) struct Metrics;

impl Rows for Metrics {
    type Key = Key;
    const HEADER: &'static [&'static str] = &MetricRow::HEADER;
    const NUMBERS: usize = 3;

    fn key(record: &StringRecord) -> std::result::Result<Key, (usize, &'static str)> {
        let split = match &record[3] {
            "train" => Split::Train,
            "validation" => Split::Validation,
            "test" => Split::Test,
            _ => return Err((3, "train, validation or test")),
        };
        let statistics = match &record[4] {
            "" => None,
            cell => {
                let wanted = "batch, moving, population, shadow:<decay> or nothing";
                Some(cell.parse().map_err(|_| (4, wanted))?)
            }
        };
        match &record[5] {
            "" => Err((5, "the name of a metric")),
            metric => Ok(Key::new(split, statistics, &printable(metric))),
        }
    }

    fn words(key: &Key) -> String {
        format!("{} {}", key.split.name(), key.metric)
    }
}

/// `layers.csv`.
pub(super) struct Layers;

impl Rows for Layers {
    type Key = LayerKey;
    const HEADER: &'static [&'static str] = &LayerRow::HEADER;
    const NUMBERS: usize = 1;

    fn key(record: &StringRecord) -> std::result::Result<LayerKey, (usize, &'static str)> {
        match (&record[1], &record[2]) {
            ("", _) => Err((1, "the path of a layer")),
            (_, "") => Err((2, "the name of a metric")),
            (layer, metric) => Ok(LayerKey { layer: printable(layer), metric: printable(metric) }),
        }
    }

    fn words(key: &LayerKey) -> String {
        format!("{} of {}", key.metric, key.layer)
    }
}

/// `schedules.csv`.
pub(super) struct Schedules;

impl Rows for Schedules {
    type Key = String;
    const HEADER: &'static [&'static str] = &ScheduleRow::HEADER;
    const NUMBERS: usize = 1;

    fn key(record: &StringRecord) -> std::result::Result<String, (usize, &'static str)> {
        match &record[1] {
            "" => Err((1, "the name of a setting")),
            name => Ok(printable(name)),
        }
    }

    fn words(key: &String) -> String {
        key.clone()
    }
}

/// Reads `timing.csv`; a cut-off last line is left out.
///
/// # Errors
/// Unreadable, or a row that is none.
pub(super) fn read_timing(path: &Path) -> Result<Vec<TimingRow>> {
    let text = read_text(path)?;
    let (whole, _) = whole_lines(path, &text, true)?;
    let mut reader = csv::Reader::from_reader(whole.as_bytes());
    reader
        .deserialize()
        .map(|row| {
            row.map_err(|error: csv::Error| {
                let line = error.position().map(csv::Position::line);
                Error::malformed(path, Place { line, column: None }, error.to_string())
            })
        })
        .collect()
}
