//! `bn-train data`: inspects and downloads data sets.

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

/// Subcommands of `bn-train data`.
#[derive(Debug, Subcommand)]
pub(super) enum Data {
    /// Draw examples into a PNG: a row per class, training examples on the left and test examples on the right
    ///
    /// For example: bn-train data show glyphs --set difficulty=hard --set shift.contrast=0.4 -o glyphs.png
    Show(show::Show),
    /// Summarize a data set: sizes, class balance, mean and standard deviation, digest
    ///
    /// For example: bn-train data describe csv --set path=mine.csv
    Describe(describe::Describe),
    /// Read all of a data set and fail on any error
    Check(check::Check),
    /// Download a data set, verify its lengths and digests, and resume a partial download
    Fetch(fetch::Fetch),
    /// Draw a trained network's class regions in the plane, under moving and under batch statistics
    ///
    /// For example: bn-train data regions runs/mine/base/seed-0/checkpoints/step-000300.safetensors -o regions.png
    Regions(regions::Regions),
    /// List the data sets that an experiment may use
    List,
}

impl Data {
    /// Runs the subcommand.
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

/// The data sets a command applies to.
#[derive(Debug, Args)]
struct Which {
    /// A value of `data.name`, an embedded experiment, or the path of an experiment's TOML file
    name: String,
    /// Set a key of [data], for example difficulty=hard; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Which {
    /// Loads the data sets: several if the experiment's arms use different ones.
    fn load(&self, registry: &Registry) -> anyhow::Result<Vec<DataInUse>> {
        let flags = Flags { set: self.set.clone(), ..Flags::default() };
        Ok(registry.data_in_use(&self.name, &flags)?)
    }
}
