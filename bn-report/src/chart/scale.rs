//! From numbers to pixels: linear axes, logarithmic ones, and logarithmic ones with a place for 0. Pure.

mod ticks;

pub use self::ticks::Tick;
use self::ticks::round_step;

/// How numbers spread over an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Spread {
    Linear,
    Log,
    /// 0 is at the beginning; the positive numbers, from `first` on, are on the rest.
    ZeroAndLog {
        first: f64,
    },
}

/// Pixels between 0 and the first positive number of an axis with a place for 0.
const ZERO_ROOM: f64 = 26.0;

/// An axis: a range of numbers on a range of pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    spread: Spread,
    numbers: (f64, f64),
    pixels: (f64, f64),
}

/// Which steps an axis has to show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Steps {
    /// Whether step 0 is among them.
    pub has_zero: bool,
    /// The first after 0.
    pub first: Option<u64>,
    /// The last.
    pub last: u64,
}

impl Steps {
    /// Of some steps, in any order.
    pub fn of(steps: impl IntoIterator<Item = u64>) -> Self {
        let mut all = Self::default();
        for step in steps {
            all.last = all.last.max(step);
            match step {
                0 => all.has_zero = true,
                step => all.first = Some(all.first.map_or(step, |first| first.min(step))),
            }
        }
        all
    }

    /// Whether they are so far apart that a logarithmic axis shows more.
    pub fn want_log(&self) -> bool {
        self.first.is_some_and(|first| self.last / first > 30)
    }

    /// Whether a logarithmic axis can be drawn.
    pub fn allow_log(&self) -> bool {
        self.first.is_some_and(|first| first < self.last)
    }
}

impl Scale {
    /// A linear axis.
    pub fn linear(numbers: (f64, f64), pixels: (f64, f64)) -> Self {
        Self { spread: Spread::Linear, numbers: apart(numbers), pixels }
    }

    /// A linear axis that begins and ends at round numbers around the given ones.
    pub fn linear_around(numbers: (f64, f64), pixels: (f64, f64)) -> Self {
        let (low, high) = apart(numbers);
        let step = round_step((high / 5.0) - (low / 5.0));
        let around = ((low / step).floor() * step, (high / step).ceil() * step);
        let finite = around.0.is_finite() && around.1.is_finite();
        Self::linear(if finite { around } else { (low, high) }, pixels)
    }

    /// A logarithmic axis over positive numbers.
    pub fn log(numbers: (f64, f64), pixels: (f64, f64)) -> Self {
        let (low, high) = numbers;
        let numbers = if high / low > 1.001 { numbers } else { (low / 1.5, high * 1.5) };
        Self { spread: Spread::Log, numbers, pixels }
    }

    /// An axis of steps from the first to the last; linear ones begin at 0.
    pub fn steps(steps: Steps, logarithmic: bool, pixels: (f64, f64)) -> Self {
        let last = steps.last.max(1) as f64;
        let first = steps.first.unwrap_or(1) as f64;
        match (logarithmic && first < last, steps.has_zero) {
            (false, _) => Self::linear((0.0, last), pixels),
            (true, false) => Self::log((first, last), pixels),
            (true, true) => {
                Self { spread: Spread::ZeroAndLog { first }, numbers: (0.0, last), pixels }
            }
        }
    }

    /// Whether equal distances mean equal ratios.
    pub fn is_log(&self) -> bool {
        self.spread != Spread::Linear
    }

    /// Where the axis is broken between 0 and the first positive number; none for other axes.
    pub fn break_at(&self) -> Option<f64> {
        let forward = (self.pixels.1 - self.pixels.0).signum();
        matches!(self.spread, Spread::ZeroAndLog { .. })
            .then_some(self.pixels.0 + forward * ZERO_ROOM / 2.0)
    }

    /// The range of numbers.
    pub fn numbers(&self) -> (f64, f64) {
        self.numbers
    }

    /// The range of pixels.
    pub fn pixels(&self) -> (f64, f64) {
        self.pixels
    }

    /// Whether a number lies on the axis.
    pub fn contains(&self, number: f64) -> bool {
        (self.numbers.0..=self.numbers.1).contains(&number)
    }

    /// Where a number lies; beyond the range, at its end.
    pub fn map(&self, number: f64) -> f64 {
        let (low, high) = self.numbers;
        let (start, end) = self.pixels;
        let within = number.clamp(low, high);
        match self.spread {
            // Quarters, because the difference of two finite numbers need not be finite.
            Spread::Linear => {
                let share = (within / 4.0 - low / 4.0) / (high / 4.0 - low / 4.0);
                start + share * (end - start)
            }
            Spread::Log => start + log_share(within, low, high) * (end - start),
            Spread::ZeroAndLog { first } if within < first => {
                start + (within / first) * ZERO_ROOM * (end - start).signum()
            }
            Spread::ZeroAndLog { first } => {
                let start = start + ZERO_ROOM * (end - start).signum();
                start + log_share(within, first, high) * (end - start)
            }
        }
    }
}

