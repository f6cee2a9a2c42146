//! `bn-train plan`: shows what `run` would do, how long it would take, and the networks' layers. It writes no runs.

mod curves;
mod summary;
mod timing;

use super::choice::Choice;
use super::list::counted;
use super::machine::{Machine, Share};
use super::print::print_all;
use super::respawn::respawn;
use super::terminal::table;
use crate::experiment::plan::{Plan, Run};
use crate::experiment::{Experiment, Registry};
use anyhow::Context as _;
use candle::Device;
use clap::Args;
use curves::curves;
use std::process::ExitCode;
use summary::Summary;
use timing::{Examples, time};
pub(super) use timing::{glance, glance_without_data};

/// Arguments of `bn-train plan`.
#[derive(Debug, Args)]
pub(super) struct PlanArguments {
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    machine: Machine,
    /// Skip the time estimate, which runs a few steps of each network
    #[arg(long)]
    no_timing: bool,
}

impl PlanArguments {
    /// Prints the plan.
    pub(super) fn run(&self, registry: &Registry) -> anyhow::Result<ExitCode> {
        let experiment = self.choice.load(registry)?;
        let plan = Plan::new(&experiment);
        let devices = self.machine.device.devices()?;
        let share = self.machine.share(&devices, plan.runs.len());
        if !self.no_timing
            && let Some(status) = respawn(share.threads)?
        {
            return Ok(status);
        }
        let device = self.machine.device.first().open()?;
        let share = (!self.no_timing).then_some(share);
        print_all(&describe(&experiment, &plan, &device, share)?)
    }
}

/// A run whose network has been built.
struct Built<'a> {
    run: &'a Run,
    summary: Summary,
}

/// The text of the plan, with a time estimate if `share` is given.
fn describe(
    experiment: &Experiment,
    plan: &Plan,
    device: &Device,
    share: Option<Share>,
) -> anyhow::Result<String> {
    let mut text = head(plan);
    text += &section("arms", &arms(plan));
    let data = load(plan, device)?;
    for (identity, examples) in &data {
        let uses = first_runs(plan).filter(|run| run.settings.data.identity() == identity);
        let arms: Vec<&str> = uses.map(|run| run.arm.as_str()).collect();
        text += &section(&title("data", &arms, plan), &examples.lines());
    }
    let built = first_runs(plan).map(|run| build(run, &data, device));
    let built = built.collect::<anyhow::Result<Vec<_>>>()?;
    for (arms, summary) in networks(&built) {
        text += &section(&title("network", &arms, plan), &summary.lines());
    }
    for curve in curves(plan) {
        text += &section(&title(curve.what, &curve.arms, plan), &curve.lines);
    }
    if let Some(share) = share {
        text += &section("time", &time(plan, &data, device, share)?);
    }
    for note in &experiment.notes {
        text += &format!("\nnote: {note}\n");
    }
    Ok(text)
}

/// The data sets of the plan, by identity.
type Data = std::collections::BTreeMap<String, Examples>;

pub(super) fn load(plan: &Plan, device: &Device) -> anyhow::Result<Data> {
    let mut data = Data::new();
    for run in &plan.runs {
        let source = &run.settings.data;
        if !data.contains_key(source.identity()) {
            let examples = Examples::new(source.load()?, device)?;
            data.insert(source.identity().to_owned(), examples);
        }
    }
    Ok(data)
}

fn build<'a>(run: &'a Run, data: &Data, device: &Device) -> anyhow::Result<Built<'a>> {
    let context = || format!("arm {:?}", run.arm);
    let examples = &data[run.settings.data.identity()];
    let networks = examples.data.networks(&run.settings, run.seed).with_context(context)?;
    let images = examples.images(run.settings.train.pass_size(), device).with_context(context)?;
    let summary = Summary::new(&networks, &images).with_context(context)?;
    Ok(Built { run, summary })
}

/// The distinct networks, each with the arms that use it, in file order.
fn networks<'a>(built: &'a [Built<'_>]) -> Vec<(Vec<&'a str>, &'a Summary)> {
    let mut networks: Vec<(Vec<&str>, &Summary)> = Vec::new();
    for Built { run, summary } in built {
        match networks.iter_mut().find(|(_, known)| *known == summary) {
            Some((arms, _)) => arms.push(&run.arm),
            None => networks.push((vec![&run.arm], summary)),
        }
    }
    networks
}

fn head(plan: &Plan) -> String {
    let (arms, seeds) = (counted(plan.arms.len(), "arm"), counted(plan.seeds.len(), "seed"));
    let question = plan.question.as_ref().map_or(String::new(), |question| format!("{question}\n"));
    format!("{}: {arms} x {seeds} = {}\n{question}", plan.name, counted(plan.runs.len(), "run"))
}

