//! The command line: what a user may ask for, and in which order it is done.

use crate::device::DeviceName;
use crate::experiment::plan::{Plan, Selection};
use crate::experiment::{self, Invalid, shipped};
use crate::launch::{self, Job, Options, Outcome};
use crate::preflight;
use anyhow::{Context as _, bail};
use bn_report::schema::{MANIFEST, Status};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Train networks under batch normalization of many kinds, and compare them.
#[derive(Debug, Parser)]
#[command(name = "bn-train", version = env!("BN_TRAIN_VERSION"))]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train every arm of an experiment with every seed, then draw the report
    Run(Run),
    /// Name the embedded experiments
    List,
    /// Print an embedded experiment, to copy and change
    ///
    /// `bn-train show template` explains every key.
    Show {
        /// Its name, as `bn-train list` has it
        name: String,
    },
    /// Train runs as told on the standard input; `run` starts these
    #[command(hide = true)]
    Worker {
        #[arg(long, default_value_t)]
        device: DeviceName,
    },
}

/// The runs land in OUT/NAME/ARM/seed-N, the report in OUT/NAME/report.html. A run that is there already is replaced
/// when the new one ends. Ctrl-C ends within a second and keeps what was measured.
///
/// Exit status: 0 when all runs ended (one that diverged is a result), 1 on an error, 130 on Ctrl-C.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bn-train run
  bn-train run --set train.steps=100 --seeds 0,1
  bn-train show decay-and-renorm > mine.toml && bn-train run mine.toml
  bn-train run runs/decay-and-renorm/decay-0.9/seed-0/config.toml --out again   # repeats one run")]
struct Run {
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

/// Does what the command line asks.
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(run) => run.run(),
        Command::List => list(),
        Command::Show { name } => show(&name),
        Command::Worker { device } => launch::worker::work(device).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn list() -> anyhow::Result<ExitCode> {
    for shipped in shipped::ALL {
        let experiment = experiment::load(shipped.name, &[])?;
        let (arms, seeds) = (experiment.arms.len(), experiment.seeds.len());
        println!("{}  ({arms} arms, {seeds} seeds)", shipped.name);
        if let Some(question) = experiment.question {
            println!("    {question}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(name: &str) -> anyhow::Result<ExitCode> {
    let Some(shipped) = shipped::find(name) else {
        let names: Vec<&str> = shipped::ALL.iter().chain([&shipped::TEMPLATE]).map(|shipped| shipped.name).collect();
        bail!("there is no embedded experiment {name:?}; there are {}", names.join(", "));
    };
    print!("{}", shipped.text);
    Ok(ExitCode::SUCCESS)
}

impl Run {
    fn run(self) -> anyhow::Result<ExitCode> {
        let interrupted = launch::local::interruption()?;
        let plan = self.plan()?;
        let folder = self.out.join(&plan.name);
        let options = self.options(plan.runs.len());
        let checked = preflight::check(&plan, &folder, self.device)?;
        announce(&plan, &options, &folder);

        let manifest = plan.manifest(crate::VERSION, &command_line()).to_toml().context("the manifest")?;
        crate::run::directory::write_whole(&folder.join(MANIFEST), &manifest)?;
        let jobs = plan.runs.iter().map(|run| {
            let config = plan.config(run, crate::VERSION, &self.device.to_string(), checked.digest(run));
            let config = config.to_toml().context("the settings of a run")?;
            let (label, steps) = (format!("{}, seed {}", run.arm, run.seed), run.settings.train.steps);
            Ok(Job { label, place: folder.join(run.directory()), config, steps })
        });
        let jobs: Vec<Job> = jobs.collect::<anyhow::Result<_>>()?;
        let outcome = launch::launch(&jobs, &options, &interrupted)?;
        self.conclude(&folder, &outcome)
    }

    fn plan(&self) -> anyhow::Result<Plan> {
        let experiment = experiment::load(&self.experiment, &self.set)?;
        let selection = Selection { seeds: self.seeds.clone(), arms: self.arms.clone() };
        Plan::new(&experiment, &selection)
            .map_err(|problems| Invalid { origin: self.experiment.clone(), problems }.into())
    }

    fn options(&self, runs: usize) -> Options {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = self.jobs.map_or(cores, usize::from).min(runs);
        Options { jobs, threads: (cores / jobs).max(1), device: self.device, plain: self.plain }
    }

    /// Draws the report and says how it went.
    fn conclude(&self, folder: &std::path::Path, outcome: &Outcome) -> anyhow::Result<ExitCode> {
        let ended = outcome.statuses.iter().flatten();
        let whole = ended.clone().filter(|status| matches!(status, Status::Finished | Status::Diverged { .. })).count();
        if outcome.was_interrupted {
            let all = outcome.statuses.len();
            eprintln!("interrupted: {whole} of {all} runs ended; what was measured is in {}", folder.display());
            return Ok(ExitCode::from(130));
        }
        if !self.no_report {
            println!("report in {}", folder.display());
        }
        let failed = outcome.statuses.len() - whole;
        if failed > 0 {
            bail!("{failed} of {} runs failed; their status.json in {} says why", outcome.statuses.len(), folder.display());
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Says what is going to happen.
fn announce(plan: &Plan, options: &Options, folder: &std::path::Path) {
    let steps: std::collections::BTreeSet<u64> = plan.runs.iter().map(|run| run.settings.train.steps).collect();
    let steps: Vec<String> = steps.iter().map(u64::to_string).collect();
    let (arms, seeds) = (plan.arms.len(), plan.seeds.len());
    println!("{}: {arms} arms x {seeds} seeds = {} runs of {} steps", plan.name, plan.runs.len(), steps.join(" or "));
    for arm in &plan.arms {
        println!("  {arm}");
    }
    println!("on {}, {} at a time, into {}", options.device, options.jobs, folder.display());
}

/// The command that was typed, for the manifest.
fn command_line() -> String {
    let words = std::env::args().skip(1);
    let quote = |word: String| if word.contains([' ', '"', '\'', '$']) { format!("{word:?}") } else { word };
    std::iter::once("bn-train".to_owned()).chain(words.map(quote)).collect::<Vec<_>>().join(" ")
}
