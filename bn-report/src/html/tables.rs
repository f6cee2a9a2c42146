//! The tables of the page as strings: the comparison, its tests, alerts, and what made the numbers.

use super::inline::Verbatim;
use super::runs::state;
use crate::chart;
use crate::compare::table::{bracket_words, lost_words, test_cells};
use crate::compare::{Against, ArmRow, Comparison, Decision, States};
use crate::format;
use crate::read::Experiment;
use crate::schema::{Direction, Provenance, Status};
use crate::text::printable;

/// One line per arm.
#[derive(Debug)]
pub(super) struct ComparisonTable {
    pub(super) final_heading: String,
    pub(super) target: Option<String>,
    pub(super) baseline: Option<String>,
    pub(super) has_gaps: bool,
    pub(super) rows: Vec<ComparisonRow>,
}

/// The cells of an arm.
#[derive(Debug)]
pub(super) struct ComparisonRow {
    pub(super) place: usize,
    pub(super) arm: String,
    pub(super) key: Verbatim,
    pub(super) runs: String,
    pub(super) unfinished: String,
    pub(super) final_value: String,
    pub(super) final_number: String,
    pub(super) interval: String,
    pub(super) final_verdict: Verdict,
    pub(super) steps: String,
    pub(super) steps_number: String,
    pub(super) steps_bracket: String,
    pub(super) steps_verdict: Verdict,
    pub(super) gap: String,
    pub(super) closed_from: String,
}

/// What a comparison with the baseline decides.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) words: String,
    pub(super) detail: String,
    /// The probability of improvement where no test decides, and seeds that diverged in one of both arms only.
    pub(super) more: String,
    pub(super) class: &'static str,
}

impl Verdict {
    fn of(against: Option<&Against>, better: Direction, number: fn(f64) -> String) -> Self {
        let Some(against) = against else {
            let [detail, more] = [const { String::new() }; 2];
            return Self { words: "baseline".to_owned(), detail, more, class: "" };
        };
        let words = match against.decision {
            // The page says elsewhere how many it takes.
            Decision::TooFewSeeds { .. } => "too few seeds to test".to_owned(),
            decision => decision.words(Some(better)),
        };
        let class = match words.as_str() {
            "better" => "good",
            "worse" => "bad",
            _ => "",
        };
        let mean = against.pairs.mean.map(|mean| format::signed(mean, number));
        let interval =
            against.pairs.interval.map(|_| format::interval(against.pairs.interval, number));
        // Where a test cannot decide, this is what is left to say.
        let is_undecided = matches!(against.decision, Decision::TooFewSeeds { .. });
        let chance = against.improvement.filter(|_| is_undecided);
        let chance = chance.map(|chance| format!("better in {:.0} % of pairs", 100.0 * chance));
        let detail: Vec<String> = mean.into_iter().chain(interval).collect();
        let more: Vec<String> = chance.into_iter().chain(lost_words(against)).collect();
        Self { words, detail: detail.join(" "), more: more.join("; "), class }
    }
}

impl ComparisonTable {
    pub(super) fn of(comparison: &Comparison) -> Self {
        let rows = comparison.rows.iter().zip(comparison.cells()).enumerate();
        let row = |(place, (row, cells)): (usize, (&ArmRow, crate::compare::table::Cells))| {
            ComparisonRow {
                place,
                arm: printable(&cells.arm),
                key: Verbatim(chart::key(place)),
                runs: match row.states {
                    states if states.finished == states.total() => states.finished.to_string(),
                    states => format!("{} of {}", states.finished, states.total()),
                },
                unfinished: unfinished(row.states),
                final_value: cells.final_value,
                final_number: sortable(row.final_value.mean),
                interval: cells.interval,
                final_verdict: Verdict::of(
                    row.final_against.as_ref(),
                    comparison.definition.better,
                    format::value,
                ),
                steps: cells.steps_to_target,
                steps_number: sortable(row.sustained.median.map(|median| median as f64)),
                steps_bracket: within(row.sustained.median, row.sustained.median_after),
                steps_verdict: Verdict::of(
                    row.steps_against.as_ref(),
                    Direction::Lower,
                    format::steps,
                ),
                gap: cells.gap,
                closed_from: row.gap.map_or(String::new(), |_| cells.closed_from),
            }
        };
        Self {
            final_heading: printable(&comparison.final_heading()),
            target: comparison.target_words().as_deref().map(printable),
            baseline: comparison.baseline_name().map(printable),
            has_gaps: comparison.rows.iter().any(|row| row.gap.is_some()),
            rows: rows.map(row).collect(),
        }
    }
}

