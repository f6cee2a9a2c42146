//! The sign-flip test of paired differences.

use super::random::Draws;
use super::summary::power_of_two;

/// Up to so many differences all sign patterns are counted; beyond, some are drawn.
pub const EXACT_UP_TO: usize = 16;

/// How many sign patterns are drawn where there are too many to count.
pub const PERMUTATIONS: usize = 9_999;

const SEED: u64 = 0x7369_676e_2d66_6c69;

/// The two-sided p-value of paired differences under the hypothesis that each is as likely to have the other sign: the share of
/// sign patterns whose sum is at least as far from 0 as the observed one. None without a difference.
///
/// Exact up to [`EXACT_UP_TO`] differences; beyond, of `m =` [`PERMUTATIONS`] drawn patterns the share is `(count + 1) / (m + 1)`.
/// Sums that differ by less than `1e-14` of the observed one are ties, as in `scipy.stats.permutation_test`. The smallest p-value of
/// `n` differences is `2 / 2^n`: 0.0625 for 5, 0.03125 for 6.
pub fn sign_flip(differences: &[f64]) -> Option<f64> {
    let n = differences.len();
    let largest = differences.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
    let scale = power_of_two(largest);
    let scaled: Vec<f64> = differences.iter().map(|difference| difference / scale).collect();
    if n == 0 {
        return None;
    }
    let observed = scaled.iter().sum::<f64>().abs();
    let least = observed - 1e-14 * observed;
    let reaches = |pattern: u64| {
        let signed = scaled.iter().enumerate();
        let sum: f64 = signed
            .map(|(index, value)| if pattern >> index & 1 == 1 { -value } else { *value })
            .sum();
        sum.abs() >= least
    };
    if n <= EXACT_UP_TO {
        let patterns = 1u64 << n;
        let count = (0..patterns).filter(|&pattern| reaches(pattern)).count();
        return Some(count as f64 / patterns as f64);
    }
    let mut draws = Draws::new(SEED);
    let mut count = 0;
    for _ in 0..PERMUTATIONS {
        let mut sum = 0.0;
        for values in scaled.chunks(64) {
            let pattern = draws.next();
            for (index, value) in values.iter().enumerate() {
                sum += if pattern >> index & 1 == 1 { -value } else { *value };
            }
        }
        count += usize::from(sum.abs() >= least);
    }
    Some((count + 1) as f64 / (PERMUTATIONS + 1) as f64)
}
