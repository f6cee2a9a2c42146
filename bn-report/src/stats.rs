//! Mean and standard deviation of a few runs. Pure: no files, no clock.

/// How many values there are, their mean and their spread.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Summary {
    /// Number of values.
    pub n: usize,
    /// `mean = sum(x) / n`; none without a value.
    pub mean: Option<f64>,
    /// Sample standard deviation, `sqrt(sum((x - mean)^2) / (n - 1))`; none with fewer than two values.
    pub sd: Option<f64>,
}

impl Summary {
    /// Summarizes finite values. The sums run in the order given, so the result has the same bits each time.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let values: Vec<f64> = values.into_iter().collect();
        let n = values.len();
        if n == 0 {
            return Self::default();
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        // Two passes: E[x^2] - E[x]^2 loses every digit once the mean is much larger than the spread.
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let sd = (n > 1).then(|| (squares / (n - 1) as f64).sqrt());
        Self { n, mean: Some(mean), sd }
    }
}

#[cfg(test)]
mod tests {
    use super::Summary;
    use proptest::prelude::*;

    #[test]
    fn one_value_has_no_spread_and_no_value_has_nothing() {
        assert_eq!(Summary::of([0.5]), Summary { n: 1, mean: Some(0.5), sd: None });
        assert_eq!(Summary::of([]), Summary { n: 0, mean: None, sd: None });
        assert_eq!(
            Summary::of([1.0, 3.0]),
            Summary { n: 2, mean: Some(2.0), sd: Some(2f64.sqrt()) }
        );
    }

    proptest! {
        /// Against the pairwise form, which knows no mean: `sd^2 = sum over pairs of (x - y)^2 / (n (n - 1))`.
        #[test]
        fn spread_equals_the_pairwise_form(values in prop::collection::vec(-1e3..1e3f64, 2..9), shift in -1e3..1e3f64) {
            let summary = Summary::of(values.iter().copied());
            let mut pairs = 0.0;
            for (i, x) in values.iter().enumerate() {
                pairs += values[..i].iter().map(|y| (x - y).powi(2)).sum::<f64>();
            }
            let n = values.len() as f64;
            let sd = summary.sd.expect("two values or more");
            // 1e3 * a few dozen roundings of 2^-53.
            prop_assert!((sd - (pairs / (n * (n - 1.0))).sqrt()).abs() < 1e-9);
            let shifted = Summary::of(values.iter().map(|value| value + shift));
            prop_assert!((shifted.sd.expect("as many values") - sd).abs() < 1e-9);
            prop_assert!((shifted.mean.expect("a mean") - summary.mean.expect("a mean") - shift).abs() < 1e-9);
        }
    }
}