fn section(title: &str, lines: &[String]) -> String {
    let mut text = format!("\n{title}\n");
    for line in lines {
        text += &format!("  {line}\n");
    }
    text
}

/// The first run of each arm, in file order.
fn first_runs(plan: &Plan) -> impl Iterator<Item = &Run> {
    plan.arms.iter().filter_map(|arm| plan.runs.iter().find(|run| run.arm == *arm))
}

/// A line per arm with the settings that differ between arms.
fn arms(plan: &Plan) -> Vec<String> {
    let runs: Vec<&Run> = first_runs(plan).collect();
    let is_common = |key: &String, value: &String| {
        runs.iter().all(|run| run.settings.changed.get(key) == Some(value))
    };
    let cells = |run: &&Run| {
        let own = run.settings.changed.iter().filter(|(key, value)| !is_common(key, value));
        let own: Vec<String> = own.map(|(key, value)| format!("{key} = {value}")).collect();
        let steps = format!("{} steps", run.settings.train.steps);
        vec![run.arm.clone(), steps, own.join(", ")]
    };
    let rows: Vec<Vec<String>> = runs.iter().map(cells).collect();
    let left: Vec<Vec<String>> = rows.iter().map(|row| row[..2].to_vec()).collect();
    let join =
        |(line, row): (&String, &Vec<String>)| format!("{line}  {}", row[2]).trim_end().to_owned();
    table(&left).iter().zip(&rows).map(join).collect()
}

/// `network of 2 arms: "a", "b"`, or just `network` if all arms share it.
fn title(what: &str, arms: &[&str], plan: &Plan) -> String {
    let quoted: Vec<String> = arms.iter().map(|arm| format!("{arm:?}")).collect();
    if arms.len() == plan.arms.len() {
        what.to_owned()
    } else {
        format!("{what} of {}: {}", counted(arms.len(), "arm"), quoted.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Flags;

    const TEXT: &str = "question = 'Which?'\nseeds = [0, 1]\noptimizer.learning_rate = 0.2\n\
        train = { steps = 100, batch_size = 8 }\nmodel.hidden = [4]\n\
        [[arm]]\nname = 'plain'\nnorm.kind = 'none'\nschedule.kind = 'linear'\n\
        [[arm]]\nname = 'slow'\n[[arm]]\nname = 'fast'\nnorm.decay = 0.9\n\
        [[arm]]\nname = 'renorm'\nnorm = { kind = 'renorm', renorm.schedule = 'paper' }\n";

    fn described(share: Option<Share>) -> String {
        let registry = Registry::built_in();
        let experiment = registry.parse("x", "x", TEXT, &Flags::default()).unwrap();
        describe(&experiment, &Plan::new(&experiment), &Device::Cpu, share).unwrap()
    }

    #[test]
    fn plan_lists_runs_networks_and_schedules() {
        let text = described(None);
        assert!(text.starts_with("x: 4 arms x 2 seeds = 8 runs\nWhich?\n"), "{text}");
        for expected in [
            "  plain   100 steps  norm.kind = \"none\", schedule.kind = \"linear\"\n",
            "  slow    100 steps\n",
            "  fast    100 steps  norm.decay = 0.9\n",
            "\nnetwork of 1 arm: \"plain\"\n",
            "\nnetwork of 2 arms: \"slow\", \"fast\"\n",
            "\nnetwork of 1 arm: \"renorm\"\n",
            "  310 trained parameters, 0 numbers of statistics\n",
            "\nlearning rate of 3 arms: \"slow\", \"fast\", \"renorm\"\n  0.2 throughout\n",
            "\nlearning rate of 1 arm: \"plain\"\n  0.2 │█",
            "\nupper bound of r of 1 arm: \"renorm\"\n  3 │",
        ] {
            assert!(text.contains(expected), "{expected:?} in\n{text}");
        }
        assert!(!text.contains("\ntime\n"));
    }

    #[test]
    fn equal_work_is_timed_once() {
        let text = described(Some(Share { jobs: 2, threads: 1 }));
        let time = text.split("\ntime\n").nth(1).unwrap();
        let lines: Vec<&str> = time.lines().collect();
        assert_eq!(lines.len(), 4, "{time}");
        assert!(lines[0].starts_with("  plain: ") && lines[0].contains(" ms per step"), "{time}");
        assert!(lines[1].starts_with("  slow: ") && lines[2].starts_with("  renorm: "), "{time}");
        assert!(lines[3].starts_with("  8 runs, 2 at a time with 1 thread each: about "), "{time}");
    }
}
