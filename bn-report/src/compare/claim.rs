//! The scorecard of an experiment's claim: what the source said, what was measured, and what that decides. Pure.

use super::Comparison;
use super::against::{Against, Decision, Outcomes, Terms, compare};
use super::outcome::Measured;
use crate::read::{Arm, Experiment};
use crate::schema::{Claim, Direction, Expected, Measure, Quantity};
use crate::stats::Summary;

/// A claim, measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Scorecard {
    /// What the source says.
    pub claim: Claim,
    /// The arm that the claim is about, by its place; none where the experiment does not have it.
    pub arm: Option<usize>,
    /// The arm that it is compared with, by its place; none where the experiment does not have it.
    pub baseline: Option<usize>,
    /// What is measured, in words.
    pub measure: String,
    /// Which way of the measure is better; none for a measure that is neither good nor bad.
    pub better: Option<Direction>,
    /// The arm's numbers.
    pub arm_value: Summary,
    /// The baseline's numbers.
    pub baseline_value: Summary,
    /// The comparison; none where an arm is missing.
    pub against: Option<Against>,
    /// Whether the measurement bears the claim out.
    pub verdict: ClaimVerdict,
    /// Why, in a few words.
    pub reason: String,
}

/// Whether a measurement bears a claim out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimVerdict {
    /// The test finds the difference that the claim expects; or, where it expects none, the interval lies within the margin.
    Supported,
    /// The test finds the opposite difference; or, where the claim expects none, the interval lies beyond the margin.
    Contradicted,
    /// Neither.
    Undecided,
}

impl ClaimVerdict {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Supported => "supported",
            Self::Contradicted => "contradicted",
            Self::Undecided => "undecided",
        }
    }

    /// Its class in the style sheet of a page.
    pub fn class(self) -> &'static str {
        match self {
            Self::Supported => "good",
            Self::Contradicted => "bad",
            Self::Undecided => "open",
        }
    }
}

/// Measures the claim of an experiment, whose arms `comparison` has compared; none where it has none.
pub(super) fn scorecard(experiment: &Experiment, comparison: &Comparison) -> Option<Scorecard> {
    let claim = experiment.claim.clone()?;
    let place = |name: &str| experiment.arms.iter().position(|arm| arm.name == name);
    let arm = place(&claim.arm);
    let baseline = claim.baseline.as_deref().map_or(Some(comparison.baseline), place);
    let measured = Measured { experiment, measure: &claim.measure, horizon: comparison.horizon };
    let outcomes = |index: Option<usize>| -> Outcomes {
        index.map_or_else(Vec::new, |index| of_arm(&measured, &experiment.arms[index]))
    };
    let (ours, theirs) = (outcomes(arm), outcomes(baseline));
    let better = measured.better();
    // What one example makes is known of the compared metric on the final split.
    let is_compared = |quantity: &Quantity| {
        quantity.metric == comparison.metric && quantity.split == comparison.final_split
    };
    let resolution = match &claim.measure {
        Measure::Final(quantity) if is_compared(quantity) => comparison.resolution(),
        _ => None,
    };
    let level = comparison.level;
    let terms = Terms { better, resolution, level };
    let against = arm.zip(baseline).and_then(|_| compare(&[&ours], &theirs, terms).pop());
    let (verdict, reason) = judge(&claim, against.as_ref(), baseline.is_some());
    let summary = |outcomes: &Outcomes| {
        Summary::at(level, outcomes.iter().filter_map(|(_, outcome)| outcome.value()))
    };
    Some(Scorecard {
        measure: claim.measure.to_string(),
        arm,
        baseline,
        better,
        arm_value: summary(&ours),
        baseline_value: summary(&theirs),
        against,
        verdict,
        reason,
        claim,
    })
}

/// What the runs of an arm came to, by seed.
pub(super) fn of_arm(measured: &Measured<'_>, arm: &Arm) -> Outcomes {
    let mut outcomes: Outcomes = arm.runs.iter().map(|run| (run.seed, measured.of(run))).collect();
    outcomes.sort_by_key(|(seed, _)| *seed);
    outcomes
}

fn judge(claim: &Claim, against: Option<&Against>, has_baseline: bool) -> (ClaimVerdict, String) {
    let Some(against) = against else {
        let name =
            if has_baseline { &claim.arm } else { claim.baseline.as_ref().unwrap_or(&claim.arm) };
        return (ClaimVerdict::Undecided, format!("arm {name:?} is not among the runs"));
    };
    if claim.expected == Expected::Same {
        return judge_same(claim, against);
    }
    let verdict = match (against.decision, claim.expected) {
        (Decision::Higher, Expected::Higher) | (Decision::Lower, Expected::Lower) => {
            ClaimVerdict::Supported
        }
        (Decision::Higher | Decision::Lower, _) => ClaimVerdict::Contradicted,
        _ => ClaimVerdict::Undecided,
    };
    (verdict, against.decision.words(None))
}

/// Sameness is shown by an interval within the margin, not by a test that finds nothing.
fn judge_same(claim: &Claim, against: &Against) -> (ClaimVerdict, String) {
    let undecided = |reason: &str| (ClaimVerdict::Undecided, reason.to_owned());
    let Some(margin) = claim.margin else {
        return undecided("the claim gives no margin within which values are the same");
    };
    let Some(interval) = against.pairs.interval else {
        return undecided("fewer than 2 pairs of runs: no interval");
    };
    if against.lost != (0, 0) {
        return undecided("runs diverged in one of both arms");
    }
    if -margin <= interval.low && interval.high <= margin {
        (ClaimVerdict::Supported, format!("the interval lies within ± {margin}"))
    } else if interval.high < -margin || margin < interval.low {
        (ClaimVerdict::Contradicted, format!("the interval lies beyond ± {margin}"))
    } else {
        undecided(&format!("the interval reaches across ± {margin}"))
    }
}
