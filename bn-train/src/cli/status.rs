//! `bn-train status`: how each run of an experiment stands, from its files alone.

use super::list::counted;
use super::print::print_all;
use super::terminal::{Colour, Painter, duration, table};
use crate::experiment::Registry;
use anyhow::Context as _;
use bn_report::read::{Record, Run, read_experiment};
use bn_report::schema::{
    METRICS, Split, Statistics, Status, TIMING, TimingRow, partial_seed_dir, seed_dir,
};
use std::path::Path;
use std::process::ExitCode;

/// Prints a line for each run in the folder of an experiment.
pub(super) fn status(registry: &Registry, folder: &Path) -> anyhow::Result<ExitCode> {
    let experiment = read_experiment(folder)?;
    let mut runs = Vec::new();
    for (arm, run) in experiment.runs() {
        let place = folder.join(&arm.slug);
        runs.push(Standing::of(registry, &arm.name, run, &place)?);
    }
    let mut text = render(&experiment.name, &runs, Painter::of_stdout());
    for notice in &experiment.notices {
        text += &format!("note: {notice}\n");
    }
    print_all(&text)
}

/// How one run stands.
#[derive(Clone, Debug)]
struct Standing {
    label: String,
    /// None for a run that has not begun.
    status: Option<Status>,
    step: u64,
    /// Updates of the whole run; none where its settings cannot be read.
    steps: Option<u64>,
    /// Of the last evaluation, by moving statistics where there are some.
    accuracy: Option<f64>,
    /// Until the end of the run, at the pace so far.
    seconds_left: Option<f64>,
    /// Since it last wrote a row; none where nothing says it.
    silent_seconds: Option<f64>,
}

/// After this a run that is said to go on may have been killed.
const LONG_SILENCE: f64 = 60.0;

impl Standing {
    fn of(registry: &Registry, arm: &str, run: &Run, place: &Path) -> anyhow::Result<Self> {
        let label = format!("{arm}, seed {}", run.seed);
        let Some(record) = &run.record else {
            return Ok(Self {
                label,
                status: None,
                step: 0,
                steps: None,
                accuracy: None,
                seconds_left: None,
                silent_seconds: None,
            });
        };
        let settings = registry.settings(&record.config.settings.to_string()).ok();
        let steps = settings.map(|settings| settings.train.steps);
        let last = last_timing(place, run.seed)?;
        let pace = last.as_ref().and_then(|row| row.seconds.map(|seconds| (row.step, seconds)));
        let step = record.rows.last().map_or(0, |row| row.step);
        Ok(Self {
            label,
            status: Some(record.status.clone()),
            step,
            steps,
            accuracy: accuracy(record),
            silent_seconds: silent_seconds(&place.join(partial_seed_dir(run.seed)).join(METRICS)),
            seconds_left: steps.zip(pace).and_then(|(steps, (step, seconds))| {
                (step > 0).then(|| seconds * steps.saturating_sub(step) as f64 / step as f64)
            }),
        })
    }

    fn is_running(&self) -> bool {
        self.status == Some(Status::Running)
    }

    /// The word for its state, and the word's colour.
    fn state(&self) -> (&'static str, Colour) {
        match &self.status {
            None => ("to come", Colour::Grey),
            Some(Status::Running) => ("running", Colour::Cyan),
            Some(Status::Finished) => ("finished", Colour::Green),
            Some(Status::Diverged { .. }) => ("diverged", Colour::Yellow),
            Some(Status::Interrupted) => ("interrupted", Colour::Yellow),
            Some(Status::Failed { .. }) => ("failed", Colour::Red),
        }
    }

    /// What there is to say beside the numbers.
    fn remark(&self) -> String {
        match &self.status {
            Some(Status::Diverged { step, reason }) => format!("at step {step}: {reason}"),
            Some(Status::Failed { error }) => error.clone(),
            Some(Status::Running) => match (self.silent_seconds, self.seconds_left) {
                (Some(silent), _) if silent > LONG_SILENCE => {
                    format!("no row for {}; it may have been killed", duration(silent))
                }
                (_, left) => left.map_or(String::new(), |left| format!("{} left", duration(left))),
            },
            _ => String::new(),
        }
    }
}

/// Validation accuracy of the last evaluation: by moving statistics, or by none where a net has no norm layer.
fn accuracy(record: &Record) -> Option<f64> {
    let is_accuracy = |row: &&bn_report::schema::MetricRow| {
        row.metric == "accuracy"
            && row.split == Split::Validation
            && matches!(row.statistics, None | Some(Statistics::Moving))
    };
    record.rows.iter().rev().find(is_accuracy)?.value
}

/// How long ago a file was last written.
fn silent_seconds(path: &Path) -> Option<f64> {
    let written = std::fs::metadata(path).and_then(|file| file.modified()).ok()?;
    written.elapsed().ok().map(|silence| silence.as_secs_f64())
}

/// The last whole row of a run's `timing.csv`; none where there is none yet.
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
    for state in ["finished", "diverged", "running", "interrupted", "failed", "to come"] {
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
        let accuracy =
            run.accuracy.map_or(String::new(), |accuracy| format!("accuracy {accuracy:.3}"));
        vec![run.label.clone(), run.state().0.to_owned(), step, accuracy]
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

/// Until all runs have ended, when as many run at a time as now; none while none is running.
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
    let to_come = runs.iter().filter(|run| run.status.is_none()).count();
    Some((left + to_come as f64 * mean) / running.len() as f64)
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
            accuracy: (step > 0).then_some(0.5),
            seconds_left: left,
            silent_seconds: None,
        }
    }

    #[test]
    fn long_silence_is_told() {
        let running = standing("a", Some(Status::Running), 50, Some(10.0));
        let silent = |seconds| Standing { silent_seconds: Some(seconds), ..running.clone() };
        assert_eq!(silent(59.0).remark(), "10 s left");
        assert_eq!(silent(200.0).remark(), "no row for 3 min 20 s; it may have been killed");
    }

    #[test]
    fn every_state_is_counted_and_told() {
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
            "x: 4 runs: 1 finished, 1 running, 1 failed, 1 to come; about 30 s left\n\
             \x20 a, seed 0          finished  step 100/100  accuracy 0.500\n\
             \x20 a, seed 1           running   step 50/100  accuracy 0.500  10 s left\n\
             \x20 long name, seed 0    failed    step 3/100  accuracy 0.500  no disk\n\
             \x20 long name, seed 1   to come\n"
        );
        let painted = render("x", &runs, Painter::with_colours(true));
        assert!(painted.contains("\x1b[32mfinished\x1b[0m  step"), "{painted}");
    }
}
