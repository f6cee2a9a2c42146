//! The table of all runs as strings.

use std::collections::BTreeSet;

use super::inline::Verbatim;
use super::settings::run_settings;
use super::tables::{sortable, within};
use crate::chart;
use crate::compare::{ArmRow, Comparison};
use crate::format;
use crate::read::{Arm, Experiment, FoundRun, Run};
use crate::schema::Status;
use crate::stats::censored::Time;
use crate::text::printable;

/// Every run, none left out.
#[derive(Debug)]
pub(super) struct RunsTable {
    pub(super) final_heading: String,
    pub(super) has_target: bool,
    pub(super) has_time: bool,
    /// Settings of which runs have different values.
    pub(super) keys: Vec<String>,
    pub(super) rows: Vec<RunRow>,
}

/// One run.
#[derive(Debug)]
pub(super) struct RunRow {
    pub(super) place: usize,
    pub(super) arm: String,
    pub(super) key: Verbatim,
    pub(super) seed: String,
    pub(super) final_value: String,
    pub(super) final_number: String,
    pub(super) steps: String,
    pub(super) steps_number: String,
    pub(super) steps_bracket: String,
    pub(super) state: String,
    pub(super) last_step: String,
    pub(super) seconds: String,
    pub(super) settings: Vec<String>,
    pub(super) digest: String,
}

/// Columns of settings in the table of runs, at most: the others are in the table of settings.
const SETTINGS_COLUMNS: usize = 6;

impl RunsTable {
    pub(super) fn of(experiment: &Experiment, comparison: &Comparison) -> Self {
        let keys = differing(experiment);
        let row = |place: usize, arm: &Arm, run: &Run| {
            let of_arm = &comparison.rows[place];
            let value = of_arm.finals.iter().find(|(seed, _)| *seed == run.seed);
            let value = value.and_then(|(_, outcome)| outcome.value());
            let settings = run_settings(run);
            RunRow {
                place,
                arm: printable(&arm.name),
                key: Verbatim(chart::key(place)),
                seed: run.seed.to_string(),
                final_value: value.map_or(format::ABSENT.to_owned(), format::value),
                final_number: sortable(value),
                steps: steps(of_arm, run.seed),
                steps_number: sortable(reached_at(of_arm, run.seed).map(|step| step as f64)),
                steps_bracket: bracket(of_arm, run.seed),
                state: printable(&state(run)),
                last_step: or_absent(
                    run.record().and_then(|record| record.log.last_step()).map(format::count),
                ),
                seconds: or_absent(seconds(run).map(|seconds| format!("{seconds:.1}"))),
                settings: keys
                    .iter()
                    .map(|key| or_absent(settings.get(key).map(|value| printable(value))))
                    .collect(),
                digest: or_absent(run.digest.as_deref().map(short_digest)),
            }
        };
        let mut rows = Vec::new();
        for (place, arm) in experiment.arms.iter().enumerate() {
            rows.extend(arm.runs.iter().map(|run| row(place, arm, run)));
        }
        Self {
            final_heading: printable(&comparison.final_heading()),
            has_target: comparison.target.is_some(),
            has_time: experiment.runs().any(|(_, run)| seconds(run).is_some()),
            keys: keys.iter().map(|key| printable(key)).collect(),
            rows,
        }
    }
}

fn or_absent(text: Option<String>) -> String {
    text.unwrap_or(format::ABSENT.to_owned())
}

/// Enough to tell runs apart; the manifest has all of it.
fn short_digest(digest: &str) -> String {
    let digest = digest.rsplit(':').next().unwrap_or(digest);
    printable(&digest.chars().take(12).collect::<String>())
}

/// When a run met the target for good.
fn steps(row: &ArmRow, seed: u64) -> String {
    match row.sustained.of_seed(seed) {
        Some((Time::At(step), _)) => format::count(step),
        Some((Time::After(step), _)) => format!("> {}", format::count(step)),
        None => format::ABSENT.to_owned(),
    }
}

fn reached_at(row: &ArmRow, seed: u64) -> Option<u64> {
    match row.sustained.of_seed(seed)? {
        (Time::At(step), _) => Some(step),
        (Time::After(_), _) => None,
    }
}

/// Between which two measurements that was.
fn bracket(row: &ArmRow, seed: u64) -> String {
    let after = row.sustained.of_seed(seed).and_then(|(_, after)| after);
    within(reached_at(row, seed), after)
}

/// How long a run took, as far as its clock was written down.
fn seconds(run: &Run) -> Option<f64> {
    run.record()?.timing.last()?.seconds
}

/// The settings of which arms have different values, the first few.
fn differing(experiment: &Experiment) -> Vec<String> {
    let all: Vec<_> = experiment
        .runs()
        .filter(|(_, run)| run.record().is_some())
        .map(|(_, run)| run_settings(run))
        .collect();
    let keys: BTreeSet<&String> = all.iter().flat_map(|settings| settings.keys()).collect();
    // Keys of several values before those that only some runs have.
    let (mut several, mut some) = (Vec::new(), Vec::new());
    for key in keys {
        let values: BTreeSet<&String> =
            all.iter().filter_map(|settings| settings.get(key)).collect();
        if values.len() > 1 {
            several.push(key.clone());
        } else if all.iter().any(|settings| !settings.contains_key(key)) {
            some.push(key.clone());
        }
    }
    several.into_iter().chain(some).take(SETTINGS_COLUMNS).collect()
}

/// How a run stands, in words.
pub(super) fn state(run: &Run) -> String {
    match run.status() {
        None => match &run.found {
            FoundRun::Damaged(message) => format!("damaged: {message}"),
            _ => "missing".to_owned(),
        },
        Some(Status::Finished) => "finished".to_owned(),
        Some(Status::Running) => "running".to_owned(),
        Some(Status::Interrupted) => "interrupted".to_owned(),
        Some(Status::Diverged { step, reason }) => {
            format!("diverged at step {}: {reason}", format::count(*step))
        }
        Some(Status::Failed { error }) => format!("failed: {error}"),
    }
}
