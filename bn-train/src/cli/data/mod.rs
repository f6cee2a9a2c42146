//! `bn-train data`: look at data sets without training on them.

mod picture;
mod show;

use crate::experiment::{DataInUse, Flags, Registry};
use clap::{Args, Subcommand};
use std::process::ExitCode;

/// What to do with data sets.
#[derive(Debug, Subcommand)]
pub(super) enum Data {
    /// Draw examples into a PNG: a row per class, training examples on the left and test examples on the right
    ///
    /// For instance: bn-train data show glyphs --set difficulty=hard --set shift.contrast=0.4 -o glyphs.png
    Show(show::Show),
}

impl Data {
    /// Does it.
    pub(super) fn run(&self, registry: &Registry) -> anyhow::Result<ExitCode> {
        match self {
            Self::Show(show) => show.run(registry),
        }
    }
}

/// Which data.
#[derive(Debug, Args)]
struct Which {
    /// A data set as `data.name` takes it, or an experiment: an embedded one, or the path of a TOML file
    name: String,
    /// A key of [data], for instance difficulty=hard; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Which {
    /// The data sets that it names: several where the arms of an experiment differ.
    fn load(&self, registry: &Registry) -> anyhow::Result<Vec<DataInUse>> {
        let flags = Flags { set: self.set.clone(), ..Flags::default() };
        Ok(registry.data_in_use(&self.name, &flags)?)
    }
}
