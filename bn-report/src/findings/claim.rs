//! The sentence about the claim: verdict and measurement.

use super::sentence::Sentence;
use crate::compare::{Comparison, Scorecard};
use crate::format;
use crate::schema::Measure;
use crate::stats::Summary;

/// What the measurement says of the claim; none without a claim.
pub(super) fn verdict(comparison: &Comparison) -> Option<Sentence> {
    let card = comparison.claim.as_ref()?;
    let verdict = card.verdict.name();
    let word = verdict[..1].to_uppercase() + &verdict[1..];
    let mut sentence = Sentence::default().text(format!("{word}: "));
    let (Some(arm), Some(baseline)) = (card.arm, card.baseline) else {
        return Some(sentence.text(format!("{}.", card.reason)));
    };
    let row = |index: usize| (index, &comparison.rows[index]);
    sentence = sentence
        .arm(row(arm))
        .text(format!(" has {} {}, ", card.measure, number(comparison, card, arm, &card.arm_value)))
        .arm(row(baseline))
        .text(format!(" {}", number(comparison, card, baseline, &card.baseline_value)));
    Some(sentence.text(difference(card)))
}

/// The measure of one arm: for steps the median, for others mean ± sd.
fn number(comparison: &Comparison, card: &Scorecard, arm: usize, summary: &Summary) -> String {
    let row = &comparison.rows[arm];
    let times = match card.claim.measure {
        Measure::StepsToTarget => &row.sustained,
        Measure::FirstTouch => &row.first_touch,
        _ => return format::mean_sd(summary, format::value),
    };
    match (times.median, times.watched_to()) {
        (Some(median), _) => format!("{} (median)", format::count(median)),
        (None, Some(watched)) => format!("> {} (median)", format::count(watched)),
        (None, None) => format::ABSENT.to_owned(),
    }
}

/// `; difference −975 [−990, −960] over 8 seeds, p = 0.008.`
fn difference(card: &Scorecard) -> String {
    let Some(against) = &card.against else {
        return format!("; {}.", card.reason);
    };
    let is_time = matches!(card.claim.measure, Measure::StepsToTarget | Measure::FirstTouch);
    let number = if is_time { format::steps } else { format::value };
    let Some(mean) = against.pairs.mean else {
        return format!("; {}.", card.reason);
    };
    let mut text = format!("; difference {}", format::signed(mean, number));
    if against.pairs.interval.is_some() {
        text += &format!(" {}", format::interval(against.pairs.interval, number));
    }
    text += &format!(" over {}", format::plural(against.n, "seed", "seeds"));
    if let Some(p) = against.p_value.filter(|_| against.n > 1) {
        let p = format::p_value(p);
        text += &if p.starts_with('<') { format!(", p {p}") } else { format!(", p = {p}") };
    }
    if card.verdict == crate::compare::ClaimVerdict::Undecided {
        text += &format!(" ({})", card.reason);
    }
    text + "."
}
