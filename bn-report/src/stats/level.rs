//! How much an interval covers.

use std::fmt;
use std::str::FromStr;

use super::summary::quantile;

/// The level of intervals, in percent: 50 to 99.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level(u8);

impl Default for Level {
    /// 95 %.
    fn default() -> Self {
        Self(95)
    }
}

impl Level {
    /// The probability below the upper end: 0.975 for 95 %.
    pub fn upper(self) -> f64 {
        (100.0 + f64::from(self.0)) / 200.0
    }

    /// The probability below the lower end: 0.025 for 95 %.
    pub fn lower(self) -> f64 {
        (100.0 - f64::from(self.0)) / 200.0
    }

    /// The ends between which the middle of sorted values lies; none without values.
    pub(super) fn ends(self, sorted: &[f64]) -> Option<(f64, f64)> {
        Some((quantile(sorted, self.lower())?, quantile(sorted, self.upper())?))
    }
}

/// `95 %`.
impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let percent = text.parse().ok().filter(|percent| (50..=99).contains(percent));
        percent
            .map(Self)
            .ok_or_else(|| "expected a whole number of percent from 50 to 99".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Summary;

    #[test]
    fn levels_are_percents_with_an_end_on_each_side() {
        assert_eq!((Level::default().lower(), Level::default().upper()), (0.025, 0.975));
        assert_eq!("90".parse::<Level>().map(|level| level.to_string()), Ok("90 %".to_owned()));
        for text in ["", "0", "49", "100", "0.95", "95 %", "-95"] {
            assert!(text.parse::<Level>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_higher_level_has_a_wider_interval() {
        let values: Vec<f64> = (0..12).map(|i| f64::from(i * i)).collect();
        let interval = |percent: &str| {
            let level = percent.parse().expect("a level");
            Summary::at(level, values.iter().copied()).interval.expect("an interval")
        };
        let [narrow, usual, wide] = ["80", "95", "99"].map(interval);
        assert!(wide.low < usual.low && usual.low < narrow.low, "{wide:?} {usual:?} {narrow:?}");
        assert!(
            narrow.high < usual.high && usual.high < wide.high,
            "{wide:?} {usual:?} {narrow:?}"
        );
        assert_eq!(Some(usual), Summary::of(values.iter().copied()).interval);
    }
}
