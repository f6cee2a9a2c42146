//! How the arms compare with the baseline, in one sentence.

use super::sentence::{Indexed, Sentence, diverged};
use crate::compare::{Against, ArmRow, Comparison, Decision};
use crate::format;
use crate::schema::Direction;

/// By steps until the target is met for good; none without a target, or where no run has begun.
pub(super) fn by_steps(comparison: &Comparison) -> Option<Sentence> {
    let target = comparison.target_words()?;
    let value = |row: &ArmRow| match (row.sustained.median, row.sustained.watched_to()) {
        (Some(median), _) => Some(format::count(median)),
        (None, Some(watched)) => Some(format!("> {}", format::count(watched))),
        (None, None) => None,
    };
    let rank = |row: &ArmRow| row.sustained.median.map(|median| median as f64);
    let so_far = if comparison.states().running > 0 { "So far, steps" } else { "Steps" };
    let about = format!("{so_far} to {target} for good (median)");
    sentence(comparison, &about, Direction::Lower, &value, &rank, |row| row.steps_against.as_ref())
}

/// By the final value; none where no run has one.
pub(super) fn by_final_value(comparison: &Comparison) -> Option<Sentence> {
    let value = |row: &ArmRow| {
        let summary = &row.final_value;
        let number = format::mean_sd(summary, format::value);
        let total = row.states.total();
        // Runs that diverged are told anyway.
        let share = if summary.n + row.states.diverged == total {
            String::new()
        } else {
            format!(" in {} of {total} runs", summary.n)
        };
        (summary.n > 0).then(|| number + &share)
    };
    let heading = comparison.final_heading();
    let about = heading[..1].to_uppercase() + &heading[1..];
    let better = comparison.definition.better;
    let rank = |row: &ArmRow| row.final_value.mean;
    sentence(comparison, &about, better, &value, &rank, |row| row.final_against.as_ref())
}

/// `ABOUT: against "base" (0.90): better "a" (0.95), "b" (0.94); no detectable difference "c".`
fn sentence(
    comparison: &Comparison,
    about: &str,
    better: Direction,
    value: &dyn Fn(&ArmRow) -> Option<String>,
    rank: &dyn Fn(&ArmRow) -> Option<f64>,
    against: impl Fn(&ArmRow) -> Option<&Against>,
) -> Option<Sentence> {
    let rows: Vec<Indexed<'_>> = comparison.rows.iter().enumerate().collect();
    let baseline = *rows.get(comparison.baseline)?;
    let shown = |row: &ArmRow| match (value(row), diverged(row)) {
        (Some(value), Some(diverged)) => format!("{value}, {diverged}"),
        (Some(text), None) | (None, Some(text)) => text,
        (None, None) => "no value yet".to_owned(),
    };
    rows.iter().find(|(_, row)| value(row).is_some() || row.states.diverged > 0)?;
    if rows.len() == 1 {
        let (n, total) = (baseline.1.final_value.n.max(baseline.1.sustained.runs.len()), 1);
        let runs = format::plural(n.max(total), "run", "runs");
        let text = format!(": {} ({runs}).", shown(baseline.1));
        return Some(Sentence::default().text(format!("{about}, ")).arm(baseline).text(text));
    }
    let mut groups: Vec<(Decision, Vec<Indexed<'_>>)> = Vec::new();
    let mut others: Vec<Indexed<'_>> =
        rows.iter().copied().filter(|(index, _)| *index != comparison.baseline).collect();
    // The best first; arms without a number last, each in the experiment's order.
    let gain = |row: &ArmRow| rank(row).map_or(f64::NEG_INFINITY, |number| better.gain(number));
    others.sort_by(|(_, a), (_, b)| gain(b).total_cmp(&gain(a)));
    for arm in others {
        let Some(against) = against(arm.1) else { continue };
        match groups.iter_mut().find(|(decision, _)| *decision == against.decision) {
            Some((_, arms)) => arms.push(arm),
            None => groups.push((against.decision, vec![arm])),
        }
    }
    let order = |decision: Decision| match decision.words(Some(better)).as_str() {
        "better" => 0,
        "worse" => 1,
        _ => 2,
    };
    groups.sort_by_key(|(decision, _)| order(*decision));
    let mut sentence = Sentence::default()
        .text(format!("{about}: against "))
        .arm(baseline)
        .text(format!(" ({}), ", shown(baseline.1)));
    for (position, (decision, arms)) in groups.iter().enumerate() {
        let before = if position == 0 { "" } else { "; " };
        sentence = sentence.text(format!("{before}{}: ", decision.words(Some(better))));
        for (position, &arm) in arms.iter().enumerate() {
            if position == MOST_ARMS {
                let more = arms.len() - MOST_ARMS;
                sentence = sentence.text(format!(" and {more} more"));
                break;
            }
            let before = if position == 0 { "" } else { ", " };
            let numbers = against_numbers(against(arm.1), better);
            let text = format!(" ({}{numbers})", shown(arm.1));
            sentence = sentence.text(before).arm(arm).text(text);
        }
    }
    Some(sentence.text("."))
}

/// How many arms of a group are named.
const MOST_ARMS: usize = 3;

/// Where no test decides: in how many of the compared seeds the arm is ahead.
fn against_numbers(against: Option<&Against>, better: Direction) -> String {
    match against {
        Some(against) if matches!(against.decision, Decision::TooFewSeeds { .. }) => {
            let differences = against.pairs.differences.iter();
            let ahead =
                differences.filter(|(_, difference)| better.gain(*difference) > 0.0).count();
            // Where only the baseline diverged, the arm is ahead.
            format!(", ahead in {} of {} seeds", ahead + against.lost.1, against.n)
        }
        _ => String::new(),
    }
}
