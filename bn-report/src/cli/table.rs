//! `bn-report table DIR...`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::Chosen;
use super::print::{print_all, tell, terminal_width};
use crate::compare::table::TextTable;
use crate::compare::{Comparison, MOST_ARMS};
use crate::error::{Error, Result};
use crate::read::Experiment;
use crate::{draw, summary};

#[derive(Debug, Args)]
pub(super) struct Table {
    /// The experiment's directory
    #[arg(value_name = "EXPERIMENT_DIR", required = true)]
    directories: Vec<PathBuf>,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Terminal)]
    format: Format,
    /// Compare every pair of arms in place of all with the baseline; Holm's correction runs over all pairs
    #[arg(long)]
    pairs: bool,
    /// On a terminal, every column and every cell on one line, however wide. Otherwise cells are folded, and where that is not
    /// enough, columns are left out: the best value first, then diverged, the interval, within steps, runs
    #[arg(long)]
    wide: bool,
    #[command(flatten)]
    choice: Chosen,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// Aligned columns, as wide as the terminal is, or 100 characters where there is none
    Terminal,
    /// Markdown
    Md,
    /// Every number in full
    Csv,
    /// Every number in full, an object per line of the table
    Json,
    /// A tabular with booktabs' rules
    Latex,
}

impl Table {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let experiment = draw::read(&self.directories)?;
        let choice = self.choice.choice();
        choice.check(&experiment)?;
        let comparison = Comparison::with(&experiment, &choice);
        let text = if self.pairs {
            self.pairs(&experiment, &comparison)?
        } else {
            match self.format {
                Format::Csv => summary::csv(&comparison)?,
                Format::Json => summary::json(&comparison)?,
                _ => self.text(&comparison.table()),
            }
        };
        let code = tell(&experiment.damage, &experiment.notices);
        print_all(&text)?;
        Ok(code)
    }

    fn pairs(&self, experiment: &Experiment, comparison: &Comparison) -> Result<String> {
        if !(3..=MOST_ARMS).contains(&comparison.rows.len()) {
            return Err(Error::Pairs { arms: comparison.rows.len(), most: MOST_ARMS });
        }
        let pairs = comparison.all_pairs(experiment);
        match self.format {
            Format::Csv => summary::pairs_csv(comparison, &pairs),
            Format::Json => summary::pairs_json(comparison, &pairs),
            _ => Ok(self.text(&comparison.pairs_table(&pairs))),
        }
    }

    fn text(&self, table: &TextTable) -> String {
        match self.format {
            Format::Md => summary::table(&table.lines),
            Format::Latex => summary::latex(&table.lines),
            _ => summary::terminal(table, (!self.wide).then(terminal_width)),
        }
    }
}
