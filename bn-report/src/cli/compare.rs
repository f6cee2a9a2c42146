//! `bn-report compare OLD NEW`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::Measure;
use super::print::{print_all, tell};
use crate::compare::Versions;
use crate::error::Result;
use crate::format;
use crate::read::read_experiment;

/// The exit status of a regression.
const REGRESSION: u8 = 3;

#[derive(Debug, Args)]
pub(super) struct Compare {
    /// The directory of the older experiment
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The directory of the newer one
    #[arg(value_name = "NEW")]
    new: PathBuf,
    #[command(flatten)]
    measure: Measure,
    /// Exit with status 3 where an arm got worse
    #[arg(long)]
    fail_on_regression: bool,
}

impl Compare {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let (old, new) = (read_experiment(&self.old)?, read_experiment(&self.new)?);
        let choice = self.measure.choice();
        choice.check(&old)?;
        choice.check(&new)?;
        let versions = Versions::of(&old, &new, &choice);
        let code = tell(
            &[&old.damage[..], &new.damage[..]].concat(),
            &[&old.notices[..], &new.notices[..]].concat(),
        );
        let regressions = versions.regressions();
        let end = match regressions {
            0 => "no arm got worse, as far as the test can tell\n".to_owned(),
            n => format!("{} got worse\n", format::plural(n, "arm", "arms")),
        };
        print_all(&format!("{}\n{end}", versions.render()))?;
        let has_failed = self.fail_on_regression && regressions > 0;
        Ok(if has_failed { ExitCode::from(REGRESSION) } else { code })
    }
}
