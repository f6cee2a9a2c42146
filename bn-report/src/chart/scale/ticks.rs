//! The round numbers that an axis marks. Pure.

use super::{Scale, Spread, ZERO_ROOM};

/// A number on an axis that is marked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tick {
    /// The number.
    pub number: f64,
    /// Whether it is written out.
    pub labelled: bool,
}

impl Scale {
    /// Round numbers in the range; those written out are at least `room` pixels apart.
    pub fn ticks(&self, room: f64) -> Vec<Tick> {
        let (low, high) = self.numbers;
        match self.spread {
            Spread::Linear => self.linear_ticks(room),
            Spread::Log => self.log_ticks((low, high), room),
            Spread::ZeroAndLog { first } => {
                let mut ticks = vec![Tick { number: 0.0, labelled: true }];
                let zero = self.map(0.0);
                for tick in self.log_ticks((first, high), room) {
                    let far = (self.map(tick.number) - zero).abs() >= room.min(ZERO_ROOM);
                    ticks.push(Tick { labelled: tick.labelled && far, ..tick });
                }
                ticks
            }
        }
    }

    fn linear_ticks(&self, room: f64) -> Vec<Tick> {
        let (low, high) = self.numbers;
        let length = (self.pixels.1 - self.pixels.0).abs();
        let count = (length / room).max(1.0);
        let step = round_step(high / count - low / count);
        let mut ticks = Vec::new();
        let mut index = (low / step - 1e-9).ceil();
        while index <= high / step + 1e-9 && ticks.len() <= count as usize + 1 {
            ticks.push(Tick { number: tidy(index * step), labelled: true });
            index += 1.0;
        }
        ticks
    }

    /// Decades, and within few of them 2 and 5 times those too; the nine parts of each decade are marked where there is room.
    fn log_ticks(&self, (low, high): (f64, f64), room: f64) -> Vec<Tick> {
        let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        let decade = (self.map(high) - self.map(low)).abs() / (high.log10() - low.log10());
        let every = (room / decade).ceil().max(1.0) as i32;
        let mut ticks = Vec::new();
        for power in first..=last {
            let factors = if decade >= 24.0 { 1..=9 } else { 1..=1 };
            for factor in factors {
                let number = tidy(f64::from(factor) * power_of_ten(power));
                if !(low * (1.0 - 1e-9)..=high * (1.0 + 1e-9)).contains(&number) || number == 0.0 {
                    continue;
                }
                let labelled = match factor {
                    1 => power % every == 0,
                    2 | 5 => decade >= 3.4 * room,
                    _ => false,
                };
                // Marks closer than this run into each other.
                if labelled || decade >= 6.0 {
                    ticks.push(Tick { number, labelled });
                }
            }
        }
        let has_steps = ticks.len() >= 2;
        if !has_steps {
            // Less than the step from one part of a decade to the next: round numbers in equal steps.
            ticks = self.linear_ticks(room);
        }
        if !has_steps || ticks.iter().filter(|tick| tick.labelled).count() < 2 {
            label_spaced(self, &mut ticks, room);
        }
        ticks
    }
}

/// Labels as many ticks as there is room for, first to last: for less than a decade.
fn label_spaced(scale: &Scale, ticks: &mut [Tick], room: f64) {
    let mut last: Option<f64> = None;
    for tick in ticks {
        let at = scale.map(tick.number);
        tick.labelled = last.is_none_or(|last| (at - last).abs() >= room);
        last = if tick.labelled { Some(at) } else { last };
    }
}

/// 1, 2 or 5 times a power of ten, no less than `step`.
pub(super) fn round_step(step: f64) -> f64 {
    let power = power_of_ten(step.log10().floor() as i32);
    let factor =
        [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= step * (1.0 - 1e-9));
    let rounded = tidy(factor.unwrap_or(10.0) * power);
    if rounded.is_finite() && rounded > 0.0 { rounded } else { step }
}

fn power_of_ten(power: i32) -> f64 {
    // Parsing is correctly rounded, also where `powi` underflows on the way.
    format!("1e{power}").parse().unwrap_or(f64::INFINITY)
}

/// Without the last digits that arithmetic leaves: 0.3, not 0.30000000000000004.
fn tidy(number: f64) -> f64 {
    format!("{number:.10e}").parse().unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: &Scale, room: f64) -> Vec<f64> {
        scale.ticks(room).into_iter().filter(|tick| tick.labelled).map(|tick| tick.number).collect()
    }

    #[test]
    fn ticks_are_round() {
        let linear = Scale::linear((0.0, 1.0), (300.0, 0.0));
        assert_eq!(labels(&linear, 50.0), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        assert_eq!(
            labels(&Scale::log((928.0, 973.0), (0.0, 500.0)), 60.0),
            [930.0, 940.0, 950.0, 960.0, 970.0]
        );
        let narrow = Scale::log((0.04, 2.4), (200.0, 0.0));
        assert_eq!(labels(&narrow, 20.0), [0.05, 0.1, 0.2, 0.5, 1.0, 2.0]);
        assert_eq!(Scale::linear_around((0.912, 0.978), (0.0, 500.0)).numbers(), (0.9, 0.98));
    }
}
