//! The sentence about the claim: verdict and measurement.

use super::sentence::{Indexed, Sentence, diverged};
use crate::compare::{ArmRow, ClaimVerdict, Comparison, Scorecard};
use crate::format;
use crate::schema::Measure;
use crate::stats::Summary;

/// What the measurement says of the claim; none without a claim.
pub(super) fn verdict(comparison: &Comparison) -> Option<Sentence> {
    let card = comparison.claim.as_ref()?;
    let verdict = card.verdict.name();
    let word = verdict[..1].to_uppercase() + &verdict[1..];
    let sentence = Sentence::default().text(format!("{word}: "));
    let (Some(arm), Some(baseline)) = (card.arm, card.baseline) else {
        return Some(sentence.text(format!("{}.", card.reason)));
    };
    let both = [arm, baseline].map(|index| (index, &comparison.rows[index]));
    let says = |row: &ArmRow, is_first: bool| match card.claim.measure {
        Measure::StepsToTarget | Measure::FirstTouch => {
            Some(steps(comparison, card, row, is_first))
        }
        Measure::DivergedShare => {
            Some(diverged(row).unwrap_or_else(|| "never diverged".to_owned()))
        }
        _ => None,
    };
    let [ours, theirs] = both;
    let sentence = match (says(ours.1, true), says(theirs.1, false)) {
        (Some(first), Some(second)) => {
            sentence.arm(ours).text(format!(" {first}, ")).arm(theirs).text(format!(" {second}"))
        }
        _ => numbers(sentence, card, both),
    };
    Some(sentence.text(difference(card)))
}

/// `final test accuracy, by moving statistics, is 0.95 for "a" and 0.90 for "b"`, or that an arm without a number diverged.
fn numbers(sentence: Sentence, card: &Scorecard, [ours, theirs]: [Indexed<'_>; 2]) -> Sentence {
    let value =
        |summary: &Summary| (summary.n > 0).then(|| format::mean_sd(summary, format::value));
    let lost = |row: &ArmRow| diverged(row).map_or(String::new(), |lost| format!(" ({lost})"));
    let none = |row: &ArmRow| diverged(row).unwrap_or_else(|| "has no value".to_owned());
    let comma = if card.measure.contains(',') { "," } else { "" };
    let is = format!("{}{comma} is", card.measure);
    match (value(&card.arm_value), value(&card.baseline_value)) {
        (Some(a), Some(b)) => sentence
            .text(format!("{is} {a} for "))
            .arm(ours)
            .text(format!("{} and {b} for ", lost(ours.1)))
            .arm(theirs)
            .text(lost(theirs.1)),
        (Some(a), None) => sentence
            .text(format!("{is} {a} for "))
            .arm(ours)
            .text(format!("{}, and ", lost(ours.1)))
            .arm(theirs)
            .text(format!(" {}", none(theirs.1))),
        (None, Some(b)) => sentence
            .arm(ours)
            .text(format!(" {}, and {is} {b} for ", none(ours.1)))
            .arm(theirs)
            .text(lost(theirs.1)),
        (None, None) => sentence
            .arm(ours)
            .text(format!(" {}, and ", none(ours.1)))
            .arm(theirs)
            .text(format!(" {}", none(theirs.1))),
    }
}

/// What an arm's steps to the target are, in words; the first arm's with the target.
fn steps(comparison: &Comparison, card: &Scorecard, row: &ArmRow, is_first: bool) -> String {
    let (times, how) = match card.claim.measure {
        Measure::FirstTouch => (&row.first_touch, "for the first time"),
        _ => (&row.sustained, "for good"),
    };
    let steps = match (times.median, times.watched_to()) {
        (Some(median), _) => format!("takes {} steps", format::count(median)),
        (None, Some(watched)) => format!("takes more than {} steps", format::count(watched)),
        (None, None) => "has not begun".to_owned(),
    };
    let target = comparison.target_words().unwrap_or_else(|| "the target".to_owned());
    let about = if is_first { format!(" (median) to {target} {how}") } else { String::new() };
    let lost = diverged(row).map_or(String::new(), |lost| format!(" ({lost})"));
    steps + &about + &lost
}

/// `; difference −975 [−990, −960] over 8 seeds, p = 0.008.`
fn difference(card: &Scorecard) -> String {
    let Some(against) = &card.against else {
        return format!("; {}.", card.reason);
    };
    let is_time = matches!(card.claim.measure, Measure::StepsToTarget | Measure::FirstTouch);
    let number = if is_time { format::steps } else { format::value };
    let seeds = match (against.pairs.n(), against.n) {
        (pairs, n) if 0 < pairs && pairs < n => {
            format!("{pairs} of {}", format::plural(n, "seed", "seeds"))
        }
        (_, n) => format::plural(n, "seed", "seeds"),
    };
    let mut text = match (against.pairs.mean, against.pairs.interval) {
        (Some(mean), Some(_)) => {
            let interval = format::interval(against.pairs.interval, number);
            format!("; difference {} {interval} over {seeds}", format::signed(mean, number))
        }
        (Some(mean), None) => {
            format!("; difference {} over {seeds}", format::signed(mean, number))
        }
        (None, _) if against.n > 0 => {
            format!("; over {seeds}, a diverged run counting as worse than any other")
        }
        (None, _) => return format!("; {}.", card.reason),
    };
    if let Some(p) = against.p_value.filter(|_| against.n > 1) {
        let p = format::p_value(p);
        text += &if p.starts_with('<') { format!(", p {p}") } else { format!(", p = {p}") };
    }
    if card.verdict == ClaimVerdict::Undecided {
        text += &format!(" ({})", card.reason);
    }
    text + "."
}