fn log_share(number: f64, low: f64, high: f64) -> f64 {
    ((number.ln() - low.ln()) / (high.ln() - low.ln())).clamp(0.0, 1.0)
}

/// A range that is not empty, and wide enough to divide.
fn apart((low, high): (f64, f64)) -> (f64, f64) {
    let size = low.abs().max(high.abs());
    let span = high / 2.0 - low / 2.0;
    if span > 1e-9 * size && span > 1e-290 {
        return (low, high);
    }
    let margin = if size < 1e-280 { 0.5 } else { 0.05 * size };
    ((low - margin).max(f64::MIN), (high + margin).min(f64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(scale: &Scale, room: f64) -> Vec<f64> {
        scale.ticks(room).into_iter().filter(|tick| tick.labelled).map(|tick| tick.number).collect()
    }

    #[test]
    fn log_axes_have_decade_ticks_and_0_a_place_before_the_break() {
        let steps = Scale::steps(Steps::of([0, 5, 100, 1500]), true, (0.0, 600.0));
        assert!(steps.is_log());
        assert_eq!((steps.map(0.0), steps.map(5.0), steps.map(1500.0)), (0.0, 26.0, 600.0));
        assert_eq!(labels(&steps, 42.0), [0.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]);
        let minor: Vec<f64> = steps.ticks(42.0).iter().map(|tick| tick.number).collect();
        assert!(minor.contains(&300.0) && minor.contains(&6.0), "{minor:?}");
        let long = Scale::log((1e-9, 1.0), (0.0, 300.0));
        assert_eq!(labels(&long, 40.0), [1e-8, 1e-6, 1e-4, 1e-2, 1.0]);
    }

    #[test]
    fn extreme_numbers_have_an_axis() {
        for (low, high) in [
            (f64::MIN, f64::MAX),
            (1e-322, 1e-322),
            (0.0, 5e-324),
            (-1e308, 1e308),
            (1e300, 1e300),
            (0.0, f64::MIN_POSITIVE),
        ] {
            for scale in [
                Scale::linear((low, high), (10.0, 500.0)),
                Scale::linear_around((low, high), (10.0, 500.0)),
            ] {
                for number in [low, high, 0.0] {
                    let at = scale.map(number);
                    assert!((10.0..=500.0).contains(&at), "{scale:?}: {number:e} at {at}");
                }
                let ticks = scale.ticks(40.0);
                assert!(
                    ticks.len() < 20 && ticks.iter().all(|tick| tick.number.is_finite()),
                    "{scale:?} {ticks:?}"
                );
            }
        }
        let log = Scale::log((1e-322, 1e308), (10.0, 500.0));
        assert!((10.0..=500.0).contains(&log.map(1.0)) && log.ticks(40.0).len() < 20);
    }

    proptest! {
        #[test]
        fn a_scale_keeps_order_and_stays_inside(low in -1e3..1e3f64, size in 0.0..1e4f64, shares in (0.0..1.0f64, 0.0..1.0f64)) {
            let log_low = low.abs() + 0.1;
            for (scale, low) in [
                (Scale::linear((low, low + size), (10.0, 500.0)), low),
                (Scale::linear_around((low, low + size), (10.0, 500.0)), low),
                (Scale::log((log_low, log_low + size), (10.0, 500.0)), log_low),
                (Scale::steps(Steps::of([0, 5, 5 + size as u64]), true, (10.0, 500.0)), 0.0),
                (Scale::steps(Steps::of([0, 5, 5 + size as u64]), false, (10.0, 500.0)), 0.0),
            ] {
                let (a, b) = (low + size * shares.0.min(shares.1), low + size * shares.0.max(shares.1));
                let (a, b) = (scale.map(a), scale.map(b));
                prop_assert!(10.0 - 1e-9 <= a && a <= b + 1e-9 && b <= 500.0 + 1e-9, "{scale:?}: {a} {b}");
                let labels = labels(&scale, 26.0);
                for pair in labels.windows(2) {
                    prop_assert!(scale.map(pair[1]) - scale.map(pair[0]) >= 25.9, "{scale:?}: {pair:?}");
                }
                prop_assert!(!labels.is_empty());
            }
        }
    }
}
