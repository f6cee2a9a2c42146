//! One arm against another by one measure: pairs by seed, and what they decide. Pure.
//!
//! The rule, which the page repeats: runs are paired by seed. With fewer pairs than a test needs, nothing is decided. A difference
//! counts where the sign-flip test, corrected after Holm for all arms that are compared with the same baseline, has a p-value of at
//! most 5 %. Where it has not, the observed mean and spread tell how many seeds a paired t-test would need to find that difference
//! with a chance of 80 %: up to four times as many as there are is told as "needs about N more seeds", more as "no detectable
//! difference". A run that diverged counts as worse than any number: where the seed did not diverge in both arms, the test takes
//! signed ranks in place of differences, and the arm that lost more seeds is never the better one.

use super::outcome::Outcome;
use crate::schema::Direction;
use crate::stats::power::{pairs_needed, pairs_to_decide};
use crate::stats::{ALPHA, Level, Paired, holm, probability_of_improvement, sign_flip};

/// A difference that would need more than this many times the present seeds counts as not detectable.
pub const SEEDS_FACTOR: u64 = 4;

/// What one arm's runs say against another's.
#[derive(Debug, Clone, PartialEq)]
pub struct Against {
    /// Differences by seed, arm minus baseline, where both have a number.
    pub pairs: Paired,
    /// Seeds that are compared: those with a number or a divergence in both arms.
    pub n: usize,
    /// Seeds that are lost in the arm and not in the baseline, and the other way round.
    pub lost: (usize, usize),
    /// The chance that a run of the arm beats one of the baseline, ties half; of being higher where no way is better.
    pub improvement: Option<f64>,
    /// The sum that the test judges, of gains or of their signed ranks: above 0 the arm is ahead (or higher, where no way is better).
    pub lead: f64,
    /// Of the sign-flip test; none without a pair.
    pub p_value: Option<f64>,
    /// The same after Holm's correction over all arms that are compared with this baseline.
    pub p_adjusted: Option<f64>,
    /// What that decides.
    pub decision: Decision,
}

/// What a comparison decides about an arm's measure, seen from the baseline's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The arm's is higher.
    Higher,
    /// The arm's is lower.
    Lower,
    /// The test finds nothing, and a difference of the observed size would need far more seeds.
    NoDetectableDifference,
    /// The test finds nothing, but would probably find the observed difference with about so many more seeds.
    NeedsSeeds(u64),
    /// No test can decide with so few seeds.
    TooFewSeeds {
        /// From how many pairs on one can.
        from: u64,
    },
    /// One pair of runs: a value, no spread.
    OneSeed,
    /// No seed has a result in both arms.
    NoPairs,
}

impl Decision {
    /// In words: `better` or `worse` where `better` says which is which, `higher` or `lower` otherwise.
    pub fn words(self, better: Option<Direction>) -> String {
        match (self, better) {
            (Self::Higher, None) => "higher".to_owned(),
            (Self::Lower, None) => "lower".to_owned(),
            (Self::Higher, Some(Direction::Higher)) | (Self::Lower, Some(Direction::Lower)) => {
                "better".to_owned()
            }
            (Self::Higher | Self::Lower, Some(_)) => "worse".to_owned(),
            (Self::NoDetectableDifference, _) => "no detectable difference".to_owned(),
            (Self::NeedsSeeds(1), _) => "needs about 1 more seed".to_owned(),
            (Self::NeedsSeeds(more), _) => format!("needs about {more} more seeds"),
            (Self::TooFewSeeds { from }, _) => format!("a test cannot decide below {from} seeds"),
            (Self::OneSeed, _) => "no comparison with one seed".to_owned(),
            (Self::NoPairs, _) => "no seed in common".to_owned(),
        }
    }
}

/// The numbers of an arm's runs, by seed and ascending.
pub type Outcomes = Vec<(u64, Outcome)>;

/// How arms are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Terms {
    /// Which way is better; none for a measure that is neither good nor bad.
    pub better: Option<Direction>,
    /// The least difference of means that stands for anything, such as one test example of all: less is no detectable difference.
    pub resolution: Option<f64>,
    /// The level of intervals.
    pub level: Level,
}

/// How several arms compare with one baseline by one measure; see [`compare_pairs`].
pub fn compare(arms: &[&Outcomes], baseline: &Outcomes, terms: Terms) -> Vec<Against> {
    let pairs: Vec<(&Outcomes, &Outcomes)> = arms.iter().map(|arm| (*arm, baseline)).collect();
    compare_pairs(&pairs, terms)
}

/// How each first of a pair compares with the second; Holm's correction runs over all pairs.
pub fn compare_pairs(pairs: &[(&Outcomes, &Outcomes)], terms: Terms) -> Vec<Against> {
    let all = pairs.iter().map(|(arm, baseline)| pair_up(arm, baseline, terms)).collect();
    corrected(all, terms)
}

