//! `bn-report index DIR`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::print::{print_all, tell};
use crate::error::Result;
use crate::index;

#[derive(Debug, Args)]
pub(super) struct Index {
    /// The folder that holds the experiments
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Where to write the page; without it, index.html in the folder
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Index {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let output = self.output.clone().unwrap_or_else(|| self.directory.join("index.html"));
        let index = index::index(&self.directory, &output)?;
        let code = tell(&index.damage, &[]);
        print_all(&format!("{}index: {}\n", index.render(), output.display()))?;
        Ok(code)
    }
}
