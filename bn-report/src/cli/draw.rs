//! `bn-report DIR...`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::print::{print_all, tell, terminal_width};
use crate::draw::{Options, report_with};
use crate::error::{Error, Result};
use crate::{schema, summary};

/// Draws the report of one or several experiments, says on stderr what a reader should know, and prints headline, table and the page's
/// path. Without an `output` the page is report.html in the experiment's directory.
///
/// # Errors
/// As [`report_with`]; several directories without an output.
pub fn draw(directories: &[PathBuf], output: Option<&Path>, options: &Options) -> Result<ExitCode> {
    let output = match (output, directories) {
        (Some(output), _) => output.to_owned(),
        (None, [directory]) => directory.join(schema::REPORT),
        (None, _) => return Err(Error::NoOutput),
    };
    let report = report_with(directories, &output, options)?;
    let code = tell(&report.damage, &report.notices);
    let headline = report.findings.headline.plain();
    let table = summary::terminal(&report.comparison.table(), Some(terminal_width()));
    print_all(&format!("{headline}\n\n{table}\nreport: {}\n", report.path.display()))?;
    Ok(code)
}
