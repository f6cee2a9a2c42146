//! Two arms, compared seed by seed.

use super::bootstrap::{Interval, mean_interval};
use super::level::Level;
use super::permutation::sign_flip;
use super::summary::Summary;

/// How one arm's numbers lie from another's, over the seeds that both have.
#[derive(Debug, Clone, PartialEq)]
pub struct Paired {
    /// By seed, ascending: the arm's number minus the other's.
    pub differences: Vec<(u64, f64)>,
    /// Mean of the differences; none without a pair.
    pub mean: Option<f64>,
    /// Their standard deviation; none with fewer than two pairs.
    pub sd: Option<f64>,
    /// Bootstrap interval of the mean difference, over seeds; none with fewer than two pairs.
    pub interval: Option<Interval>,
    /// [`sign_flip`] of the differences; none without a pair.
    pub p_value: Option<f64>,
}

impl Paired {
    /// Compares numbers by seed, both ascending by seed. A difference beyond the range of a double leaves its seed out.
    pub fn of(arm: &[(u64, f64)], other: &[(u64, f64)]) -> Self {
        Self::at(Level::default(), arm, other)
    }

    /// The same, with an interval of another level.
    pub fn at(level: Level, arm: &[(u64, f64)], other: &[(u64, f64)]) -> Self {
        let difference = |&(seed, number): &(u64, f64)| {
            let index = other.binary_search_by_key(&seed, |(seed, _)| *seed).ok()?;
            let difference = number - other[index].1;
            difference.is_finite().then_some((seed, difference))
        };
        let differences: Vec<(u64, f64)> = arm.iter().filter_map(difference).collect();
        let values: Vec<f64> = differences.iter().map(|(_, difference)| *difference).collect();
        let (mean, sd) = Summary::mean_and_sd(&values);
        Self {
            mean,
            sd,
            interval: mean_interval(&values, level),
            p_value: sign_flip(&values),
            differences,
        }
    }

    /// Number of pairs.
    pub fn n(&self) -> usize {
        self.differences.len()
    }
}

/// The chance that a run of one arm beats a run of the other, seeds drawn apart: the share of all pairs of `gains` and `others` in
/// which the gain is greater, ties counted half. None where either is empty.
///
/// Agarwal et al. 2021; `U / (n m)` of the Mann-Whitney test. Infinities take part, so that a run that diverged loses.
pub fn probability_of_improvement(gains: &[f64], others: &[f64]) -> Option<f64> {
    let pairs = gains.len() * others.len();
    let won = |gain: &f64, other: &f64| match gain.partial_cmp(other) {
        Some(std::cmp::Ordering::Greater) => 1.0,
        Some(std::cmp::Ordering::Equal) => 0.5,
        _ => 0.0,
    };
    let wins: f64 =
        gains.iter().map(|gain| others.iter().map(|other| won(gain, other)).sum::<f64>()).sum();
    (pairs > 0).then(|| wins / pairs as f64)
}
