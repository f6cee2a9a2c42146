//! `bn-report watch DIR`: the only command with a clock.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use clap::Args;

use super::Chosen;
use super::print::{print_all, tell};
use crate::draw::{Options, Report, report_with};
use crate::error::{Error, Result};
use crate::schema;

#[derive(Debug, Args)]
pub(super) struct Watch {
    /// The experiment's directory; it may still be empty
    #[arg(value_name = "EXPERIMENT_DIR")]
    directory: PathBuf,
    /// Where to write the page; without it, report.html in the experiment's directory
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Seconds between two looks at the runs
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    every: u32,
    #[command(flatten)]
    choice: Chosen,
}

impl Watch {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let output = self.output.clone().unwrap_or_else(|| self.directory.join(schema::REPORT));
        let mut seen = None;
        let mut is_waiting = false;
        loop {
            let state = state(&self.directory);
            if seen.as_ref() != Some(&state) {
                match self.draw(&output, Some(self.every)) {
                    Ok(report) if has_ended(&report) => return self.conclude(&output),
                    Ok(report) => {
                        let headline = report.findings.headline.plain();
                        print_all(&format!("{}: {headline}\n", output.display()))?;
                    }
                    Err(Error::NotAnExperiment { .. } | Error::Read { .. }) => {
                        if !is_waiting {
                            let directory = self.directory.display();
                            print_all(&format!("waiting for the first run in {directory}\n"))?;
                        }
                        is_waiting = true;
                    }
                    Err(error) => return Err(error),
                }
                seen = Some(state);
            }
            sleep(Duration::from_secs(self.every.into()));
        }
    }

    /// The page without the reload, once nothing will change any more.
    fn conclude(&self, output: &Path) -> Result<ExitCode> {
        let report = self.draw(output, None)?;
        let headline = report.findings.headline.plain();
        print_all(&format!("{}: {headline}\nall runs have ended\n", output.display()))?;
        Ok(tell(&report.damage, &report.notices))
    }

    fn draw(&self, output: &Path, reload_seconds: Option<u32>) -> Result<Report> {
        let options =
            Options { choice: self.choice.choice(), reload_seconds, ..Options::default() };
        report_with(std::slice::from_ref(&self.directory), output, &options)
    }
}

fn has_ended(report: &Report) -> bool {
    let states = report.comparison.states();
    states.running + states.missing + states.interrupted == 0
}

/// Length and time of change of every file of the runs: what changes when they go on.
fn state(directory: &Path) -> Vec<(PathBuf, u64, Option<SystemTime>)> {
    let mut state = Vec::new();
    for arm in folders(directory) {
        for run in folders(&arm) {
            for name in [schema::METRICS, schema::LAYERS, schema::SCHEDULES, schema::STATUS] {
                let path = run.join(name);
                if let Ok(file) = fs::metadata(&path) {
                    state.push((path, file.len(), file.modified().ok()));
                }
            }
        }
    }
    state
}

fn folders(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut folders: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}
