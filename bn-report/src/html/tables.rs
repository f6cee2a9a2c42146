//! The tables of the page as strings: the comparison, the runs, and what made them.

use super::arm_class;
use crate::compare::{Against, Comparison};
use crate::format;
use crate::read::{Arm, Experiment, FoundRun, Run};
use crate::schema::{Direction, Provenance, Status};

/// One line per arm.
#[derive(Debug)]
pub(super) struct ComparisonTable {
    pub(super) final_heading: String,
    pub(super) target: Option<String>,
    pub(super) has_gaps: bool,
    pub(super) rows: Vec<ComparisonRow>,
}

/// The cells of an arm; the best of a column are marked.
#[derive(Debug)]
pub(super) struct ComparisonRow {
    pub(super) arm: String,
    pub(super) class: String,
    pub(super) runs: String,
    pub(super) steps: String,
    pub(super) fastest: bool,
    pub(super) final_value: String,
    pub(super) best: bool,
    pub(super) gap: String,
    pub(super) closed_from: String,
    pub(super) diverged: String,
}

impl ComparisonTable {
    pub(super) fn of(comparison: &Comparison) -> Self {
        let is_better = |against: &Option<Against>, better: Direction| {
            against.as_ref().is_some_and(|a| a.decision.words(Some(better)) == "better")
        };
        let rows = comparison.rows.iter().zip(comparison.cells()).enumerate().map(
            |(index, (row, cells))| ComparisonRow {
                arm: cells.arm,
                class: arm_class(index),
                runs: match row.states {
                    states if states.finished == states.total() => states.finished.to_string(),
                    states => format!("{} of {}", states.finished, states.total()),
                },
                steps: cells.steps_to_target,
                fastest: is_better(&row.steps_against, Direction::Lower),
                final_value: cells.final_value,
                best: is_better(&row.final_against, comparison.definition.better),
                gap: cells.gap,
                closed_from: cells.closed_from,
                diverged: cells.diverged,
            },
        );
        Self {
            final_heading: comparison.final_heading(),
            target: comparison.target_words(),
            has_gaps: comparison.rows.iter().any(|row| row.gap.is_some()),
            rows: rows.collect(),
        }
    }
}

/// Every run, none left out.
#[derive(Debug)]
pub(super) struct RunsTable {
    pub(super) rows: Vec<RunRow>,
}

/// One run.
#[derive(Debug)]
pub(super) struct RunRow {
    pub(super) arm: String,
    pub(super) class: String,
    pub(super) seed: String,
    pub(super) state: String,
    pub(super) last_step: String,
    pub(super) digest: String,
}

impl RunsTable {
    pub(super) fn of(experiment: &Experiment) -> Self {
        let row = |index: usize, arm: &Arm, run: &Run| RunRow {
            arm: arm.name.clone(),
            class: arm_class(index),
            seed: run.seed.to_string(),
            state: state(run),
            last_step: match run.record().and_then(|record| record.log.last_step()) {
                Some(step) => format::count(step),
                None => format::ABSENT.to_owned(),
            },
            digest: match &run.digest {
                // Enough to tell runs apart; the manifest has all of it.
                Some(digest) => {
                    digest.rsplit(':').next().unwrap_or(digest).chars().take(12).collect()
                }
                None => format::ABSENT.to_owned(),
            },
        };
        let arms = experiment.arms.iter().enumerate();
        let rows =
            arms.flat_map(|(index, arm)| arm.runs.iter().map(move |run| row(index, arm, run)));
        Self { rows: rows.collect() }
    }
}

fn state(run: &Run) -> String {
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

/// What a reader must know before trusting the numbers: runs that did not finish, and what was wrong with the files.
pub(super) fn alerts(experiment: &Experiment) -> Vec<String> {
    let unfinished = experiment.runs().filter(|(_, run)| run.status() != Some(&Status::Finished));
    let alerts =
        unfinished.map(|(arm, run)| format!("{}, seed {}: {}", arm.name, run.seed, state(run)));
    alerts.chain(experiment.damage.iter().chain(&experiment.notices).cloned()).collect()
}

/// What made the numbers: each kind of fact with its values over all runs, in order of first sight.
pub(super) fn provenance(experiment: &Experiment) -> Vec<(String, Vec<String>)> {
    type Fact = fn(&Provenance) -> &Option<String>;
    let facts: [(&str, Fact); 3] = [
        ("Trained by", |provenance| &provenance.version),
        ("Device", |provenance| &provenance.device),
        ("Digest of the data", |provenance| &provenance.data_digest),
    ];
    let values = |fact: Fact| {
        let mut values: Vec<String> = Vec::new();
        for provenance in
            experiment.records().filter_map(|record| record.config.provenance.as_ref())
        {
            values.extend(
                fact(provenance)
                    .iter()
                    .filter(|value| !values.contains(value))
                    .cloned()
                    .collect::<Vec<_>>(),
            );
        }
        values
    };
    let facts = facts.into_iter().map(|(name, fact)| (name.to_owned(), values(fact)));
    facts.filter(|(_, values)| !values.is_empty()).collect()
}
