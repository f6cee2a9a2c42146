//! `bn-train run`: trains an experiment and draws its report.

use super::list::counted;
use super::print::print;
use crate::device::DeviceName;
use crate::experiment::plan::{self, Plan};
use crate::experiment::{Experiment, Flags, Registry, shipped};
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
  bn-train run runs/decay-and-renorm/decay-0.9/seed-0/config.toml --out again   # repeats one run")]
pub(super) struct Run {
    /// Name of an embedded experiment, or path of a TOML file
    #[arg(default_value = shipped::DEFAULT)]
    experiment: String,
    /// Replace a key in every arm, for instance train.steps=100 or norm={decay=0.9}; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Name of the experiment's folder, in place of its own
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Where to put the folder of the experiment
    #[arg(long, value_name = "DIR", default_value = "runs")]
    out: PathBuf,
    /// Seeds in place of the experiment's own, for instance 0,1,5-9
    #[arg(long, value_name = "SEED,...", allow_hyphen_values = true)]
    seeds: Option<String>,
    /// Train only these arms, by name or folder; may be repeated
    #[arg(long, value_name = "NAME,...")]
    arms: Vec<String>,
    /// Runs at a time, each a process of its own [default: the cores, divided by --threads; 1 on a GPU]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    jobs: Option<usize>,
    /// Threads of each run; its numbers do not depend on it [default: its share of the cores]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    threads: Option<usize>,
    /// cpu, cuda or cuda:N
    #[arg(long, default_value_t)]
    device: DeviceName,
    /// Lines of text in place of progress bars
    #[arg(long)]
    plain: bool,
    /// Replace runs of other settings that are in the experiment's folder, each when its new run ends
    #[arg(long)]
    replace: bool,
    /// Do not draw the report
    #[arg(long)]
    no_report: bool,
}

impl Run {
    /// Trains, and draws the report.
    pub(super) fn run(self, registry: &Registry) -> anyhow::Result<ExitCode> {
        let interruption = Interruption::listen()?;
        let experiment = registry.load(&self.experiment, &self.flags())?;
        let plan = Plan::new(&experiment);
        let folder = self.out.join(slug(&plan.name));
        let checked = preflight::check(&plan, &folder, self.device)?;
        let all = self.jobs(&plan, &folder, &checked)?;
        let neighbours = neighbours(&experiment, &plan, &folder, &self.device.to_string())?;
        let standing = Standing::of(&all, &neighbours, registry, self.replace)?;
        let jobs: Vec<Job> = all
            .iter()
            .zip(&standing.results)
            .filter(|(_, result)| result.is_none())
            .map(|(job, _)| job.clone())
            .collect();
        let options = self.options(jobs.len());
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

    fn flags(&self) -> Flags {
        Flags {
            set: self.set.clone(),
            name: self.name.clone(),
            seeds: self.seeds.clone(),
            arms: self.arms.clone(),
        }
    }

    fn options(&self, runs: usize) -> Options {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = self.jobs.or(match self.device {
            DeviceName::Cpu => None,
            // Each process needs a context and memory of its own on the GPU.
            DeviceName::Cuda(_) => Some(1),
        });
        let (jobs, threads) = share(cores, runs, jobs, self.threads);
        Options { jobs, threads, device: self.device, plain: self.plain }
    }

    fn jobs(
        &self,
        plan: &Plan,
        folder: &Path,
        checked: &preflight::Checked,
    ) -> anyhow::Result<Vec<Job>> {
        let device = self.device.to_string();
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

    /// Draws the report and says how it went.
    fn conclude(&self, folder: &Path, jobs: &[Job], outcome: &Outcome) -> anyhow::Result<ExitCode> {
        let ended = outcome.statuses.iter().flatten().filter(|status| status.is_result()).count();
        let all = jobs.len();
        if outcome.was_interrupted {
            let folder = folder.display();
            console::note(&format!(
                "interrupted: {ended} of {all} runs ended; what was measured is in {folder}; the same command goes on"
            ));
            return Ok(ExitCode::from(EXIT_STATUS));
        }
        if !self.no_report {
            let arguments =
                bn_report::cli::Arguments { experiment: folder.to_owned(), output: None };
            bn_report::cli::run(&arguments).context("the report")?;
        }
        if ended < all {
            bail!(unfinished(jobs, outcome));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Which runs failed or were stopped, and where it says why.
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
                "{count} of {all} runs failed; the first one's log is {}; the same command tries again",
                log.display()
            )
        }
        (None, 1) => {
            format!("1 of {all} runs was stopped before its end; the same command goes on")
        }
        (None, stopped) => format!(
            "{stopped} of {all} runs were stopped before their end; the same command goes on"
        ),
    }
}

/// Freezes the plan, beside what it has in common with an older one.
fn write_manifest(
    experiment: &Experiment,
    plan: &Plan,
    checked: &preflight::Checked,
    folder: &Path,
) -> anyhow::Result<()> {
    let path = folder.join(MANIFEST);
    // A manifest that cannot be read is as good as none: it is about to be replaced.
    let older = std::fs::read_to_string(&path).ok().and_then(|text| toml::from_str(&text).ok());
    let (surroundings, older) = (&checked.surroundings, older.as_ref());
    let manifest = plan.manifest(experiment, surroundings, older, crate::VERSION, &command_line());
    Ok(write_atomic(&path, &manifest.to_toml().context("the manifest")?)?)
}

/// Says what is going to happen.
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
    let Options { device, jobs, threads, .. } = options;
    let threads = counted(*threads, "thread");
    text +=
        &format!("on {device}, {jobs} at a time with {threads} each, into {}\n", folder.display());
    text += &of_earlier(standing);
    print(&text)
}