/// The runs of an arm that did not finish, by state: `4 diverged, 1 missing`.
fn unfinished(states: States) -> String {
    let others =
        states.named().into_iter().filter(|(state, count)| *state != "finished" && *count > 0);
    others.map(|(state, count)| format!("{count} {state}")).collect::<Vec<_>>().join(", ")
}

/// `within 400 to 500`; empty where that is not known.
pub(super) fn within(step: Option<u64>, after: Option<u64>) -> String {
    bracket_words(step, after).map_or(String::new(), |steps| format!("within {steps}"))
}

/// A number for a script to sort by; empty where there is none.
pub(super) fn sortable(number: Option<f64>) -> String {
    number.map_or(String::new(), |number| number.to_string())
}

/// Every comparison with the baseline, in full.
#[derive(Debug)]
pub(super) struct TestsTable {
    pub(super) rows: Vec<TestRow>,
}

/// One comparison.
#[derive(Debug)]
pub(super) struct TestRow {
    pub(super) arm: String,
    pub(super) key: Verbatim,
    pub(super) measure: String,
    /// Pairs, mean difference, interval, probability of improvement, p, p after Holm's correction, verdict.
    pub(super) cells: [String; 7],
}

impl TestsTable {
    pub(super) fn of(comparison: &Comparison) -> Self {
        let mut rows = Vec::new();
        let target = comparison.target_words();
        let steps = target.map(|target| format!("steps to {target}"));
        let finals = Some((comparison.final_heading(), comparison.definition.better, false));
        for (measure, better, is_steps) in
            finals.into_iter().chain(steps.map(|steps| (steps, Direction::Lower, true)))
        {
            for (place, row) in comparison.rows.iter().enumerate() {
                let against = if is_steps { &row.steps_against } else { &row.final_against };
                let number = if is_steps { format::steps } else { format::value };
                rows.extend(against.as_ref().map(|against| TestRow {
                    arm: printable(&row.name),
                    key: Verbatim(chart::key(place)),
                    measure: printable(&measure),
                    cells: test_cells(against, better, number),
                }));
            }
        }
        Self { rows }
    }
}

/// Every pair of arms.
#[derive(Debug)]
pub(super) struct PairsTable {
    /// Arm, the arm it is compared with, measure, cells.
    pub(super) rows: Vec<(String, String, String, [String; 7])>,
}

impl PairsTable {
    pub(super) fn of(experiment: &Experiment, comparison: &Comparison) -> Self {
        let pairs = comparison.all_pairs(experiment);
        // Of single runs nothing is compared.
        let is_tested = pairs.iter().any(|pair| pair.against.n > 1);
        let name = |place: usize| printable(&comparison.rows[place].name);
        let rows = pairs.iter().filter(|_| is_tested).map(|pair| {
            let cells = test_cells(&pair.against, pair.better, pair.number());
            let measure = printable(&pair.measure);
            (name(pair.arm), name(pair.other), measure, cells)
        });
        Self { rows: rows.collect() }
    }
}

/// What a reader must know before trusting the numbers: runs that did not finish, those of an arm together where they ended the
/// same way, and what was wrong with the files.
pub(super) fn alerts(experiment: &Experiment) -> Vec<String> {
    let mut alerts = Vec::new();
    for arm in &experiment.arms {
        let mut seeds_by_state: Vec<(String, Vec<String>)> = Vec::new();
        for run in arm.runs.iter().filter(|run| run.status() != Some(&Status::Finished)) {
            let (state, seed) = (state(run), run.seed.to_string());
            match seeds_by_state.iter_mut().find(|(other, _)| *other == state) {
                Some((_, seeds)) => seeds.push(seed),
                None => seeds_by_state.push((state, vec![seed])),
            }
        }
        for (state, seeds) in seeds_by_state {
            let word = if seeds.len() == 1 { "seed" } else { "seeds" };
            alerts.push(format!("{}, {word} {}: {state}", arm.name, seeds.join(", ")));
        }
    }
    let others = experiment.damage.iter().chain(&experiment.notices).cloned();
    alerts.into_iter().chain(others).map(|alert| printable(&alert)).collect()
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
        let records = experiment.records();
        for provenance in records.filter_map(|record| record.config.provenance.as_ref()) {
            let value = fact(provenance).as_deref().map(printable);
            values.extend(value.filter(|value| !values.contains(value)));
        }
        values
    };
    let facts = facts.into_iter().map(|(name, fact)| (name.to_owned(), values(fact)));
    facts.filter(|(_, values)| !values.is_empty()).collect()
}
