//! The command line of `bn-report`.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::error::{Error, Result};
use crate::schema;

/// Draws the report of an experiment: one HTML page that needs no network and no script.
///
/// Beside the page it writes charts/*.svg, summary.csv and summary.md. The same run directories give the same bytes. Runs that
/// are still going on are drawn as far as they got; runs that diverged, failed or are missing are counted.
#[derive(Debug, Parser)]
#[command(version, after_help = "Example: bn-report runs/decay-and-renorm -o report.html")]
pub struct Arguments {
    /// The experiment's directory: it holds `ARM/seed-N/` with config.toml, metrics.csv and status.json.
    #[arg(value_name = "EXPERIMENT_DIR")]
    pub experiment: PathBuf,

    /// Where to write the page; without it, report.html in the experiment's directory.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Draws the report, says on stderr what a reader should know, and prints the page's path. The exit status is that of a failure
/// where a run could not be read.
///
/// # Errors
/// Whatever [`crate::report`] says; each message has the path.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let output =
        arguments.output.clone().unwrap_or_else(|| arguments.experiment.join(schema::REPORT));
    let report = crate::report(&arguments.experiment, &output)?;
    for notice in &report.notices {
        let _ = writeln!(io::stderr(), "warning: {notice}");
    }
    for damage in &report.damage {
        let _ = writeln!(io::stderr(), "error: {damage}");
    }
    let (headline, table) = (report.findings.headline.plain(), report.comparison.render_table());
    print_all(&format!("{headline}\n\n{table}\nreport: {}\n", report.path.display()))?;
    Ok(if report.damage.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints `text`. A reader who has seen enough (`| head`) is no error.
fn print_all(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::write(Path::new("standard output"), error))
        }
        _ => Ok(()),
    }
}
