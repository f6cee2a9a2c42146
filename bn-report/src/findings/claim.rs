//! The sentence about the claim: verdict and measurement.

use super::sentence::{Sentence, diverged};
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
    let [ours, theirs] = [arm, baseline].map(|index| (index, &comparison.rows[index]));
    let says = |row: &ArmRow, summary: &Summary, is_first: bool| match card.claim.measure {
        Measure::StepsToTarget | Measure::FirstTouch => steps(comparison, card, row, is_first),
        Measure::DivergedShare => diverged(row).unwrap_or_else(|| "never diverged".to_owned()),
        _ => number(card, row, summary, is_first),
    };
    let first = format!(" {}, ", says(ours.1, &card.arm_value, true));
    let second = format!(" {}", says(theirs.1, &card.baseline_value, false));
    Some(sentence.arm(ours).text(first).arm(theirs).text(second).text(difference(card)))
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

/// What an arm's number is, in words, and how many of its runs have none because they diverged; the first arm's with the measure.
fn number(card: &Scorecard, row: &ArmRow, summary: &Summary, is_first: bool) -> String {
    let value = format::mean_sd(summary, format::value);
    let measure = if is_first { format!("has {} ", card.measure) } else { String::new() };
    match diverged(row) {
        Some(diverged) if summary.n == 0 && is_first => {
            format!("{diverged} and has no {}", card.measure)
        }
        Some(diverged) if summary.n == 0 => diverged,
        Some(diverged) => format!("{measure}{value} ({diverged})"),
        None => measure + &value,
    }
}

/// `; difference −975 [−990, −960] over 8 seeds, p = 0.008.`
fn difference(card: &Scorecard) -> String {
    let Some(against) = &card.against else {
        return format!("; {}.", card.reason);
    };
    let is_time = matches!(card.claim.measure, Measure::StepsToTarget | Measure::FirstTouch);
    let number = if is_time { format::steps } else { format::value };
    let seeds = format::plural(against.n, "seed", "seeds");
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
