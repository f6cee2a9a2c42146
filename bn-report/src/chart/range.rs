//! Which values a y axis covers. Pure.

use super::scale::Scale;

/// How the values of a chart spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// Proportions: the axis shows 0 to 1 as long as they lie there.
    Share,
    /// The axis is around the values.
    Any,
    /// Never negative, small is interesting: a linear axis begins at 0; a logarithmic one is the default over 1.5 decades.
    Positive,
}

/// Values that quantiles are taken of, at most.
const SAMPLE: usize = 20_000;

/// What the y axes of some values have to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    kind: Values,
    low: f64,
    high: f64,
    /// The same for a logarithmic axis; none where no value is positive.
    log: Option<(f64, f64)>,
    all_positive: bool,
}

impl Range {
    /// The range of `values`; each of `kept` is within it, and of the others all but a few that lie far off.
    pub fn of(kind: Values, values: impl Iterator<Item = f64> + Clone, kept: &[f64]) -> Self {
        let count = values.clone().count();
        let every = count.div_ceil(SAMPLE).max(1);
        let extremes = values
            .clone()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        let mut sample: Vec<f64> = values.clone().step_by(every).collect();
        sample.sort_by(f64::total_cmp);
        let (mut low, mut high) = core(&sample, extremes);
        for &value in kept {
            (low, high) = (low.min(value), high.max(value));
        }
        let positive: Vec<f64> =
            sample.iter().filter(|value| **value > 0.0).map(|v| v.ln()).collect();
        let smallest = values.filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
        let log = (!positive.is_empty()).then(|| {
            let (mut low, mut high) = core(&positive, (smallest.ln(), extremes.1.ln()));
            for value in kept.iter().filter(|value| **value > 0.0) {
                (low, high) = (low.min(value.ln()), high.max(value.ln()));
            }
            (low.exp().max(f64::MIN_POSITIVE), high.exp().min(f64::MAX))
        });
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        Self { kind, low, high, log, all_positive: extremes.0 > 0.0 }
    }

    /// The same, with room for intervals; those far off are cut like values far off.
    pub fn with_bands(self, bands: impl Iterator<Item = (f64, f64)>) -> Self {
        let room = 1.5 * (self.high / 2.0 - self.low / 2.0);
        let (lowest, highest) = (self.low - room, self.high + room);
        let mut range = self;
        for (low, high) in bands {
            range.low = range.low.min(low.max(lowest));
            range.high = range.high.max(high.min(highest));
        }
        range
    }

    /// Whether a logarithmic axis can be drawn.
    pub fn allows_log(&self) -> bool {
        self.kind == Values::Positive && self.all_positive && self.log.is_some()
    }

    /// Whether the axis is logarithmic unless a reader wants it otherwise.
    pub fn wants_log(&self) -> bool {
        self.allows_log() && self.log.is_some_and(|(low, high)| high / low > 30.0)
    }

    /// The axis.
    pub fn scale(&self, logarithmic: bool, pixels: (f64, f64)) -> Scale {
        match (self.kind, self.log) {
            (Values::Positive, Some(range)) if logarithmic => Scale::log(range, pixels),
            (Values::Share, _) if self.low >= 0.0 && self.high <= 1.0 => {
                Scale::linear((0.0, 1.0), pixels)
            }
            (Values::Positive, _) if self.low >= 0.0 => {
                Scale::linear_around((0.0, self.high), pixels)
            }
            _ => Scale::linear_around((self.low, self.high), pixels),
        }
    }
}

/// All of sorted values, unless the outer 2 % take up more than three quarters of the range: then the others, with room.
fn core(sorted: &[f64], (low, high): (f64, f64)) -> (f64, f64) {
    let Some(last) = sorted.len().checked_sub(1) else {
        return (low, high);
    };
    // One value in a hundred at each end, at least one where there are as many as fifty.
    let cut = if last >= 50 { (last / 100).max(1) } else { last / 100 };
    let (inner_low, inner_high) = (sorted[cut], sorted[last - cut]);
    let (span, inner) = (high / 2.0 - low / 2.0, inner_high / 2.0 - inner_low / 2.0);
    if inner <= 0.0 || span <= 4.0 * inner {
        return (low, high);
    }
    ((inner_low - 0.5 * inner).max(low), (inner_high + 0.5 * inner).min(high))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(kind: Values, values: &[f64], logarithmic: bool) -> (f64, f64) {
        Range::of(kind, values.iter().copied(), &[]).scale(logarithmic, (400.0, 0.0)).numbers()
    }

    #[test]
    fn shares_span_0_to_1_and_losses_begin_at_0() {
        assert_eq!(numbers(Values::Share, &[0.2, 0.9], false), (0.0, 1.0));
        assert_eq!(numbers(Values::Share, &[0.2, 1.9], false), (0.0, 2.0));
        assert_eq!(numbers(Values::Positive, &[0.5, 1.9], false), (0.0, 2.0));
        assert_eq!(numbers(Values::Any, &[-0.5, 1.9], false), (-0.5, 2.0));
        assert_eq!(numbers(Values::Any, &[], false), (0.0, 1.0));
    }

    #[test]
    fn a_few_values_far_off_do_not_squeeze_the_others() {
        let mut values: Vec<f64> = (1..=200).map(|index| f64::from(index) / 100.0).collect();
        values.push(1e30);
        let (low, high) = numbers(Values::Positive, &values, false);
        assert!(low == 0.0 && (2.0..5.0).contains(&high), "{high}");
        let (_, high) = numbers(Values::Positive, &values, true);
        assert!((2.0..100.0).contains(&high), "{high}");
        // What must be seen is.
        let kept = Range::of(Values::Any, values.iter().copied(), &[40.0]);
        assert!(kept.scale(false, (400.0, 0.0)).contains(40.0));
    }

    #[test]
    fn two_values_are_never_cut() {
        assert_eq!(numbers(Values::Any, &[-1e300, 1e300], false), (-1e300, 1e300));
    }
}
