//! `bn-train status`: the state of each run of an experiment, read from its files.

use super::list::counted;
use super::print::print_all;
use super::terminal::{Colour, Painter, duration, table};
use crate::experiment::Registry;
use crate::run::{is_held, lock_of};
use anyhow::Context as _;
use bn_report::read::{Key, Record, Run, read_experiment};
use bn_report::schema::{Split, Statistics, Status, TIMING, TimingRow, partial_seed_dir, seed_dir};
use std::path::Path;
use std::process::ExitCode;

/// Prints a line for each run in an experiment's folder.
pub(super) fn status(registry: &Registry, folder: &Path) -> anyhow::Result<ExitCode> {
    let experiment = read_experiment(folder)?;
    let mut runs = Vec::new();
    for (arm, run) in experiment.runs() {
        let place = folder.join(&arm.slug);
        runs.push(Standing::of(registry, &arm.name, run, &place)?);
    }
    let mut text = render(&experiment.name, &runs, Painter::of_stdout());
    for notice in experiment.damage.iter().chain(&experiment.notices) {
        text += &format!("note: {notice}\n");
    }
    print_all(&text)
}

/// The state of one run.
#[derive(Clone, Debug)]
struct Standing {
    label: String,
    /// `None` if the run has not begun.
    status: Option<Status>,
    step: u64,
    /// Total steps; `None` if the settings cannot be read.
    steps: Option<u64>,
    /// Metric and value of the last evaluation, under moving statistics if the network has any.
    headline: Option<(String, f64)>,
    /// Estimated from the pace so far.
    seconds_left: Option<f64>,
    /// Whether a process holds the run's lock.
    is_owned: bool,
}

impl Standing {
    fn of(registry: &Registry, arm: &str, run: &Run, place: &Path) -> anyhow::Result<Self> {
        let label = format!("{arm}, seed {}", run.seed);
        let Some(record) = run.record() else {
            return Ok(Self {
                label,
                status: None,
                step: 0,
                steps: None,
                headline: None,
                seconds_left: None,
                is_owned: false,
            });
        };
        let settings = registry.settings(&record.config.settings.to_string()).ok();
        let steps = settings.map(|settings| settings.train.steps);
        let last = last_timing(place, run.seed)?;
        let pace = last.as_ref().and_then(|row| row.seconds.map(|seconds| (row.step, seconds)));
        let step = record.log.last_step().unwrap_or(0);
        Ok(Self {
            label,
            status: Some(record.status.clone()),
            step,
            steps,
            headline: headline(record),
            is_owned: is_held(&lock_of(&place.join(seed_dir(run.seed)))),
            seconds_left: steps.zip(pace).and_then(|(steps, (step, seconds))| {
                (step > 0).then(|| seconds * steps.saturating_sub(step) as f64 / step as f64)
            }),
        })
    }

    fn is_running(&self) -> bool {
        self.status == Some(Status::Running) && self.is_owned
    }

    /// The name of the state and its colour.
    fn state(&self) -> (&'static str, Colour) {
        match &self.status {
            None => ("pending", Colour::Grey),
            Some(Status::Running) if self.is_owned => ("running", Colour::Cyan),
            Some(Status::Running) => ("killed", Colour::Red),
            Some(Status::Finished) => ("finished", Colour::Green),
            Some(Status::Diverged { .. }) => ("diverged", Colour::Yellow),
            Some(Status::Interrupted) => ("interrupted", Colour::Yellow),
            Some(Status::Failed { .. }) => ("failed", Colour::Red),
        }
    }

    /// A note printed after the numbers.
    fn remark(&self) -> String {
        match &self.status {
            Some(Status::Diverged { step, reason }) => format!("at step {step}: {reason}"),
            Some(Status::Failed { error }) => error.clone(),
            Some(Status::Running) if !self.is_owned => {
                "no process is training it; `bn-train run` resumes from its last checkpoint"
                    .to_owned()
            }
            Some(Status::Running) => {
                self.seconds_left.map_or(String::new(), |left| format!("{} left", duration(left)))
            }
            _ => String::new(),
        }
    }
}

/// Metrics shown in the overview.
const HEADLINES: [&str; 2] = ["accuracy", "distance"];

/// The latest validation metric: under moving statistics, or under none if the network has no norm layers.
fn headline(record: &Record) -> Option<(String, f64)> {
    let metrics = HEADLINES.iter().filter_map(|metric| {
        let key = Key::new(Split::Validation, Some(Statistics::Moving), metric);
        let (step, value) = record.log.get_or_plain(&key)?.last()?;
        Some((step, metric, value))
    });
    let (_, metric, value) = metrics.max_by_key(|(step, ..)| *step)?;
    Some(((*metric).to_owned(), value?))
}

