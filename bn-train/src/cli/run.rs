//! `bn-train run`: trains an experiment and draws its report.

use super::choice::Choice;
use super::list::counted;
use super::machine::{Machine, Share, named};
use super::print::print;
use crate::device::{DeviceName, by_turns};
use crate::experiment::plan::{self, Plan};
use crate::experiment::{Experiment, Registry};
use crate::launch::earlier::{Standing, neighbours};
use crate::launch::interruption::{EXIT_STATUS, Interruption};
use crate::launch::{self, Job, Options, Outcome, console};
use crate::preflight;
use crate::run::directory::partial_path;
use crate::run::files::write_atomic;
use anyhow::{Context as _, bail};
use bn_report::schema::{MANIFEST, Status, WORKER_LOG, slug};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bn-train run
  bn-train run --set train.steps=100 --seeds 0,1
  bn-train show decay-and-renorm > mine.toml && bn-train run mine.toml
  bn-train run runs/decay-and-renorm/decay-0.9/seed-0/config.toml --out again   # repeats one run
  bn-train run --all                                                             # every embedded experiment, with an index page")]
pub(super) struct Run {
    #[command(flatten)]
    choice: Choice,
    /// Run every embedded experiment except the full-size ones, and write a page that links their reports
    #[arg(long, conflicts_with_all = ["experiment", "name", "arms"])]
    all: bool,
    /// Parent of the experiment's folder
    #[arg(long, value_name = "DIR", default_value = "runs")]
    out: PathBuf,
    #[command(flatten)]
    machine: Machine,
    /// Print lines of text instead of progress bars
    #[arg(long)]
    plain: bool,
    /// Replace runs with other settings in the experiment's folder, each once its new run has completed
    #[arg(long)]
    replace: bool,
    /// Do not draw the report
    #[arg(long)]
    no_report: bool,
}

impl Run {
    /// Trains one experiment, or all of them.
    pub(super) fn run(self, registry: &Registry) -> anyhow::Result<ExitCode> {
        let interruption = Interruption::listen()?;
        if !self.all {
            return self.one(registry, &interruption, self.choice.load(registry)?);
        }
        let mut failed = Vec::new();
        for shipped in registry.shipped().iter().filter(|shipped| !shipped.is_full_size) {
            let experiment = self.choice.load_other(registry, shipped.name)?;
            match self.one(registry, &interruption, experiment) {
                Ok(code) if code == ExitCode::from(EXIT_STATUS) => return Ok(code),
                Ok(ExitCode::SUCCESS) => {}
                Ok(_) => failed.push(shipped.name),
                Err(error) => {
                    console::note(&format!("error: {}: {error:#}", shipped.name));
                    failed.push(shipped.name);
                }
            }
        }
        if !self.no_report {
            let page = self.out.join("index.html");
            let index = bn_report::index::index(&self.out, &page).context("the index")?;
            print(&format!("{}index: {}\n", index.render(), page.display()))?;
        }
        if failed.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        bail!("{} failed: {}", counted(failed.len(), "experiment"), failed.join(", "));
    }

    /// Trains one experiment, and draws its report.
    fn one(
        &self,
        registry: &Registry,
        interruption: &Interruption,
        experiment: Experiment,
    ) -> anyhow::Result<ExitCode> {
        let plan = Plan::new(&experiment);
        let folder = self.out.join(slug(&plan.name));
        let devices = self.machine.device.devices()?;
        let share = self.machine.share(&devices, plan.runs.len());
        let checked = preflight::check(&plan, &folder, &devices[..share.jobs.min(devices.len())])?;
        let all = self.jobs(&plan, &folder, &checked)?;
        let neighbours = neighbours(&experiment, &plan, &folder, &self.machine.device.to_string())?;
        let standing = Standing::of(&all, &neighbours, registry, self.replace)?;
        let jobs: Vec<Job> = all
            .iter()
            .zip(&standing.results)
            .filter(|(_, result)| result.is_none())
            .map(|(job, _)| job.clone())
            .collect();
        let options = self.options(&devices, jobs.len());
        announce(&plan, &options, &folder, &standing)?;
        for note in &experiment.notes {
            console::note(&format!("note: {note}"));
        }

        interruption.hold();
        write_manifest(&experiment, &plan, &checked, &folder)?;
        let outcome = launch::launch(&jobs, &options, interruption.requested())?;
        interruption.release();
        self.conclude(&folder, &jobs, &outcome)
    }

    fn options(&self, devices: &[DeviceName], runs: usize) -> Options {
        let Share { jobs, threads } = self.machine.share(devices, runs);
        Options { devices: by_turns(devices, jobs), threads, plain: self.plain }
    }

    fn jobs(
        &self,
        plan: &Plan,
        folder: &Path,
        checked: &preflight::Checked,
    ) -> anyhow::Result<Vec<Job>> {
        // As it was typed: which GPU a run will get is open, and does not matter to its results.
        let device = self.machine.device.to_string();
        let job = |run: &plan::Run| {
            let config = plan.config(run, &checked.surroundings, crate::VERSION, &device);
            Ok(Job {
                label: format!("{}, seed {}", run.arm, run.seed),
                directory: folder.join(run.directory()),
                config: config.to_toml().context("the settings of a run")?,
                digest: run.digest(&checked.surroundings),
                steps: run.settings.train.steps,
            })
        };
        plan.runs.iter().map(job).collect()
    }

