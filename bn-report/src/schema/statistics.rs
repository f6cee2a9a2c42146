//! The `statistics` column of `metrics.csv`: what the batch-norm layers normalized with.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// What the batch-norm layers normalized with. A net without such a layer has none (an empty cell).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Statistics {
    /// The statistics of the batch itself.
    Batch,
    /// The moving averages gathered while training.
    Moving,
    /// The statistics of a pass over training data with these weights.
    Population,
    /// Moving averages of another decay, gathered beside those of the layers.
    Shadow(Shadow),
}

/// Moving averages that are tracked beside a run and change nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shadow {
    /// Weight of the old value.
    pub decay: ShadowDecay,
    /// Which of the averages are divided by the weight that they have gathered.
    pub debiased: Debiased,
}

/// The decay of [`Shadow`] averages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ShadowDecay {
    /// The same at every update; the bits of a number of 0 or more, and below 1.
    Constant(u64),
    /// The plain mean of all batches so far.
    Cumulative,
}

/// Which of the averages of mean and variance are debiased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Debiased {
    /// Neither.
    None,
    /// The mean's.
    Mean,
    /// The variance's.
    Variance,
    /// Both.
    Both,
}

impl ShadowDecay {
    /// A constant decay; none unless `0 <= decay < 1`.
    pub fn constant(decay: f64) -> Option<Self> {
        // Adding 0 turns -0 into 0: equal numbers are equal decays.
        (0.0..1.0).contains(&decay).then(|| Self::Constant((decay + 0.0).to_bits()))
    }
}

/// `batch`, `moving`, `population`, `shadow:0.99`, `shadow:cumulative`, `shadow:0.99:debias-both`.
impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shadow { decay, debiased } = match self {
            Self::Batch => return f.write_str("batch"),
            Self::Moving => return f.write_str("moving"),
            Self::Population => return f.write_str("population"),
            Self::Shadow(shadow) => shadow,
        };
        match decay {
            ShadowDecay::Constant(bits) => write!(f, "shadow:{}", f64::from_bits(*bits))?,
            ShadowDecay::Cumulative => f.write_str("shadow:cumulative")?,
        }
        f.write_str(match debiased {
            Debiased::None => "",
            Debiased::Mean => ":debias-mean",
            Debiased::Variance => ":debias-variance",
            Debiased::Both => ":debias-both",
        })
    }
}

impl FromStr for Statistics {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "batch" => return Ok(Self::Batch),
            "moving" => return Ok(Self::Moving),
            "population" => return Ok(Self::Population),
            _ => {}
        }
        let unknown = || {
            format!(
                "unknown statistics {text:?}; expected \"batch\", \"moving\", \"population\" or \"shadow:<decay>\""
            )
        };
        let shadow = text.strip_prefix("shadow:").ok_or_else(unknown)?;
        let (decay, debiased) = match shadow.split_once(":debias-") {
            None => (shadow, Debiased::None),
            Some((decay, "mean")) => (decay, Debiased::Mean),
            Some((decay, "variance")) => (decay, Debiased::Variance),
            Some((decay, "both")) => (decay, Debiased::Both),
            Some(_) => return Err(unknown()),
        };
        let decay = if decay == "cumulative" {
            ShadowDecay::Cumulative
        } else {
            decay.parse().ok().and_then(ShadowDecay::constant).ok_or_else(unknown)?
        };
        Ok(Self::Shadow(Shadow { decay, debiased }))
    }
}

impl Serialize for Statistics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Statistics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_statistics_reads_back_as_it_was_written() {
        let mut all = vec![Statistics::Batch, Statistics::Moving, Statistics::Population];
        let debiased = [Debiased::None, Debiased::Mean, Debiased::Variance, Debiased::Both];
        for debiased in debiased {
            for decay in [0.0, 0.5, 0.99, 0.999, 1.0 - f64::EPSILON] {
                let decay = ShadowDecay::constant(decay).unwrap();
                all.push(Statistics::Shadow(Shadow { decay, debiased }));
            }
            all.push(Statistics::Shadow(Shadow { decay: ShadowDecay::Cumulative, debiased }));
        }
        for statistics in all {
            assert_eq!(statistics.to_string().parse(), Ok(statistics));
        }
        let short = "shadow:0.99".parse::<Statistics>().unwrap();
        assert_eq!(short.to_string(), "shadow:0.99");
    }

    #[test]
    fn other_words_are_refused() {
        for text in [
            "",
            "Batch",
            "shadow",
            "shadow:",
            "shadow:1",
            "shadow:-0.1",
            "shadow:nan",
            "shadow:0.9:debias-all",
        ] {
            let error = text.parse::<Statistics>().unwrap_err();
            assert!(error.contains("shadow:<decay>"), "{error}");
        }
        assert_eq!(ShadowDecay::constant(-0.0), ShadowDecay::constant(0.0));
    }
}
