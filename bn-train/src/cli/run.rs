//! `bn-train run`: trains an experiment and draws its report.

use super::list::counted;
use crate::device::DeviceName;
use crate::experiment::plan::{Plan, Selection};
use crate::experiment::{self, Experiment, Invalid, shipped};
use crate::launch::interruption::{EXIT_STATUS, Interruption};
use crate::launch::{self, Job, Options, Outcome};
use crate::preflight;
use crate::run::directory::write_whole;
use anyhow::{Context as _, bail};
use bn_report::schema::{MANIFEST, Status, slug};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bn-train run
  bn-train run --set train.steps=100 --seeds 0,1
  bn-train show decay-and-renorm > mine.toml && bn-train run mine.toml
  bn-train run runs/decay-and-renorm/decay-0.9/seed-0/config.toml --out again   # repeats one run")]
pub(super) struct Run {
    /// Name of an embedded experiment, or path of a TOML file
    #[arg(default_value = shipped::DEFAULT)]
    experiment: String,
    /// Replace a key in every arm, for instance train.steps=100 or norm.decay=0.9; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Where to put the folder of the experiment
    #[arg(long, value_name = "DIR", default_value = "runs")]
    out: PathBuf,
    /// Seeds in place of the experiment's own, for instance 0,1,2
    #[arg(long, value_name = "SEED,...", value_delimiter = ',', value_parser = clap::value_parser!(u64).range(0..=i64::MAX as u64))]
    seeds: Option<Vec<u64>>,
    /// Train only these arms, by name or folder
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    arms: Option<Vec<String>>,
    /// Runs at a time, each a process with its share of the cores [default: the cores]
    #[arg(long, value_name = "N")]
    jobs: Option<std::num::NonZeroUsize>,
    /// cpu, cuda or cuda:N
    #[arg(long, default_value_t)]
    device: DeviceName,
    /// Lines of text in place of progress bars
    #[arg(long)]
    plain: bool,
    /// Do not draw the report
    #[arg(long)]
    no_report: bool,
}

impl Run {
    /// Trains, and draws the report.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let interruption = Interruption::listen()?;
        let experiment = experiment::load(&self.experiment, &self.set)?;
        let selection = Selection { seeds: self.seeds.clone(), arms: self.arms.clone() };
        let plan = Plan::new(&experiment, &selection)
            .map_err(|problems| Invalid { origin: self.experiment.clone(), problems })?;
        let folder = self.out.join(slug(&plan.name));
        let options = self.options(plan.runs.len());
        let checked = preflight::check(&plan, &folder, self.device)?;
        announce(&plan, &options, &folder);
        for note in &experiment.notes {
            eprintln!("note: {note}");
        }

        interruption.hold();
        write_manifest(&experiment, &plan, &folder)?;
        let jobs = self.jobs(&plan, &folder, &checked)?;
        let outcome = launch::launch(&jobs, &options, interruption.requested())?;
        interruption.release();
        self.conclude(&folder, &outcome)
    }

    fn options(&self, runs: usize) -> Options {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = self.jobs.map_or(cores, usize::from).min(runs);
        Options { jobs, threads: (cores / jobs).max(1), device: self.device, plain: self.plain }
    }

    fn jobs(
        &self,
        plan: &Plan,
        folder: &Path,
        checked: &preflight::Checked,
    ) -> anyhow::Result<Vec<Job>> {
        let device = self.device.to_string();
        let job = |run: &experiment::plan::Run| {
            let config = plan.config(run, crate::VERSION, &device, checked.digest(run));
            Ok(Job {
                label: format!("{}, seed {}", run.arm, run.seed),
                place: folder.join(run.directory()),
                config: config.to_toml().context("the settings of a run")?,
                steps: run.settings.train.steps,
            })
        };
        plan.runs.iter().map(job).collect()
    }

    /// Draws the report and says how it went.
    fn conclude(&self, folder: &Path, outcome: &Outcome) -> anyhow::Result<ExitCode> {
        let is_whole =
            |status: &&Status| matches!(status, Status::Finished | Status::Diverged { .. });
        let (all, whole) =
            (outcome.statuses.len(), outcome.statuses.iter().flatten().filter(is_whole).count());
        let folder_text = folder.display();
        if outcome.was_interrupted {
            eprintln!(
                "interrupted: {whole} of {all} runs ended; what was measured is in {folder_text}"
            );
            return Ok(ExitCode::from(EXIT_STATUS));
        }
        if !self.no_report {
            let arguments =
                bn_report::cli::Arguments { experiment: folder.to_owned(), output: None };
            bn_report::cli::run(&arguments).context("the report")?;
        }
        if whole < all {
            bail!(
                "{} of {all} runs failed; the status.json of each, in {folder_text}, says why",
                all - whole
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Freezes the plan, beside what it has in common with an older one.
fn write_manifest(experiment: &Experiment, plan: &Plan, folder: &Path) -> anyhow::Result<()> {
    let path = folder.join(MANIFEST);
    // A manifest that cannot be read is as good as none: it is about to be replaced.
    let older = std::fs::read_to_string(&path).ok().and_then(|text| toml::from_str(&text).ok());
    let manifest = plan.manifest(experiment, older.as_ref(), crate::VERSION, &command_line());
    Ok(write_whole(&path, &manifest.to_toml().context("the manifest")?)?)
}

/// Says what is going to happen.
fn announce(plan: &Plan, options: &Options, folder: &Path) {
    let steps: std::collections::BTreeSet<u64> =
        plan.runs.iter().map(|run| run.settings.train.steps).collect();
    let steps: Vec<String> = steps.iter().map(u64::to_string).collect();
    println!(
        "{}: {} x {} = {} of {} steps",
        plan.name,
        counted(plan.arms.len(), "arm"),
        counted(plan.seeds.len(), "seed"),
        counted(plan.runs.len(), "run"),
        steps.join(" or ")
    );
    for arm in &plan.arms {
        println!("  {arm}");
    }
    println!("on {}, {} at a time, into {}", options.device, options.jobs, folder.display());
}

/// The command that was typed, for the manifest.
fn command_line() -> String {
    let words = std::env::args().skip(1);
    let quote = |word: String| {
        if word.contains([' ', '"', '\'', '$']) { format!("{word:?}") } else { word }
    };
    std::iter::once("bn-train".to_owned()).chain(words.map(quote)).collect::<Vec<_>>().join(" ")
}