    /// Draws the report and reports the outcome.
    fn conclude(&self, folder: &Path, jobs: &[Job], outcome: &Outcome) -> anyhow::Result<ExitCode> {
        let ended = outcome.statuses.iter().flatten().filter(|status| status.is_result()).count();
        let all = jobs.len();
        if outcome.was_interrupted {
            let folder = folder.display();
            console::note(&format!(
                "interrupted: {ended} of {all} runs completed; results so far are in {folder}; run the same command to resume"
            ));
            return Ok(ExitCode::from(EXIT_STATUS));
        }
        if !self.no_report {
            let options = bn_report::Options::default();
            let code = bn_report::cli::draw(&[folder.to_owned()], None, &options);
            let code = code.context("the report")?;
            if ended == all {
                return Ok(code);
            }
        }
        if ended < all {
            bail!(unfinished(jobs, outcome));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The error for runs that failed or were stopped, with the path of the first log.
fn unfinished(jobs: &[Job], outcome: &Outcome) -> String {
    let (mut failed, mut stopped) = (Vec::new(), 0);
    for (job, status) in jobs.iter().zip(&outcome.statuses) {
        match status {
            Some(Status::Failed { .. }) => failed.push(job),
            Some(status) if status.is_result() => {}
            _ => stopped += 1,
        }
    }
    let all = jobs.len();
    match (failed.first(), stopped) {
        (Some(first), _) => {
            let log = partial_path(&first.directory).join(WORKER_LOG);
            let count = failed.len();
            format!(
                "{count} of {all} runs failed; see the first one's log, {}; run the same command to retry",
                log.display()
            )
        }
        (None, 1) => {
            format!("1 of {all} runs was stopped early; run the same command to resume")
        }
        (None, stopped) => {
            format!("{stopped} of {all} runs were stopped early; run the same command to resume")
        }
    }
}

/// Writes the manifest, keeping what it shares with an older one.
fn write_manifest(
    experiment: &Experiment,
    plan: &Plan,
    checked: &preflight::Checked,
    folder: &Path,
) -> anyhow::Result<()> {
    let path = folder.join(MANIFEST);
    // An unreadable manifest counts as absent, since it is about to be replaced.
    let older = std::fs::read_to_string(&path).ok().and_then(|text| toml::from_str(&text).ok());
    let (surroundings, older) = (&checked.surroundings, older.as_ref());
    let manifest = plan.manifest(experiment, surroundings, older, crate::VERSION, &command_line());
    Ok(write_atomic(&path, &manifest.to_toml().context("the manifest")?)?)
}

/// Prints what will be trained.
fn announce(
    plan: &Plan,
    options: &Options,
    folder: &Path,
    standing: &Standing,
) -> anyhow::Result<()> {
    let steps: std::collections::BTreeSet<u64> =
        plan.runs.iter().map(|run| run.settings.train.steps).collect();
    let steps: Vec<String> = steps.iter().map(u64::to_string).collect();
    let mut text = format!(
        "{}: {} x {} = {} of {} steps\n",
        plan.name,
        counted(plan.arms.len(), "arm"),
        counted(plan.seeds.len(), "seed"),
        counted(plan.runs.len(), "run"),
        steps.join(" or ")
    );
    for arm in &plan.arms {
        text += &format!("  {arm}\n");
    }
    let (devices, jobs) = (named(&options.devices), options.devices.len());
    let threads = counted(options.threads, "thread");
    text +=
        &format!("on {devices}, {jobs} at a time with {threads} each, into {}\n", folder.display());
    text += &of_earlier(standing);
    print(&text)
}

/// Describes runs that are skipped or resumed.
fn of_earlier(standing: &Standing) -> String {
    let all = standing.results.len();
    let mut text = String::new();
    match standing.results.iter().flatten().count() {
        0 => {}
        ended => text += &format!("{ended} of {all} already completed, skipped\n"),
    }
    match standing.resumed {
        0 => {}
        1 => text += &format!("1 of {all} resumes from its checkpoint\n"),
        resumed => text += &format!("{resumed} of {all} resume from their checkpoints\n"),
    }
    if let Some((count, version)) = &standing.other_version {
        let this = crate::VERSION;
        text += &format!(
            "{} by another version of this program: {version}; this is {this}\n",
            counted(*count, "run")
        );
    }
    text
}

/// The command that was typed, for the manifest.
fn command_line() -> String {
    let mut words = std::env::args();
    let program = words.next().unwrap_or_default();
    let program = Path::new(&program).file_name().map(|name| name.to_string_lossy().into_owned());
    let quote = |word: String| {
        if word.contains([' ', '"', '\'', '$']) { format!("{word:?}") } else { word }
    };
    let program = program.unwrap_or_else(|| "bn-train".to_owned());
    std::iter::once(program).chain(words.map(quote)).collect::<Vec<_>>().join(" ")
}
