//! `bn-train range`: the learning-rate range test of Smith, 2017, <https://arxiv.org/abs/1506.01186>, section 3.3.

mod sweep;

use super::chart;
use super::choice::Choice;
use super::list::counted;
use super::machine::Machine;
use super::plan::load;
use super::print::print_all;
use super::respawn::respawn;
use super::terminal::table;
use crate::experiment::plan::{Plan, Run};
use crate::experiment::{Registry, Settings};
use crate::launch::awake_on;
use crate::run::{DeviceData, StepOutcome, Trainer, write_atomic};
use crate::schedule::{Schedule, Shape};
use anyhow::{Context as _, ensure};
use candle::Device;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use sweep::{End, Reading, Sweep};

/// What to sweep.
#[derive(Debug, Args)]
pub(super) struct Range {
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    machine: Machine,
    /// The rate of the first step
    #[arg(long, value_name = "RATE", default_value_t = 1e-5)]
    from: f64,
    /// The rate that the last step comes to
    #[arg(long, value_name = "RATE", default_value_t = 10.0)]
    to: f64,
    /// Steps of each arm, unless its loss ends them
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u64).range(20..))]
    steps: u64,
    /// Where to write every step: arm, seed, step, learning rate, loss and smoothed loss, as CSV
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Range {
    /// Sweeps every arm, and prints what its losses tell.
    pub(super) fn run(&self, registry: &Registry) -> anyhow::Result<ExitCode> {
        ensure!(
            self.from > 0.0 && self.from < self.to && self.to.is_finite(),
            "--from {} --to {}: expected rates above 0, the second above the first",
            self.from,
            self.to
        );
        let plan = Plan::new(&self.choice.load(registry)?);
        let runs = self.runs(&plan);
        let name = self.machine.device.first();
        if let Some(status) = respawn(self.machine.share(&[name], 1).threads)? {
            return Ok(status);
        }
        let device = name.open()?;
        let sweeps = awake_on(&device, || self.sweeps(&plan, &runs, &device))?;
        if let Some(path) = &self.output {
            write_atomic(path, &csv_of(&runs, &sweeps)?)?;
        }
        print_all(&self.describe(&plan, &runs, &sweeps))
    }

    /// Each arm with the first seed, or with all that the command line names.
    fn runs<'a>(&self, plan: &'a Plan) -> Vec<&'a Run> {
        let is_wanted =
            |run: &&Run| self.choice.names_seeds() || Some(&run.seed) == plan.seeds.first();
        plan.runs.iter().filter(is_wanted).collect()
    }

    fn sweeps(&self, plan: &Plan, runs: &[&Run], device: &Device) -> anyhow::Result<Vec<Sweep>> {
        let data = load(plan, device)?;
        let bar = bar(self.steps * runs.len() as u64);
        let mut sweeps = Vec::new();
        for run in runs {
            let data = &data[run.settings.data.identity()].data;
            bar.set_message(run.arm.clone());
            let sweep = self.sweep(run, data, &bar);
            sweeps.push(sweep.with_context(|| format!("arm {:?}", run.arm))?);
            bar.set_position(self.steps * sweeps.len() as u64);
        }
        bar.finish_and_clear();
        Ok(sweeps)
    }

    fn sweep(&self, run: &Run, data: &DeviceData, bar: &ProgressBar) -> candle::Result<Sweep> {
        let mut trainer = Trainer::new(&self.settings(run), run.seed, data)?;
        let mut sweep = Sweep::new(self.from, self.to, self.steps);
        loop {
            let outcome = match trainer.step()? {
                StepOutcome::Pending => trainer.settle()?,
                known => Some(known),
            };
            let loss = match &outcome {
                Some(StepOutcome::Updated(scores) | StepOutcome::Diverged { scores, .. }) => {
                    scores.first().copied()
                }
                Some(StepOutcome::Pending) | None => None,
            };
            let loss = loss.unwrap_or(f64::NAN);
            bar.inc(1);
            if !sweep.push(loss) {
                return Ok(sweep);
            }
        }
    }

    /// The run's, with the rate that rises and nothing that watches.
    fn settings(&self, run: &Run) -> Settings {
        let mut settings = run.settings.clone();
        settings.learning_rate = self.from;
        let shape = Shape::Exponential { final_factor: self.to / self.from };
        settings.schedule = Schedule { shape, warmup_steps: 0 };
        settings.train.steps = self.steps;
        settings.output.layers_every = None;
        settings.average = None;
        settings.probes.shadows.clear();
        settings
    }

    fn describe(&self, plan: &Plan, runs: &[&Run], sweeps: &[Sweep]) -> String {
        let mut text = format!(
            "{}: learning rate from {} to {}, {} each\n\n",
            plan.name,
            chart::number(self.from),
            chart::number(self.to),
            counted(self.steps as usize, "step")
        );
        let head = ["arm", "seed", "steepest fall at", "lowest loss", "at", "the loss"];
        let mut rows = vec![head.map(ToOwned::to_owned).to_vec()];
        rows.extend(runs.iter().zip(sweeps).map(|(run, sweep)| row(run, &sweep.read())));
        for line in table(&rows) {
            text += &format!("{line}\n");
        }
        for (run, sweep) in runs.iter().zip(sweeps) {
            text += &format!("\nloss of {:?}, seed {}\n", run.arm, run.seed);
            for line in curve(sweep) {
                text += &format!("  {line}\n");
            }
        }
        text
    }
}

