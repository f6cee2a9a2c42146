//! `[claim]`: what a source says about two arms, in a form that measurements can support or contradict.

use serde::{Deserialize, Serialize};
use std::fmt;

use super::{Split, Statistics};

/// What the source of an experiment says: `measure` of `arm` is higher than, lower than or the same as that of `baseline`.
///
/// ```
/// let claim: bn_report::schema::Claim = toml::from_str(r#"
///     text = "Batch normalization reaches the accuracy of the plain net in fewer steps."
///     source = "Ioffe & Szegedy 2015, figure 2"
///     number = "14 times fewer steps"
///     arm = "batch norm"
///     baseline = "no normalization"
///     measure = "steps-to-target"
///     expected = "lower"
/// "#).expect("a claim");
/// assert_eq!(claim.measure.to_string(), "steps to target, sustained");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// The claim in a sentence.
    pub text: String,
    /// Where it is made: authors, year, place in the paper.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The number that the source gives, in its own words and units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// Name of the arm that the claim is about.
    pub arm: String,
    /// Name of the arm that it is compared with. Defaults to the experiment's baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// Which way the arm's measure lies from the baseline's.
    pub expected: Expected,
    /// Differences up to this size count as the same, in the measure's unit; needed where `expected` is `same`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
    /// What is measured: the key `measure`, with `metric`, `split`, `statistics`, `against` and `layer` where it takes them.
    #[serde(flatten)]
    pub measure: Measure,
}

/// Where a claim expects an arm's measure, seen from the baseline's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expected {
    /// Above it.
    Higher,
    /// Below it.
    Lower,
    /// No further away than the claim's margin.
    Same,
}

impl Expected {
    /// The word in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Higher => "higher",
            Self::Lower => "lower",
            Self::Same => "same",
        }
    }
}

/// One number of each run that a claim can be about, by the key `measure`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "measure", rename_all = "kebab-case")]
pub enum Measure {
    /// The last value of a metric.
    Final(Quantity),
    /// The best value of a metric.
    Best(Quantity),
    /// The area under a metric's curve, divided by the steps that it spans: its mean over training.
    Area(Quantity),
    /// The step from which the experiment's target stays met.
    StepsToTarget,
    /// The first step at which the experiment's target is met.
    FirstTouch,
    /// The share of runs that diverge.
    DivergedShare,
    /// The last value of `metric` by `statistics` minus that by `against`, on the same examples with the same weights.
    StatisticsGap {
        /// The metric and how it is read.
        #[serde(flatten)]
        quantity: Quantity,
        /// The statistics that are subtracted. Defaults to `batch`.
        #[serde(default = "batch")]
        against: Statistics,
    },
    /// The last value of `metric` on `split` minus that on the training examples.
    SplitGap(Quantity),
    /// The last value of a metric of `layers.csv`, averaged over the layers whose path matches.
    LayerFinal(LayerQuantity),
    /// The mean over all steps of a metric of `layers.csv`, averaged over the layers whose path matches.
    LayerMean(LayerQuantity),
    /// The largest minus the smallest value of a metric of `layers.csv` over training, averaged over the layers whose path
    /// matches: how far it moves.
    LayerRange(LayerQuantity),
}

/// A metric, the examples it is measured on, and what the batch-norm layers normalize with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantity {
    /// `accuracy`, `loss`, or what an experiment adds.
    pub metric: String,
    /// Defaults to `test`.
    #[serde(default = "test")]
    pub split: Split,
    /// Defaults to `moving`; a net without batch-norm layers is measured as it is.
    #[serde(default = "moving")]
    pub statistics: Statistics,
}

/// A metric of `layers.csv` and the layers to read it of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerQuantity {
    /// For instance `gradient_norm`.
    pub metric: String,
    /// Path of a layer, where `*` stands for any characters: `hidden*.norm`. Of several, `hidden3.norm | hidden3`, the first that a
    /// run has. Defaults to `*`.
    #[serde(default = "every_layer")]
    pub layer: String,
}

impl LayerQuantity {
    /// The pattern to read: the first that matches any of the paths.
    pub fn pattern<'a>(&self, paths: impl Iterator<Item = &'a str> + Clone) -> Option<&str> {
        let mut patterns = self.layer.split('|').map(str::trim);
        patterns.find(|pattern| paths.clone().any(|path| is_match(pattern, path)))
    }
}

/// Whether a pattern, where `*` stands for any characters, matches a path.
pub(crate) fn is_match(pattern: &str, path: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = path.strip_prefix(parts.next().unwrap_or("")) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn test() -> Split {
    Split::Test
}

fn moving() -> Statistics {
    Statistics::Moving
}

fn batch() -> Statistics {
    Statistics::Batch
}

fn every_layer() -> String {
    "*".to_owned()
}

/// `test accuracy, by moving statistics`.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, by {} statistics", self.split.name(), self.metric, self.statistics)
    }
}