/// What is not trained again, or not from its beginning.
fn of_earlier(standing: &Standing) -> String {
    let all = standing.results.len();
    let mut text = String::new();
    match standing.results.iter().flatten().count() {
        0 => {}
        ended => text += &format!("{ended} of {all} ended before, skipped\n"),
    }
    match standing.resumed {
        0 => {}
        1 => text += &format!("1 of {all} goes on from its checkpoint\n"),
        resumed => text += &format!("{resumed} of {all} go on from their checkpoints\n"),
    }
    if let Some((count, version)) = &standing.other_version {
        let this = crate::VERSION;
        text += &format!(
            "{} of an earlier program: {version}; this is {this}\n",
            counted(*count, "run")
        );
    }
    text
}

/// How many runs at a time, and with how many threads each, on so many cores.
fn share(cores: usize, runs: usize, jobs: Option<usize>, threads: Option<usize>) -> (usize, usize) {
    let jobs = jobs.unwrap_or_else(|| cores / threads.unwrap_or(1)).clamp(1, runs.max(1));
    (jobs, threads.unwrap_or(cores / jobs).max(1))
}

/// A number of things of which there must be one.
fn at_least_one(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|&number| number > 0);
    number.ok_or_else(|| "expected a whole number from 1".to_owned())
}

/// The command that was typed, for the manifest.
fn command_line() -> String {
    let words = std::env::args().skip(1);
    let quote = |word: String| {
        if word.contains([' ', '"', '\'', '$']) { format!("{word:?}") } else { word }
    };
    std::iter::once("bn-train".to_owned()).chain(words.map(quote)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_shared_among_jobs_and_threads() {
        for (cores, runs, jobs, threads, expected) in [
            (8, 35, None, None, (8, 1)),
            (8, 2, None, None, (2, 4)),
            (8, 35, Some(2), None, (2, 4)),
            (8, 35, None, Some(4), (2, 4)),
            (8, 35, Some(3), Some(5), (3, 5)),
            (2, 35, None, Some(4), (1, 4)),
            (2, 1, Some(4), None, (1, 2)),
            (2, 9, Some(4), None, (4, 1)),
        ] {
            assert_eq!(share(cores, runs, jobs, threads), expected, "{cores} cores, {runs} runs");
        }
    }
}