fn row(run: &Run, reading: &Reading) -> Vec<String> {
    let number = |value: Option<f64>| value.map_or("-".to_owned(), chart::number);
    let end = match reading.end {
        End::Highest => "did not blow up".to_owned(),
        End::Rose(rate) => format!("rose at {}", chart::number(rate)),
        End::NotFinite(rate) => format!("was not finite at {}", chart::number(rate)),
    };
    vec![
        run.arm.clone(),
        run.seed.to_string(),
        number(reading.steepest),
        number(reading.lowest.map(|(loss, _)| loss)),
        number(reading.lowest.map(|(_, rate)| rate)),
        end,
    ]
}

/// The smoothed loss over the logarithm of the rate. What is far above the first loss is cut off: it would flatten the rest.
fn curve(sweep: &Sweep) -> Vec<String> {
    let smoothed = sweep.smoothed();
    let (Some(&first), Some(last)) = (smoothed.first(), smoothed.len().checked_sub(1)) else {
        return vec!["not finite from the first step on".to_owned()];
    };
    let ends = (chart::number(sweep.rate(0)), format!("rate {}", chart::number(sweep.rate(last))));
    chart::draw_between((&ends.0, &ends.1), |at| {
        smoothed[(at * last as f64).round() as usize].min(1.25 * first)
    })
}

fn csv_of(runs: &[&Run], sweeps: &[Sweep]) -> anyhow::Result<String> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(["arm", "seed", "step", "learning_rate", "loss", "smoothed_loss"])?;
    for (run, sweep) in runs.iter().zip(sweeps) {
        let smoothed = sweep.smoothed();
        for (step, loss) in sweep.losses().iter().enumerate() {
            let smoothed = smoothed.get(step).map_or(String::new(), ToString::to_string);
            let (seed, rate) = (run.seed.to_string(), sweep.rate(step).to_string());
            let step = (step + 1).to_string();
            csv.write_record([&run.arm, &seed, &step, &rate, &loss.to_string(), &smoothed])?;
        }
    }
    Ok(String::from_utf8(csv.into_inner()?)?)
}

/// On a terminal; elsewhere nothing is drawn.
fn bar(steps: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(steps);
    if let Ok(style) =
        ProgressStyle::with_template("{wide_bar} {pos}/{len} steps, {eta} left {msg}")
    {
        bar.set_style(style);
    }
    bar
}