/// `gradient_norm of hidden*`.
impl fmt::Display for LayerQuantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.layer.as_str() {
            "*" => write!(f, "{} of all layers", self.metric),
            layers => write!(f, "{} of {}", self.metric, layers.replace(" | ", " or ")),
        }
    }
}

/// In words: `final test accuracy, by moving statistics`.
impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Final(quantity) => write!(f, "final {quantity}"),
            Self::Best(quantity) => write!(f, "best {quantity}"),
            Self::Area(quantity) => write!(f, "mean over training of {quantity}"),
            Self::StepsToTarget => f.write_str("steps to target, sustained"),
            Self::FirstTouch => f.write_str("steps to target, first touch"),
            Self::DivergedShare => f.write_str("share of runs that diverge"),
            Self::StatisticsGap { quantity, against } => {
                let Quantity { metric, split, statistics } = quantity;
                write!(
                    f,
                    "final {} {metric}, {statistics} minus {against} statistics",
                    split.name()
                )
            }
            Self::SplitGap(Quantity { metric, split, statistics }) => {
                write!(
                    f,
                    "final {metric}, {} minus train, by {statistics} statistics",
                    split.name()
                )
            }
            Self::LayerFinal(layer) => write!(f, "final {layer}"),
            Self::LayerMean(layer) => write!(f, "mean over training of {layer}"),
            Self::LayerRange(layer) => write!(f, "range over training of {layer}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quantity() -> Quantity {
        Quantity { metric: "accuracy".into(), split: Split::Test, statistics: Statistics::Moving }
    }

    #[test]
    fn every_measure_reads_back_as_it_was_written() {
        let layer = LayerQuantity { metric: "gradient_norm".into(), layer: "hidden*".into() };
        let gap = Measure::StatisticsGap { quantity: quantity(), against: Statistics::Population };
        for measure in [
            Measure::Final(quantity()),
            Measure::Best(quantity()),
            Measure::Area(quantity()),
            Measure::StepsToTarget,
            Measure::FirstTouch,
            Measure::DivergedShare,
            gap,
            Measure::SplitGap(quantity()),
            Measure::LayerFinal(layer.clone()),
            Measure::LayerMean(layer.clone()),
            Measure::LayerRange(layer),
        ] {
            let claim = Claim {
                text: "a beats b".into(),
                source: None,
                number: Some("2x".into()),
                arm: "a".into(),
                baseline: Some("b".into()),
                expected: Expected::Same,
                margin: Some(0.5),
                measure,
            };
            let text = toml::to_string(&claim).unwrap();
            assert_eq!(toml::from_str::<Claim>(&text).unwrap(), claim, "{text}");
        }
    }

    #[test]
    fn what_a_quantity_leaves_out_has_a_default() {
        let text =
            "text = 't'\narm = 'a'\nexpected = 'higher'\nmeasure = 'final'\nmetric = 'accuracy'";
        let claim: Claim = toml::from_str(text).unwrap();
        assert_eq!(claim.measure, Measure::Final(quantity()));
        let unknown = text.replace("'final'", "'last'");
        assert!(toml::from_str::<Claim>(&unknown).is_err());
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        for (layer, path, matches) in [
            ("*", "hidden1.norm", true),
            ("hidden1", "hidden1", true),
            ("hidden1", "hidden1.norm", false),
            ("hidden*.norm", "hidden12.norm", true),
            ("hidden*.norm", "hidden12.weight", false),
            ("*.norm", "norm", false),
            ("a*a", "a", false),
            ("a*b*c", "a.b.b.c", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(is_match(layer, path), matches, "{layer} {path}");
        }
    }

    #[test]
    fn of_several_paths_the_first_that_a_run_has_is_read() {
        let quantity = LayerQuantity { metric: "m".into(), layer: "a.norm | a | b*".into() };
        for (paths, pattern) in [
            (&["a", "a.norm"][..], Some("a.norm")),
            (&["a", "b1"], Some("a")),
            (&["b1", "b2"], Some("b*")),
            (&["c"], None),
            (&[], None),
        ] {
            assert_eq!(quantity.pattern(paths.iter().copied()), pattern, "{paths:?}");
        }
    }

    proptest! {
        #[test]
        fn a_pattern_made_from_a_path_matches_it(path in "[a-c.é]{0,12}", cut in 0usize..12, end in 0usize..12) {
            let characters: Vec<char> = path.chars().collect();
            let (from, to) = (cut.min(characters.len()), end.min(characters.len()));
            let (from, to) = (from.min(to), from.max(to));
            let pattern: String =
                characters[..from].iter().chain(&['*']).chain(&characters[to..]).collect();
            prop_assert!(is_match(&pattern, &path));
        }
    }
}
