//! What the comparison says, in sentences computed from its rows. Pure.
//!
//! The experiment file holds only the question; these are the answers, made for any experiment: which arm reaches the target
//! first, how far two readings of the same weights lie apart, who ends best, and how the runs ended.

mod race;
mod sentence;
#[cfg(test)]
mod tests;

use self::race::race;
use self::sentence::Indexed;
pub use self::sentence::{Piece, Sentence};
use crate::compare::{ArmRow, CLOSED_GAP, Comparison, Gap};
use crate::format;

/// The headline, and what else the rows say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// The one sentence to read.
    pub headline: Sentence,
    /// More sentences, most telling first.
    pub others: Vec<Sentence>,
}

impl Findings {
    /// Reads the rows.
    pub fn of(comparison: &Comparison) -> Self {
        let readings = readings(comparison).into_iter().chain(alike(comparison));
        let mut sentences = race(comparison).into_iter().chain(readings).chain(end(comparison));
        let headline = sentences.next();
        let mut others: Vec<Sentence> = sentences.collect();
        let states = endings(comparison);
        let headline = headline.unwrap_or_else(|| {
            Sentence::default().text("No run has logged a value to compare yet.")
        });
        others.push(states);
        Self { headline, others }
    }
}

/// The best arm by a value; the first of equals.
fn best_of<'a>(
    comparison: &Comparison,
    rows: &[Indexed<'a>],
    value: impl Fn(&ArmRow) -> Option<f64>,
) -> Option<Indexed<'a>> {
    let sign = if comparison.lower_is_better() { -1.0 } else { 1.0 };
    let valued = rows.iter().filter_map(|&(index, row)| Some(((index, row), sign * value(row)?)));
    valued.reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(row, _)| row)
}

/// How far apart two readings of the same weights lie.
fn readings(comparison: &Comparison) -> Option<Sentence> {
    let gaps: Vec<(Indexed<'_>, Gap)> =
        comparison.rows.iter().enumerate().filter_map(|arm| Some((arm, arm.1.gap?))).collect();
    let widest = |a, b| {
        if (b as &(_, Gap)).1.size() > (a as &(_, Gap)).1.size() { b } else { a }
    };
    let &(arm, gap) = gaps.iter().reduce(widest)?;
    let metric = &comparison.metric;
    if gap.size() <= CLOSED_GAP {
        let size = format::value(gap.size());
        return Some(Sentence::default().text(format!(
            "Moving and batch statistics read the same weights alike: validation {metric} differs by at most {size}."
        )));
    }
    let mut sentence = Sentence::default()
        .text(format!("The same weights, read twice: at step {} ", format::count(gap.step)))
        .arm(arm)
        .text(format!(
            " has validation {metric} {} by moving statistics and {} by batch statistics, a gap of {}",
            format::short(gap.moving),
            format::short(gap.batch),
            format::short(gap.size()),
        ));
    let mut others: Vec<(Indexed<'_>, Gap)> =
        gaps.into_iter().filter(|((index, _), _)| *index != arm.0).collect();
    others.sort_by(|a, b| b.1.size().total_cmp(&a.1.size()));
    let (open, closed): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|(_, other)| other.size() >= gap.size() / 2.0);
    for (position, (other, gap)) in open.iter().take(2).enumerate() {
        let before = if position == 0 { "; " } else { ", " };
        let text = format!(" differs by up to {}", format::short(gap.size()));
        sentence = sentence.text(before).arm(*other).text(text);
    }
    if let Some((least, gap)) = closed.last() {
        let text = format!(" never by more than {}", format::short(gap.size()));
        sentence = sentence.text("; ").arm(*least).text(text);
    }
    Some(sentence.text("."))
}

/// Which arms are the same net while they train.
fn alike(comparison: &Comparison) -> Vec<Sentence> {
    let sentence = |group: &Vec<usize>| {
        let arms: Vec<Indexed<'_>> =
            group.iter().map(|&index| (index, &comparison.rows[index])).collect();
        let what =
            " log the same training values to the last bit: they differ in evaluation alone.";
        Sentence::default().arms_up_to(6, &arms).text(what)
    };
    comparison.trained_alike.iter().map(sentence).collect()
}

/// Who ends best.
fn end(comparison: &Comparison) -> Option<Sentence> {
    let rows: Vec<Indexed<'_>> = comparison.rows.iter().enumerate().collect();
    let best = best_of(comparison, &rows, |row| row.final_value.mean)?;
    let mean = best.1.final_value.mean?;
    let heading = format!("{} {}", comparison.final_split.name(), comparison.metric);
    let far_end = if comparison.lower_is_better() { "highest" } else { "lowest" };
    let value = format::mean_sd(&best.1.final_value, format::value);
    let n = format::plural(best.1.final_value.n, "run", "runs");
    let sentence = Sentence::default().arm(best);
    let ended: Vec<(Indexed<'_>, f64)> = rows
        .iter()
        .filter(|row| row.0 != best.0)
        .filter_map(|&row| Some((row, row.1.final_value.mean?)))
        .collect();
    if ended.is_empty() {
        return Some(sentence.text(format!(" ends at {heading} {value} ({n}).")));
    }
    let mut sentence = sentence.text(format!(" ends best, at {heading} {value} ({n})"));
    let (near, far): (Vec<_>, Vec<_>) =
        ended.into_iter().partition(|(_, other)| (other - mean).abs() <= 0.01);
    if !near.is_empty() {
        let near: Vec<Indexed<'_>> = near.into_iter().map(|(arm, _)| arm).collect();
        sentence = sentence.text("; within 0.01 of it: ").arms(&near);
    }
    let worst =
        far.into_iter().reduce(|a, b| if (b.1 - mean).abs() > (a.1 - mean).abs() { b } else { a });
    if let Some((worst, _)) = worst {
        let value = format::mean_sd(&worst.1.final_value, format::value);
        sentence =
            sentence.text(format!("; {far_end} ends ")).arm(worst).text(format!(", at {value}"));
    }
    Some(sentence.text("."))
}

/// How the runs ended: every run is counted.
fn endings(comparison: &Comparison) -> Sentence {
    let states = comparison.states();
    let total = states.total();
    if states.finished == total {
        let text = if total == 1 {
            "The one run finished".to_owned()
        } else {
            format!("All {total} runs finished")
        };
        return Sentence::default().text(text + ".");
    }
    let named = states.named();
    let counts: Vec<String> = named
        .iter()
        .filter(|(_, number)| *number > 0)
        .map(|(word, number)| format!("{number} {word}"))
        .collect();
    let mut sentence = Sentence::default().text(format!(
        "Of {}: {}",
        format::plural(total, "run", "runs"),
        counts.join(", ")
    ));
    let diverged: Vec<Indexed<'_>> =
        comparison.rows.iter().enumerate().filter(|(_, row)| row.states.diverged > 0).collect();
    for (position, &(index, row)) in diverged.iter().take(3).enumerate() {
        let before = if position == 0 { ". Diverged: " } else { ", " };
        let share = format!(" {} of {}", row.states.diverged, row.states.total());
        sentence = sentence.text(before).arm((index, row)).text(share);
    }
    if diverged.len() > 3 {
        sentence = sentence.text(format!(" and {} more arms", diverged.len() - 3));
    }
    sentence.text(".")
}
