//! The comparison as tables: `summary.csv` and JSON for programs, `summary.md` and LaTeX for people.

mod columns;
mod latex;
mod markdown;

pub use self::latex::latex;
pub use self::markdown::{markdown, table};

use self::columns::COLUMNS;
use crate::compare::Comparison;
use crate::error::{Error, Result};
use crate::schema;

/// `summary.csv`: one line per arm.
///
/// # Errors
/// [`Error::Render`], should the CSV library refuse.
pub fn csv(comparison: &Comparison) -> Result<String> {
    let failed = |message: String| Error::Render { file: schema::SUMMARY_CSV, message };
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = COLUMNS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let rows = comparison.rows.iter();
    let rows = rows.map(|row| COLUMNS.iter().map(|(_, cell)| cell(comparison, row)).collect());
    for record in std::iter::once::<Vec<String>>(header).chain(rows) {
        writer.write_record(&record).map_err(|error| failed(error.to_string()))?;
    }
    let bytes = writer.into_inner().map_err(|error| failed(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| failed(error.to_string()))
}

/// The table as JSON: a list with one object per arm, with the columns of `summary.csv` as keys; absent is null.
///
/// # Errors
/// [`Error::Render`], should the JSON library refuse.
pub fn json(comparison: &Comparison) -> Result<String> {
    let cell = |text: String, is_text: bool| match text.parse::<f64>() {
        _ if text.is_empty() => serde_json::Value::Null,
        Ok(number) if !is_text => match text.parse::<u64>() {
            Ok(count) => count.into(),
            Err(_) => number.into(),
        },
        _ => text.into(),
    };
    let rows: Vec<serde_json::Map<String, serde_json::Value>> = comparison
        .rows
        .iter()
        .map(|row| {
            let cells = COLUMNS.iter().map(|(name, text)| {
                // The name of an arm or a metric may look like a number.
                let is_text = ["arm", "against", "final_metric", "target_metric"].contains(name);
                ((*name).to_owned(), cell(text(comparison, row), is_text))
            });
            cells.collect()
        })
        .collect();
    let json = serde_json::to_string_pretty(&rows);
    json.map(|json| json + "\n")
        .map_err(|error| Error::Render { file: "JSON", message: error.to_string() })
}
