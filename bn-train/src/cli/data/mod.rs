//! `bn-train data`: look at data sets without training on them.

mod check;
mod describe;
mod fetch;
mod list;
mod picture;
mod regions;
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
    /// Say what a data set holds: sizes, class balance, mean and standard deviation, digest
    ///
    /// For instance: bn-train data describe csv --set path=mine.csv
    Describe(describe::Describe),
    /// Read all of a data set; fail where something is wrong with it
    Check(check::Check),
    /// Download a data set: lengths and digests are checked, a download that broke off goes on
    Fetch(fetch::Fetch),
    /// Draw which class a trained network sees where in the plane, by moving and by batch statistics
    ///
    /// For instance: bn-train data regions runs/mine/base/seed-0/checkpoints/step-000300.safetensors -o regions.png
    Regions(regions::Regions),
    /// Name the data sets that an experiment may use
    List,
}

impl Data {
    /// Does it.
    pub(super) fn run(&self, registry: &Registry) -> anyhow::Result<ExitCode> {
        match self {
            Self::Show(show) => show.run(registry),
            Self::Describe(describe) => describe.run(registry),
            Self::Check(check) => check.run(registry),
            Self::Fetch(fetch) => fetch.run(),
            Self::Regions(regions) => regions.run(registry),
            Self::List => list::list(registry),
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
