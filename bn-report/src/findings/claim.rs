//! The sentence about the claim: verdict and measurement.

use super::sentence::Sentence;
use crate::compare::{Comparison, Scorecard, Times};
use crate::format;
use crate::schema::Measure;

/// What the measurement says of the claim; none without a claim.
pub(super) fn verdict(comparison: &Comparison) -> Option<Sentence> {
    let card = comparison.claim.as_ref()?;
    let verdict = card.verdict.name();
    let word = verdict[..1].to_uppercase() + &verdict[1..];
    let sentence = Sentence::default().text(format!("{word}: "));
    let (Some(arm), Some(baseline)) = (card.arm, card.baseline) else {
        return Some(sentence.text(format!("{}.", card.reason)));
    };
    let row = |index: usize| (index, &comparison.rows[index]);
    let [ours, theirs] = match card.claim.measure {
        Measure::StepsToTarget => {
            steps(comparison, "for good", [arm, baseline].map(|arm| &row(arm).1.sustained))
        }
        Measure::FirstTouch => steps(
            comparison,
            "for the first time",
            [arm, baseline].map(|arm| &row(arm).1.first_touch),
        ),
        _ => {
            let [ours, theirs] = [&card.arm_value, &card.baseline_value]
                .map(|summary| format::mean_sd(summary, format::value));
            [format!(" has {} {ours}, ", card.measure), format!(" {theirs}")]
        }
    };
    Some(sentence.arm(row(arm)).text(ours).arm(row(baseline)).text(theirs).text(difference(card)))
}

/// What is said behind the names of both arms where the measure is a time.
fn steps(comparison: &Comparison, how: &str, times: [&Times; 2]) -> [String; 2] {
    let [ours, theirs] = times.map(|times| match (times.median, times.watched_to()) {
        (Some(median), _) => format!("takes {} steps", format::count(median)),
        (None, Some(watched)) => format!("takes more than {} steps", format::count(watched)),
        (None, None) => "has not begun".to_owned(),
    });
    let target = comparison.target_words().unwrap_or_else(|| "the target".to_owned());
    [format!(" {ours} (median) to {target} {how}, "), format!(" {theirs}")]
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
