//! How many pairs a paired test needs.

use super::{ALPHA, student};

/// The chance to detect the observed difference that "enough" stands for.
pub const POWER: f64 = 0.8;

/// How many pairs a two-sided paired t-test at level `alpha` needs to detect a mean difference of `mean` with probability [`POWER`],
/// where differences have the standard deviation `sd`: the smallest `n` with
/// `n >= ((t(1 - alpha / 2) + t(power)) sd / mean)^2`, t of `n - 1` degrees of freedom. At least 2; none where `mean` is 0, either is
/// not finite, or more than a million would be needed.
pub fn pairs_needed(mean: f64, sd: f64, alpha: f64) -> Option<u64> {
    let ratio = sd / mean;
    if mean == 0.0 || !ratio.is_finite() {
        return None;
    }
    let is_enough = |n: u64| {
        let freedom = (n - 1) as f64;
        let sum = student::quantile(1.0 - alpha / 2.0, freedom) + student::quantile(POWER, freedom);
        n as f64 >= (sum * ratio).powi(2)
    };
    let (mut low, mut high) = (2u64, 1_000_000);
    if !is_enough(high) {
        return None;
    }
    // Both quantiles shrink as n grows, so what is enough stays enough.
    while low < high {
        let middle = low.midpoint(high);
        if is_enough(middle) { high = middle } else { low = middle + 1 }
    }
    Some(low)
}

/// The fewest pairs with which a sign-flip test can reach [`ALPHA`] for the first of `tests` tests under Holm's correction: the
/// smallest `n` with `tests * 2 / 2^n <= alpha`. 6 for one test.
pub fn pairs_to_decide(tests: usize) -> u64 {
    let mut pairs = 1;
    while tests.max(1) as f64 * 2.0 / 2f64.powi(pairs as i32) > ALPHA {
        pairs += 1;
    }
    pairs
}
