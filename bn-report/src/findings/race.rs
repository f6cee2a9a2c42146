//! The sentence about the target: who reaches it first, by how much, and who never does.

use super::best_of;
use super::sentence::{Indexed, Sentence};
use crate::compare::{ArmRow, Comparison};
use crate::format;

/// Who reaches the target first, and by how much.
pub(super) fn race(comparison: &Comparison) -> Option<Sentence> {
    let target = comparison.target_words()?;
    let rows: Vec<Indexed<'_>> =
        comparison.rows.iter().enumerate().filter(|(_, row)| !row.reached.is_empty()).collect();
    let mean = |row: &ArmRow| row.steps_to_target.mean.unwrap_or(f64::INFINITY);
    let all_reach = |row: &ArmRow| row.steps_to_target.n == row.reached.len();
    let (mut whole, others): (Vec<Indexed<'_>>, Vec<Indexed<'_>>) =
        rows.iter().partition(|(_, row)| all_reach(row));
    // Stable: arms that tie stay in the experiment's order.
    whole.sort_by(|(_, a), (_, b)| mean(a).total_cmp(&mean(b)));
    let (partly, never): (Vec<Indexed<'_>>, Vec<Indexed<'_>>) =
        others.iter().partition(|(_, row)| row.steps_to_target.n > 0);
    let Some(&first) = whole.first() else {
        return nobody_whole(comparison, &rows, &partly, &target);
    };
    let steps = mean(first.1);
    let tied: Vec<Indexed<'_>> =
        whole.iter().copied().filter(|(_, row)| mean(row) == steps).collect();
    let verb = if tied.len() == 1 { "reaches" } else { "reach" };
    let order = if rows.len() == tied.len() { "" } else { " first," };
    let runs = first.1.steps_to_target.n;
    let so_far = if comparison.states().running > 0 { "So far, " } else { "" };
    let mut sentence = Sentence::default().text(so_far).arms(&tied).text(format!(
        " {verb} {target}{order} after {} steps{}",
        format::steps(steps),
        if runs > 1 { format!(" (mean of {runs} runs)") } else { String::new() },
    ));
    if let Some(&slowest) = whole.last().filter(|(_, row)| mean(row) > steps) {
        let ratio = mean(slowest.1) / steps;
        let times = if steps > 0.0 && ratio >= 1.05 {
            format!(", {} times sooner than ", format::ratio(ratio))
        } else {
            ", closely before ".to_owned()
        };
        sentence = sentence
            .text(times)
            .arm(slowest)
            .text(format!(" ({})", format::steps(mean(slowest.1))));
    }
    for (position, &arm) in partly.iter().enumerate() {
        let before = if position == 0 { "; " } else { ", " };
        let verb = if position == 0 { " reaches it in" } else { " in" };
        let share = format!("{verb} {} of {} runs", arm.1.steps_to_target.n, arm.1.reached.len());
        sentence = sentence.text(before).arm(arm).text(share);
    }
    let (pending, never): (Vec<Indexed<'_>>, Vec<Indexed<'_>>) =
        never.iter().partition(|(_, row)| row.states.running > 0);
    for (arms, verb) in
        [(never, [" never does", " never do"]), (pending, [" does not yet", " do not yet"])]
    {
        if !arms.is_empty() {
            sentence = sentence.text("; ").arms(&arms).text(verb[usize::from(arms.len() > 1)]);
        }
    }
    Some(sentence.text("."))
}

/// No arm reaches the target in every run.
fn nobody_whole(
    comparison: &Comparison,
    rows: &[Indexed<'_>],
    partly: &[Indexed<'_>],
    target: &str,
) -> Option<Sentence> {
    if let Some(&most) =
        partly.iter().max_by_key(|(index, row)| (row.steps_to_target.n, usize::MAX - index))
    {
        let (n, of) = (most.1.steps_to_target.n, most.1.reached.len());
        let sentence = Sentence::default().text(format!("No arm reaches {target} in every run; "));
        return Some(sentence.arm(most).text(format!(" does most often, in {n} of {of}.")));
    }
    let best = best_of(comparison, rows, |row| row.best)?;
    let within = comparison
        .last_step
        .map_or(String::new(), |step| format!(" within {} steps", format::count(step)));
    let sentence =
        Sentence::default().text(format!("No arm reaches {target}{within}; closest comes "));
    Some(sentence.arm(best).text(format!(" with {}.", format::value(best.1.best?))))
}