/// The last complete row of a run's `timing.csv`, if any.
fn last_timing(arm: &Path, seed: u64) -> anyhow::Result<Option<TimingRow>> {
    let folders = [arm.join(seed_dir(seed)), arm.join(partial_seed_dir(seed))];
    let Some(path) = folders.iter().map(|folder| folder.join(TIMING)).find(|path| path.is_file())
    else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let whole_lines = text.rfind('\n').map_or("", |end| &text[..=end]);
    let mut reader = csv::Reader::from_reader(whole_lines.as_bytes());
    let last = reader.deserialize().last().transpose();
    last.with_context(|| path.display().to_string())
}

fn render(name: &str, runs: &[Standing], painter: Painter) -> String {
    let mut counts: Vec<String> = Vec::new();
    for state in ["finished", "diverged", "running", "killed", "interrupted", "failed", "pending"] {
        let count = runs.iter().filter(|run| run.state().0 == state).count();
        if count > 0 {
            counts.push(format!("{count} {state}"));
        }
    }
    let left =
        seconds_left(runs).map_or(String::new(), |left| format!("; about {} left", duration(left)));
    let mut text = format!("{name}: {}: {}{left}\n", counted(runs.len(), "run"), counts.join(", "));
    let cells = |run: &Standing| {
        let steps = run.steps.map_or(String::new(), |steps| format!("/{steps}"));
        let step =
            if run.status.is_some() { format!("step {}{steps}", run.step) } else { String::new() };
        let headline = run
            .headline
            .as_ref()
            .map_or(String::new(), |(metric, value)| format!("{metric} {value:.3}"));
        vec![run.label.clone(), run.state().0.to_owned(), step, headline]
    };
    let rows: Vec<Vec<String>> = runs.iter().map(cells).collect();
    for (run, line) in runs.iter().zip(table(&rows)) {
        let (word, colour) = run.state();
        // The word is painted after the columns are aligned: a terminal's codes have no width.
        let at = run.label.len() + line[run.label.len()..].find(word).unwrap_or(0);
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        let remark = run.remark();
        let remark = if remark.is_empty() { remark } else { format!("  {remark}") };
        text += &format!("  {before}{}{after}{remark}\n", painter.paint(word, colour));
    }
    text
}

/// Estimated seconds until all runs complete at the current concurrency. `None` if no run is active.
fn seconds_left(runs: &[Standing]) -> Option<f64> {
    let running: Vec<&Standing> = runs.iter().filter(|run| run.is_running()).collect();
    let pace = |run: &&Standing| Some((run.steps?, run.step, run.seconds_left?));
    let paces: Vec<(u64, u64, f64)> = running.iter().filter_map(pace).collect();
    if paces.is_empty() {
        return None;
    }
    let left: f64 = paces.iter().map(|(.., left)| left).sum();
    let of_whole_run = |&(steps, step, left): &(u64, u64, f64)| {
        left * steps as f64 / steps.saturating_sub(step).max(1) as f64
    };
    let mean = paces.iter().map(of_whole_run).sum::<f64>() / paces.len() as f64;
    let pending = runs.iter().filter(|run| run.status.is_none()).count();
    Some((left + pending as f64 * mean) / running.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(label: &str, status: Option<Status>, step: u64, left: Option<f64>) -> Standing {
        Standing {
            label: label.to_owned(),
            status,
            step,
            steps: Some(100),
            headline: (step > 0).then_some(("accuracy".to_owned(), 0.5)),
            seconds_left: left,
            is_owned: true,
        }
    }

    #[test]
    fn running_status_without_a_process_reads_killed() {
        let running = standing("a", Some(Status::Running), 50, Some(10.0));
        assert_eq!((running.state().0, running.remark().as_str()), ("running", "10 s left"));
        let killed = Standing { is_owned: false, ..running };
        assert_eq!(killed.state().0, "killed");
        assert!(killed.remark().contains("resumes from its last checkpoint"));
    }

    #[test]
    fn every_state_is_counted_and_listed() {
        let runs = [
            standing("a, seed 0", Some(Status::Finished), 100, Some(0.0)),
            standing("a, seed 1", Some(Status::Running), 50, Some(10.0)),
            standing(
                "long name, seed 0",
                Some(Status::Failed { error: "no disk".into() }),
                3,
                None,
            ),
            standing("long name, seed 1", None, 0, None),
        ];
        let text = render("x", &runs, Painter::with_colours(false));
        assert_eq!(
            text,
            "x: 4 runs: 1 finished, 1 running, 1 failed, 1 pending; about 30 s left\n\
             \x20 a, seed 0          finished  step 100/100  accuracy 0.500\n\
             \x20 a, seed 1           running   step 50/100  accuracy 0.500  10 s left\n\
             \x20 long name, seed 0    failed    step 3/100  accuracy 0.500  no disk\n\
             \x20 long name, seed 1   pending\n"
        );
        let painted = render("x", &runs, Painter::with_colours(true));
        assert!(painted.contains("\x1b[32mfinished\x1b[0m  step"), "{painted}");
    }
}
