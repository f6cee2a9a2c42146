//! Student's t distribution.

use statrs::distribution::{ContinuousCDF as _, StudentsT};

/// The number that a draw lies below with this `probability`, between 0 and 1; `freedom` is the degrees of freedom, above 0.
/// NaN where either is out of its range.
pub fn quantile(probability: f64, freedom: f64) -> f64 {
    if !(0.0 < probability && probability < 1.0) {
        return f64::NAN;
    }
    StudentsT::new(0.0, 1.0, freedom)
        .map_or(f64::NAN, |distribution| distribution.inverse_cdf(probability))
}
