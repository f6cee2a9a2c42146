//! The command line of `bn-report`, a file per command.

mod compare;
mod draw;
mod index;
mod print;
mod table;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

pub use self::draw::draw;
use crate::chart::smooth::WINDOW;
use crate::compare::Choice;
use crate::draw::Options;
use crate::error::Result;
use crate::stats::Level;

/// Draws the report of an experiment: one HTML page that needs no network.
///
/// Beside the page it writes charts/*.svg, summary.csv and summary.md. The same run directories give the same bytes. Runs that are
/// still going on are drawn as far as they got; runs that diverged, failed or are missing are counted. A run that cannot be read is
/// told on stderr and on the page, and the exit status is 1. Of several directories one page shows all arms side by side.
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    after_help = "Examples:
  bn-report runs/decay-and-renorm -o report.html
  bn-report table runs/decay-and-renorm --format latex
  bn-report compare old/decay-and-renorm runs/decay-and-renorm --fail-on-regression
  bn-report watch runs/decay-and-renorm
  bn-report index runs

A directory that has the name of a command is given as ./table."
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    draw: Draw,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints the comparison as a table
    Table(table::Table),
    /// Compares two experiments, or two versions of one, arm by arm
    Compare(compare::Compare),
    /// Draws the report again whenever its runs have gone on, until all have ended; the page reloads itself
    Watch(watch::Watch),
    /// Draws one page about all experiments of a folder
    Index(index::Index),
}

/// `bn-report DIR...`.
#[derive(Debug, Clone, Args)]
struct Draw {
    /// The experiment's directory: it holds `ARM/seed-N/` with config.toml, metrics.csv and status.json
    #[arg(value_name = "EXPERIMENT_DIR", required = true)]
    directories: Vec<PathBuf>,
    /// Where to write the page; without it, report.html in the experiment's directory
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What stands at the head of the page in place of the experiment's name
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// Write every chart as a PNG too, beside its SVG
    #[arg(long)]
    png: bool,
    /// Write every chart as a PDF too
    #[arg(long)]
    pdf: bool,
    /// Draw training curves as moving means of N logged values, the raw ones faint behind; 1 draws them as logged
    #[arg(long, value_name = "N", default_value_t = WINDOW, value_parser = window)]
    smooth: usize,
    #[command(flatten)]
    choice: Chosen,
}

fn window(text: &str) -> std::result::Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "expected a whole number, 1 or more".to_owned())
}

/// What to compare.
#[derive(Debug, Clone, Args)]
struct Chosen {
    /// The arm to compare the others with, by name or folder
    #[arg(long, value_name = "ARM")]
    baseline: Option<String>,
    #[command(flatten)]
    measure: Measure,
}

/// By what, and how surely.
#[derive(Debug, Clone, Args)]
struct Measure {
    /// The metric to compare
    #[arg(long, value_name = "METRIC")]
    metric: Option<String>,
    /// The level of intervals, 50 to 99; tests stay at 5 %
    #[arg(long, value_name = "PERCENT", default_value = "95", value_parser = str::parse::<Level>)]
    level: Level,
}

impl Chosen {
    fn choice(&self) -> Choice {
        Choice { baseline: self.baseline.clone(), ..self.measure.choice() }
    }
}

impl Measure {
    fn choice(&self) -> Choice {
        Choice { baseline: None, metric: self.metric.clone(), level: self.level }
    }
}

impl Arguments {
    /// Does what the command line says. The exit status is that of a failure where a run could not be read.
    ///
    /// # Errors
    /// What is wrong, with its path.
    pub fn run(&self) -> Result<ExitCode> {
        match &self.command {
            Some(Command::Table(table)) => table.run(),
            Some(Command::Compare(compare)) => compare.run(),
            Some(Command::Watch(watch)) => watch.run(),
            Some(Command::Index(index)) => index.run(),
            None => {
                let Draw { directories, output, title, png, pdf, smooth, choice } = &self.draw;
                let options = Options {
                    title: title.clone(),
                    choice: choice.choice(),
                    png: *png,
                    pdf: *pdf,
                    smooth: Some(*smooth),
                    reload_seconds: None,
                };
                draw(directories, output.as_deref(), &options)
            }
        }
    }
}
