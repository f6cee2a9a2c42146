//! `bn-train list`: the embedded experiments.

use super::machine::{Machine, Share};
use super::plan::{glance, glance_without_data};
use super::print::{print, print_all};
use super::respawn::respawn;
use super::terminal::duration;
use crate::experiment::plan::Plan;
use crate::experiment::{Arm, Experiment, Flags, Registry};
use clap::Args;
use std::collections::BTreeSet;
use std::process::ExitCode;

/// Arguments of `bn-train list`.
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    machine: Machine,
    /// Skip the time estimates, which take some seconds
    #[arg(long)]
    no_timing: bool,
}

impl List {
    /// Prints each experiment's name, question, data, size and estimated time.
    pub(super) fn run(&self, registry: &Registry) -> anyhow::Result<ExitCode> {
        let share = self.machine.share(&self.machine.device.devices()?, usize::MAX);
        if !self.no_timing
            && let Some(status) = respawn(share.threads)?
        {
            return Ok(status);
        }
        let device = self.machine.device.first().open()?;
        let mut all = 0.0;
        for shipped in registry.shipped() {
            let experiment = registry.load(shipped.name, &Flags::default())?;
            let plan = Plan::new(&experiment);
            let of = if shipped.is_full_size { ", full size: needs downloaded data" } else { "" };
            let time = if self.no_timing {
                of.to_owned()
            } else {
                let estimate = if shipped.is_full_size { glance_without_data } else { glance };
                let seconds = estimate(&plan, &device)? / share.jobs.min(plan.runs.len()) as f64;
                all += if shipped.is_full_size { 0.0 } else { seconds };
                format!("{of}, about {}", duration(seconds))
            };
            // Print as we go: each estimate takes a while.
            print(&describe(shipped.name, &experiment, &time))?;
        }
        let Share { jobs, threads } = share;
        if self.no_timing {
            return Ok(ExitCode::SUCCESS);
        }
        let (all, threads) = (duration(all), counted(threads, "thread"));
        print_all(&format!(
            "\nall but the full-size ones: about {all}, {jobs} runs at a time with {threads} each\n"
        ))
    }
}

fn describe(name: &str, experiment: &Experiment, time: &str) -> String {
    let arms = counted(experiment.arms.len(), "arm");
    let seeds = counted(experiment.seeds.len(), "seed");
    let data: BTreeSet<String> = experiment.arms.iter().map(data_name).collect();
    let data = data.into_iter().collect::<Vec<_>>().join(", ");
    let mut text = format!("{name}  ({data}, {arms} x {seeds}{time})\n");
    if let Some(question) = &experiment.question {
        text += &format!("    {question}\n");
    }
    text
}

/// The data set's name as the arm's file has it.
fn data_name(arm: &Arm) -> String {
    let name = arm.settings.written.get("data").and_then(|data| data.get("name")?.as_str());
    name.unwrap_or("no data").to_owned()
}

/// `1 arm`, `7 arms`.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