/// Comparisons with Holm's correction over all of them, and what each decides.
pub(super) fn corrected(mut all: Vec<Against>, terms: Terms) -> Vec<Against> {
    let tested: Vec<usize> =
        (0..all.len()).filter(|&index| all[index].p_value.is_some() && all[index].n > 1).collect();
    let p_values: Vec<f64> = tested.iter().filter_map(|&index| all[index].p_value).collect();
    for (&index, adjusted) in tested.iter().zip(holm(&p_values)) {
        all[index].p_adjusted = Some(adjusted);
    }
    for against in &mut all {
        against.decision = decide(against, terms, tested.len());
    }
    all
}

/// One arm against another, before any correction and decision.
pub(super) fn pair_up(arm: &Outcomes, baseline: &Outcomes, terms: Terms) -> Against {
    let Terms { better, level, .. } = terms;
    let numbers = |outcomes: &Outcomes| -> Vec<(u64, f64)> {
        outcomes.iter().filter_map(|(seed, outcome)| Some((*seed, outcome.value()?))).collect()
    };
    let way = better.unwrap_or(Direction::Higher);
    // Without a better way there is no worst, so a lost run says nothing.
    let gains = |outcomes: &Outcomes| -> Vec<(u64, f64)> {
        let told = outcomes.iter().filter(|(_, o)| better.is_some() || *o != Outcome::Lost);
        told.filter_map(|(seed, outcome)| Some((*seed, outcome.gain(way)?))).collect()
    };
    let (arm_gains, baseline_gains) = (gains(arm), gains(baseline));
    let mut differences = Vec::new();
    let mut lost = (0, 0);
    for (seed, gain) in &arm_gains {
        let Ok(index) = baseline_gains.binary_search_by_key(seed, |(seed, _)| *seed) else {
            continue;
        };
        let other = baseline_gains[index].1;
        match (gain.is_finite(), other.is_finite()) {
            (false, true) => lost.0 += 1,
            (true, false) => lost.1 += 1,
            _ => {}
        }
        differences.push(if *gain == other { 0.0 } else { gain - other });
    }
    let pairs = Paired::at(level, &numbers(arm), &numbers(baseline));
    if lost != (0, 0) {
        differences = signed_ranks(&differences);
    }
    let of_all = |gains: &[(u64, f64)]| gains.iter().map(|(_, gain)| *gain).collect::<Vec<_>>();
    Against {
        pairs,
        n: differences.len(),
        lost,
        improvement: probability_of_improvement(&of_all(&arm_gains), &of_all(&baseline_gains)),
        lead: differences.iter().sum(),
        p_value: sign_flip(&differences),
        p_adjusted: None,
        decision: Decision::NoPairs,
    }
}

/// Each difference's rank by size, from 1, with its sign; ties share their mean rank, and 0 stays 0.
fn signed_ranks(differences: &[f64]) -> Vec<f64> {
    let rank = |difference: &f64| {
        let size = difference.abs();
        let below = differences.iter().filter(|other| other.abs() < size).count();
        let equal = differences.iter().filter(|other| other.abs() == size).count();
        if size == 0.0 {
            0.0
        } else {
            difference.signum() * (below as f64 + (equal as f64 + 1.0) / 2.0)
        }
    };
    differences.iter().map(rank).collect()
}

fn decide(against: &Against, terms: Terms, tests: usize) -> Decision {
    let Terms { better, resolution, .. } = terms;
    let n = against.n as u64;
    let from = pairs_to_decide(tests);
    let has_losses = against.lost != (0, 0);
    match n {
        0 => return Decision::NoPairs,
        1 => return Decision::OneSeed,
        _ if n < from => return Decision::TooFewSeeds { from },
        _ => {}
    }
    let mean = against.pairs.mean.unwrap_or(0.0);
    let is_below_resolution = resolution.is_some_and(|least| mean.abs() < least);
    if !has_losses && (mean == 0.0 || is_below_resolution) {
        return Decision::NoDetectableDifference;
    }
    if against.p_adjusted.is_some_and(|p| p <= ALPHA) {
        // Numbers do not make up for losses: the arm that lost more seeds is not the one ahead.
        let (more, fewer) =
            if against.lead > 0.0 { against.lost } else { (against.lost.1, against.lost.0) };
        if more > fewer {
            return Decision::NoDetectableDifference;
        }
        let is_higher = (against.lead > 0.0) == (better != Some(Direction::Lower));
        return if is_higher { Decision::Higher } else { Decision::Lower };
    }
    let needed = against.pairs.sd.and_then(|sd| pairs_needed(mean, sd, ALPHA / tests as f64));
    match needed.map(|needed| needed.max(n + 1)) {
        Some(needed) if !has_losses && needed <= SEEDS_FACTOR * n => {
            Decision::NeedsSeeds(needed - n)
        }
        _ => Decision::NoDetectableDifference,
    }
}
