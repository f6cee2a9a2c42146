//! `bn-train data check`: reads data sets and reports the result in a line each and in the exit status.

use super::super::print::print;
use super::Which;
use crate::experiment::{DataInUse, Registry};
use clap::Args;
use std::process::ExitCode;

/// What to check.
#[derive(Debug, Args)]
pub(in crate::cli) struct Check {
    #[command(flatten)]
    which: Which,
}

impl Check {
    /// Reads all the data and fails on the first error.
    pub(in crate::cli) fn run(&self, registry: &Registry) -> anyhow::Result<ExitCode> {
        for DataInUse { source, .. } in self.which.load(registry)? {
            let data = source.load()?;
            let [train, validation, test] =
                [&data.train, &data.validation, &data.test].map(|part| part.len());
            print(&format!(
                "{}: {train} training, {validation} validation and {test} test examples, digest {}\n",
                self.which.name, data.digest
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
