//! The comparison as tables: `summary.csv` and JSON for programs, `summary.md` and LaTeX for people.

mod columns;
mod latex;
mod markdown;
mod pairs;
mod terminal;

pub use self::latex::latex;
pub use self::markdown::{markdown, table};
pub use self::pairs::{pairs_csv, pairs_json};
pub use self::terminal::terminal;

use self::columns::COLUMNS;
use crate::compare::Comparison;
use crate::error::{Error, Result};
use crate::schema;

/// A line of a table: its cells by the names of the columns.
type Cells = Vec<(&'static str, String)>;

/// `summary.csv`: one line per arm.
///
/// # Errors
/// [`Error::Render`], should the CSV library refuse.
pub fn csv(comparison: &Comparison) -> Result<String> {
    let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
    write_csv(&names, arms(comparison))
}

/// The table as JSON: a list with one object per arm, with the columns of `summary.csv` as keys; absent is null.
///
/// # Errors
/// [`Error::Render`], should the JSON library refuse.
pub fn json(comparison: &Comparison) -> Result<String> {
    write_json(arms(comparison))
}

fn arms(comparison: &Comparison) -> impl Iterator<Item = Cells> {
    comparison
        .rows
        .iter()
        .map(move |row| COLUMNS.iter().map(|(name, cell)| (*name, cell(comparison, row))).collect())
}

fn write_csv(names: &[&str], lines: impl Iterator<Item = Cells>) -> Result<String> {
    let failed = |message: String| Error::Render { file: schema::SUMMARY_CSV, message };
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(names).map_err(|error| failed(error.to_string()))?;
    for line in lines {
        let cells = line.iter().map(|(_, cell)| cell);
        writer.write_record(cells).map_err(|error| failed(error.to_string()))?;
    }
    let bytes = writer.into_inner().map_err(|error| failed(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| failed(error.to_string()))
}

/// Columns whose text may look like a number and is none: names of arms and metrics.
const TEXTS: [&str; 5] = ["arm", "against", "final_metric", "target_metric", "measure"];

fn write_json(lines: impl Iterator<Item = Cells>) -> Result<String> {
    let cell = |text: String, is_text: bool| match text.parse::<f64>() {
        _ if text.is_empty() => serde_json::Value::Null,
        Ok(number) if !is_text => match text.parse::<u64>() {
            Ok(count) => count.into(),
            Err(_) => number.into(),
        },
        _ => text.into(),
    };
    let object = |line: Cells| -> serde_json::Map<String, serde_json::Value> {
        let cells = line.into_iter();
        cells.map(|(name, text)| (name.to_owned(), cell(text, TEXTS.contains(&name)))).collect()
    };
    let json = serde_json::to_string_pretty(&lines.map(object).collect::<Vec<_>>());
    json.map(|json| json + "\n")
        .map_err(|error| Error::Render { file: "JSON", message: error.to_string() })
}
