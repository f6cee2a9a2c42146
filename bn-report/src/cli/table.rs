//! `bn-report table DIR...`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::Chosen;
use super::print::{print_all, tell};
use crate::compare::Comparison;
use crate::error::Result;
use crate::{draw, summary};

#[derive(Debug, Args)]
pub(super) struct Table {
    /// The experiment's directory
    #[arg(value_name = "EXPERIMENT_DIR", required = true)]
    directories: Vec<PathBuf>,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Terminal)]
    format: Format,
    #[command(flatten)]
    choice: Chosen,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// Aligned columns
    Terminal,
    /// Markdown
    Md,
    /// Every number in full
    Csv,
    /// Every number in full, an object per arm
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
        let text = match self.format {
            Format::Terminal => comparison.render_table(),
            Format::Md => summary::table(&comparison.table()),
            Format::Csv => summary::csv(&comparison)?,
            Format::Json => summary::json(&comparison)?,
            Format::Latex => summary::latex(&comparison.table()),
        };
        let code = tell(&experiment.damage, &experiment.notices);
        print_all(&text)?;
        Ok(code)
    }
}
