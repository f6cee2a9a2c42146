//! A smoothed line: a centred moving mean over a fixed number of logged values, whatever the length of the run. Pure.
//!
//! Near both ends fewer values are taken, as many on each side: the ends are the first and the last value themselves, and a curve that
//! falls fast at first keeps its shape on a logarithmic axis, since no value is a mean over more than half as many steps as came before.

/// Logged values that a smoothed one is the mean of, unless a reader wants another number.
pub const WINDOW: usize = 25;

/// A line of fewer than this many windows is left as it is.
const WINDOWS: usize = 4;

/// Whether a line of so many values is smoothed.
pub fn applies(values: usize, window: usize) -> bool {
    window > 1 && values >= WINDOWS.saturating_mul(window)
}

/// The moving mean: of the value at `i`, and of `min(window / 2, i / 4, last - i)` values on each side. The values themselves where
/// [`applies`] says no.
pub fn smoothed(values: &[f64], window: usize) -> Vec<f64> {
    if !applies(values.len(), window) {
        return values.to_vec();
    }
    let last = values.len() - 1;
    let mean = |at: usize| {
        let half = (window / 2).min(at / 4).min(last - at);
        let near = &values[at - half..=at + half];
        let (low, high) = near
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)));
        // Shares of the mean, so that no sum overflows but by rounding.
        let mean: f64 = near.iter().map(|value| value / near.len() as f64).sum();
        mean.clamp(low, high)
    };
    (0..values.len()).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn short_lines_and_windows_of_one_change_nothing() {
        let values: Vec<f64> = (0..99).map(f64::from).map(f64::sin).collect();
        assert_eq!(smoothed(&values, 25), values);
        assert_eq!(smoothed(&values, 1), values);
        assert_eq!(smoothed(&values, 0), values);
        assert_ne!(smoothed(&values, 24), values);
        assert_eq!(smoothed(&[], 25), Vec::<f64>::new());
    }

    #[test]
    fn a_smoothed_value_is_the_mean_of_those_around_it() {
        let mut values = vec![0.0; 200];
        values[100] = 25.0;
        let line = smoothed(&values, 25);
        let raised: Vec<usize> = (0..200).filter(|&at| line[at] != 0.0).collect();
        assert_eq!((raised[0], raised[raised.len() - 1], raised.len()), (88, 112, 25));
        assert!(raised.iter().all(|&at| (line[at] - 1.0).abs() < 1e-12));
    }

    proptest! {
        #[test]
        fn smoothing_keeps_straight_lines_ends_and_bounds(
            noise in prop::collection::vec(-1e3..1e3f64, 100..300),
            window in 2usize..60,
            slope in -5.0..5.0f64,
        ) {
            let line: Vec<f64> = (0..noise.len()).map(|at| slope * at as f64).collect();
            for (one, other) in smoothed(&line, window).iter().zip(&line) {
                prop_assert!((one - other).abs() < 1e-9 * (1.0 + other.abs()), "{one} {other}");
            }
            let smooth = smoothed(&noise, window);
            prop_assert_eq!((smooth[0], smooth[noise.len() - 1]), (noise[0], noise[noise.len() - 1]));
            let (low, high) = noise.iter().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
            prop_assert!(smooth.iter().all(|value| (low - 1e-9..=high + 1e-9).contains(value)));
        }

        #[test]
        fn what_comes_later_changes_nothing_before(values in prop::collection::vec(-1e3..1e3f64, 250..400)) {
            // A longer run: the same line but for the last half window.
            let (short, long) = (smoothed(&values[..200], 25), smoothed(&values, 25));
            prop_assert_eq!(&short[..188], &long[..188]);
        }
    }

    #[test]
    fn huge_values_do_not_overflow() {
        let line = smoothed(&[f64::MAX; 200], 25);
        assert!(line.iter().all(|value| value.is_finite()));
    }
}
