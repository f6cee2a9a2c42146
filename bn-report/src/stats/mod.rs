//! Statistics of a few runs. Pure: no files, no clock, and random numbers from a fixed seed.
//!
//! Every function is defined for all finite input: ties, constants, subnormal and huge values. Sums run over values scaled by
//! a power of two, which changes no bit and cannot overflow.

mod bootstrap;
pub mod censored;
mod holm;
mod level;
pub mod paired;
mod permutation;
pub mod power;
mod random;
pub mod student;
mod summary;

pub use self::bootstrap::{Interval, RESAMPLES, mean_interval};
pub use self::holm::holm;
pub use self::level::Level;
pub use self::paired::{Paired, probability_of_improvement};
pub use self::permutation::{EXACT_UP_TO, PERMUTATIONS, sign_flip};
pub use self::summary::{Summary, interquartile_mean, median, quantile};

/// The level of tests: a difference counts where its p-value is at most this.
pub const ALPHA: f64 = 0.05;

/// The standard deviation of a proportion `p` of `n` examples: `sqrt(p (1 - p) / n)`; none without examples, or where `p` is no
/// proportion.
///
/// This is how far a measured accuracy would scatter over other test sets of the same size.
pub fn binomial_sd(p: f64, n: u64) -> Option<f64> {
    (n > 0 && (0.0..=1.0).contains(&p)).then(|| (p * (1.0 - p) / n as f64).sqrt())
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod laws;
