//! From numbers to pixels: linear, logarithmic, and logarithmic with a zero, with round ticks. Pure.

/// How numbers spread over an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Spread {
    Linear,
    Log,
    /// `ln(1 + x / unit)`: linear below `unit`, logarithmic far above, and 0 has a place.
    LogFromZero {
        unit: f64,
    },
}

/// An axis: a range of numbers on a range of pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    spread: Spread,
    numbers: (f64, f64),
    pixels: (f64, f64),
}

impl Scale {
    /// A linear axis.
    pub fn linear(numbers: (f64, f64), pixels: (f64, f64)) -> Self {
        Self { spread: Spread::Linear, numbers: apart(numbers), pixels }
    }

    /// A linear axis that begins and ends at round numbers around the given ones.
    pub fn linear_around(numbers: (f64, f64), pixels: (f64, f64)) -> Self {
        let (low, high) = apart(numbers);
        let step = round_step((high - low) / 5.0);
        Self::linear(((low / step).floor() * step, (high / step).ceil() * step), pixels)
    }

    /// A logarithmic axis over positive numbers.
    pub fn log(numbers: (f64, f64), pixels: (f64, f64)) -> Self {
        Self { spread: Spread::Log, numbers: apart(numbers), pixels }
    }

    /// An axis of steps. Logarithmic where the last is more than eight times the first after 0; then it begins at 0 only where
    /// 0 is one of them.
    pub fn steps(steps: impl IntoIterator<Item = u64>, pixels: (f64, f64)) -> Self {
        let steps: Vec<u64> = steps.into_iter().collect();
        let last = steps.iter().copied().max().unwrap_or(1).max(1) as f64;
        let first = steps.iter().copied().filter(|&step| step > 0).min().unwrap_or(1) as f64;
        match last > 8.0 * first {
            true if steps.contains(&0) => {
                Self { spread: Spread::LogFromZero { unit: first }, numbers: (0.0, last), pixels }
            }
            true => Self::log((first, last), pixels),
            false => Self::linear((0.0, last), pixels),
        }
    }

    /// Whether equal distances mean equal ratios.
    pub fn is_log(&self) -> bool {
        self.spread != Spread::Linear
    }

    /// The range of numbers.
    pub fn numbers(&self) -> (f64, f64) {
        self.numbers
    }

    /// The range of pixels.
    pub fn pixels(&self) -> (f64, f64) {
        self.pixels
    }

    fn flat(&self, number: f64) -> f64 {
        match self.spread {
            Spread::Linear => number,
            Spread::Log => number.max(f64::MIN_POSITIVE).ln(),
            Spread::LogFromZero { unit } => (number / unit).ln_1p(),
        }
    }

    /// Where a number lies; beyond the range, at its end.
    pub fn map(&self, number: f64) -> f64 {
        let (low, high) = (self.flat(self.numbers.0), self.flat(self.numbers.1));
        let share = ((self.flat(number) - low) / (high - low)).clamp(0.0, 1.0);
        self.pixels.0 + share * (self.pixels.1 - self.pixels.0)
    }

    /// Round numbers in the range, at least `room` pixels apart.
    pub fn ticks(&self, room: f64) -> Vec<f64> {
        let (low, high) = self.numbers;
        let length = (self.pixels.1 - self.pixels.0).abs();
        let candidates: Vec<f64> = match self.spread {
            Spread::Linear => {
                let step = round_step((high - low) / (length / room).max(1.0));
                let first = (low / step - 1e-9).ceil() as i64;
                let last = (high / step + 1e-9).floor() as i64;
                (first..=last).map(|index| tidy(index as f64 * step)).collect()
            }
            Spread::Log => decades(low, high),
            Spread::LogFromZero { unit } => {
                std::iter::once(0.0).chain(decades(unit, high)).collect()
            }
        };
        let mut ticks: Vec<f64> = Vec::new();
        for tick in candidates {
            if ticks
                .last()
                .is_none_or(|last| (self.map(tick) - self.map(*last)).abs() >= room - 1e-6)
            {
                ticks.push(tick);
            }
        }
        ticks
    }
}

/// A range that is not empty.
fn apart((low, high): (f64, f64)) -> (f64, f64) {
    let margin = if low == 0.0 { 0.5 } else { 0.05 * low.abs() };
    if high - low > 1e-9 * low.abs().max(high.abs()) {
        (low, high)
    } else {
        (low - margin, high + margin)
    }
}

/// 1, 2 or 5 times a power of ten, no less than `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let factor =
        [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= step * (1.0 - 1e-9));
    tidy(factor.unwrap_or(10.0) * power)
}

/// 1, 2 and 5 times the powers of ten in a range.
fn decades(low: f64, high: f64) -> Vec<f64> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let all = (first..=last)
        .flat_map(|power| [1.0, 2.0, 5.0].map(|factor| tidy(factor * 10f64.powi(power))));
    all.filter(|tick| (low * (1.0 - 1e-9)..=high * (1.0 + 1e-9)).contains(tick)).collect()
}

/// Without the last digits that arithmetic leaves: 0.3, not 0.30000000000000004.
fn tidy(number: f64) -> f64 {
    format!("{number:.10e}").parse().unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ticks_are_round() {
        assert_eq!(
            Scale::linear((0.0, 1.0), (300.0, 0.0)).ticks(50.0),
            [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
        );
        assert_eq!(
            Scale::log((0.04, 2.4), (200.0, 0.0)).ticks(20.0),
            [0.05, 0.1, 0.2, 0.5, 1.0, 2.0]
        );
        let steps = Scale::steps([0, 50, 100, 1500], (0.0, 600.0));
        assert!(steps.is_log());
        assert_eq!(steps.ticks(30.0), [0.0, 50.0, 100.0, 200.0, 500.0, 1000.0]);
        assert_eq!(Scale::linear_around((0.912, 0.978), (0.0, 500.0)).numbers(), (0.9, 0.98));
    }

    proptest! {
        #[test]
        fn a_scale_keeps_order_and_stays_inside(low in -1e3..1e3f64, size in 0.0..1e4f64, shares in (0.0..1.0f64, 0.0..1.0f64)) {
            let log_low = low.abs() + 0.1;
            for (scale, low) in [
                (Scale::linear((low, low + size), (10.0, 500.0)), low),
                (Scale::linear_around((low, low + size), (10.0, 500.0)), low),
                (Scale::log((log_low, log_low + size), (10.0, 500.0)), log_low),
                (Scale::steps([0, 5, 5 + size as u64], (10.0, 500.0)), 0.0),
            ] {
                let (a, b) = (low + size * shares.0.min(shares.1), low + size * shares.0.max(shares.1));
                let (a, b) = (scale.map(a), scale.map(b));
                prop_assert!(10.0 - 1e-9 <= a && a <= b + 1e-9 && b <= 500.0 + 1e-9, "{scale:?}: {a} {b}");
                for pair in scale.ticks(40.0).windows(2) {
                    prop_assert!(scale.map(pair[1]) - scale.map(pair[0]) >= 39.9, "{scale:?}: {pair:?}");
                }
            }
        }
    }
}
