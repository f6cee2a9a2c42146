//! What the comparison says, in sentences computed from its rows. Pure.
//!
//! The experiment file holds only the question; these are the answers, made for any experiment. The headline is the claim's verdict
//! where there is a claim, else how the arms compare with the baseline: by steps to the target where there is one, by the final value
//! otherwise.

mod baseline;
mod claim;
mod sentence;
#[cfg(test)]
mod tests;

use self::sentence::Indexed;
pub use self::sentence::{Piece, Sentence};
use crate::compare::{Comparison, Gap};
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
        let mut sentences = claim::verdict(comparison)
            .into_iter()
            .chain(baseline::by_steps(comparison))
            .chain(baseline::by_final_value(comparison))
            .chain(readings);
        let headline = sentences.next();
        let mut others: Vec<Sentence> = sentences.collect();
        let headline = headline.unwrap_or_else(|| {
            Sentence::default().text("No run has logged a value to compare yet.")
        });
        others.push(endings(comparison));
        Self { headline, others }
    }
}

/// How far apart two readings of the same weights lie.
fn readings(comparison: &Comparison) -> Option<Sentence> {
    let mut gaps: Vec<(Indexed<'_>, Gap)> =
        comparison.rows.iter().enumerate().filter_map(|arm| Some((arm, arm.1.gap?))).collect();
    // Stable: of equal gaps the first arm comes first.
    gaps.sort_by(|a, b| b.1.size().total_cmp(&a.1.size()));
    let &(arm, gap) = gaps.first()?;
    let metric = &comparison.metric;
    if gap.size() <= comparison.gap_tolerance {
        let size = format::value(gap.size());
        return Some(Sentence::default().text(format!(
            "Moving and batch statistics read the same weights alike: validation {metric} differs by at most {size}."
        )));
    }
    let mut sentence = Sentence::default()
        .text(format!("The same weights under two sets of statistics: at step {} ", format::count(gap.step)))
        .arm(arm)
        .text(format!(
            " has validation {metric} {} by moving statistics and {} by batch statistics, a gap of {}",
            format::short(gap.moving),
            format::short(gap.batch),
            format::signed(gap.signed(), format::short),
        ));
    let (open, closed): (Vec<_>, Vec<_>) =
        gaps[1..].iter().partition(|(_, other)| other.size() >= gap.size() / 2.0);
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
        let number = arms.len();
        let named = Sentence::default().arms_up_to(6, &arms);
        let has_names = named.0.iter().any(|piece| matches!(piece, Piece::Arm { .. }));
        let named = if has_names { named } else { Sentence::default().text("they") };
        let mut sentence =
            Sentence::default().text(format!("{number} arms, identical in training: "));
        sentence.0.extend(named.0);
        sentence
            .text(" log the same training values to the last bit and differ in evaluation only.")
    };
    comparison.trained_alike.iter().map(sentence).collect()
}

/// How the runs ended: every run is counted.
fn endings(comparison: &Comparison) -> Sentence {
    let states = comparison.states();
    let total = states.total();
    let without: usize = comparison.rows.iter().map(|row| row.without_value).sum();
    if states.finished == total {
        let what = format!("{} {}", comparison.final_split.name(), comparison.metric);
        let without = match without {
            0 => String::new(),
            n if n == total => format!(", none with a finite {what}"),
            n => format!(", {n} of them without a finite {what}"),
        };
        let text = if total == 1 {
            "The one run finished".to_owned()
        } else {
            format!("All {total} runs finished")
        };
        return Sentence::default().text(format!("{text}{without}."));
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
