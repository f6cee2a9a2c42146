//! The keys of `[claim]`: a published claim about two arms, for the report to check.

use crate::keys::{Key, Keys, Leaves, Problem, Takes, did_you_mean, number, text, words};
use bn_report::schema::{Claim, Expected, LayerQuantity, Measure, Quantity, Split, Statistics};

/// The kinds of measures, each with its keys and meaning.
const MEASURES: [(&str, &[&str], &str); 11] = [
    ("final", &["metric", "split", "statistics"], "the last value of a metric"),
    ("best", &["metric", "split", "statistics"], "its best value"),
    ("area", &["metric", "split", "statistics"], "its mean over training"),
    ("steps-to-target", &[], "the step after which the target stays met"),
    ("first-touch", &[], "the first step that meets the target"),
    ("diverged-share", &[], "the share of runs that diverge"),
    (
        "statistics-gap",
        &["metric", "split", "statistics", "against"],
        "the last value under `statistics` minus that under `against`",
    ),
    (
        "split-gap",
        &["metric", "split", "statistics"],
        "the last value on `split` minus the one on train",
    ),
    ("layer-final", &["metric", "layer"], "the last value of a metric of layers.csv"),
    ("layer-mean", &["metric", "layer"], "its mean over training"),
    ("layer-range", &["metric", "layer"], "its range over training"),
];

/// The keys that only some measures take.
const OF_MEASURES: [&str; 5] = ["metric", "split", "statistics", "against", "layer"];

/// All keys of the table.
const ALL: [&str; 13] = [
    "text",
    "source",
    "number",
    "arm",
    "baseline",
    "measure",
    "metric",
    "split",
    "statistics",
    "against",
    "layer",
    "expected",
    "margin",
];

/// Reads the table. Returns `Some(None)` if it is absent, `None` if something is wrong.
pub(super) fn read(keys: &mut Keys<'_>, has_target: bool) -> Option<Option<Claim>> {
    let is_given = ALL.iter().any(|name| keys.is_given(name));
    let example = "Batch normalization reaches a higher accuracy.".to_owned();
    let claim = Key::new("text", text(), "what the source says, in a sentence");
    let claim = keys.optional(claim, example);
    let about = "the source of the claim";
    let source = keys
        .optional(Key::new("source", text(), about), "Ioffe & Szegedy 2015, figure 1".to_owned());
    let about = "the number in the source, in its words and units";
    let stated =
        keys.optional(Key::new("number", text(), about), "14 times fewer steps".to_owned());
    let about = "the arm the claim is about";
    let arm = keys.optional(Key::new("arm", text(), about), "batch norm".to_owned());
    let about = "the arm to compare with; the experiment's baseline if absent";
    let baseline =
        keys.optional(Key::new("baseline", text(), about), "no normalization".to_owned());
    let kinds: Vec<_> = MEASURES.iter().map(|(name, _, about)| (*name, *name, *about)).collect();
    let measure =
        keys.optional(Key::new("measure", words(&kinds), "what is measured of each run"), "final");
    let about = "a metric of metrics.csv, or of layers.csv";
    let metric = keys.optional(Key::new("metric", text(), about), "accuracy".to_owned());
    let splits = [Split::Train, Split::Validation, Split::Test];
    let splits = words(&splits.map(|split| (split.name(), split, "")));
    let about = "the examples to measure on; test if absent";
    let split = keys.optional(Key::new("split", splits, about), Split::Test);
    let about = "which statistics the norm layers use; moving if absent";
    let by = keys.optional(Key::new("statistics", statistics(), about), Statistics::Moving);
    let about = "which statistics are subtracted; batch if absent";
    let against = keys.optional(Key::new("against", statistics(), about), Statistics::Batch);
    let about = "path of the layers, `*` for any characters; of several, `a | b`, the first that a run has; all if absent";
    let layer = keys.optional(Key::new("layer", text(), about), "hidden*.norm".to_owned());
    let expected = words(&[
        ("higher", Expected::Higher, "the arm's value is above the baseline's"),
        ("lower", Expected::Lower, "the arm's value is below the baseline's"),
        ("same", Expected::Same, "the values differ by at most `margin`"),
    ]);
    let expected = keys.optional(
        Key::new("expected", expected, "the expected direction of the measure"),
        Expected::Higher,
    );
    let about = "differences up to this count as the same, in the measure's unit";
    let margin = keys.optional(Key::new("margin", number(), about), 0.01);
    if !is_given {
        return Some(None);
    }
    for needed in ["text", "arm", "measure", "expected"] {
        if !keys.is_given(needed) {
            let given = ALL.iter().find(|name| keys.is_given(name)).copied().unwrap_or(needed);
            let (path, given_path) = (keys.path(needed), keys.path(given));
            keys.refuse(given, format!("`{given_path}` also needs `{path}`"));
        }
    }
    let (measure, expected) = (measure??, expected??);
    let takes = MEASURES.iter().find(|(name, ..)| *name == measure)?.1;
    for name in OF_MEASURES {
        if keys.is_given(name) && !takes.contains(&name) {
            let path = keys.path(name);
            keys.refuse(name, format!("`{path}` has no effect: measure is {measure:?}"));
        }
    }
    if takes.contains(&"metric") && !keys.is_given("metric") {
        let (path, metric) = (keys.path("measure"), keys.path("metric"));
        keys.refuse("measure", format!("`{path}` {measure:?} also needs `{metric}`"));
    }
    if matches!(measure, "steps-to-target" | "first-touch") && !has_target {
        let path = keys.path("measure");
        keys.refuse("measure", format!("`{path}` {measure:?} needs [target]"));
    }
    let margin = margin?;
    if (expected == Expected::Same) != margin.is_some() {
        let (path, margin) = (keys.path("expected"), keys.path("margin"));
        let message = if expected == Expected::Same {
            format!("`{path}` \"same\" also needs `{margin}`")
        } else {
            format!("`{margin}` has no effect: `{path}` is {:?}", expected.name())
        };
        keys.refuse("expected", message);
    }
    let (metric, layer) = (metric?, layer?);
    let quantity = Quantity {
        metric: metric.clone().unwrap_or_default(),
        split: split?.unwrap_or(Split::Test),
        statistics: by?.unwrap_or(Statistics::Moving),
    };
    let of_layers = LayerQuantity {
        metric: metric.unwrap_or_default(),
        layer: layer.unwrap_or_else(|| "*".to_owned()),
    };
    let measure = match measure {
        "final" => Measure::Final(quantity),
        "best" => Measure::Best(quantity),
        "area" => Measure::Area(quantity),
        "steps-to-target" => Measure::StepsToTarget,
        "first-touch" => Measure::FirstTouch,
        "diverged-share" => Measure::DivergedShare,
        "statistics-gap" => {
            Measure::StatisticsGap { quantity, against: against?.unwrap_or(Statistics::Batch) }
        }
        "split-gap" => Measure::SplitGap(quantity),
        "layer-final" => Measure::LayerFinal(of_layers),
        "layer-range" => Measure::LayerRange(of_layers),
        _ => Measure::LayerMean(of_layers),
    };
    Some(Some(Claim {
        text: claim??,
        source: source?,
        number: stated?,
        arm: arm??,
        baseline: baseline?,
        expected,
        margin,
        measure,
    }))
}

/// Kinds of statistics, by their names in `metrics.csv`.
fn statistics() -> Takes<Statistics> {
    Takes::new(
        "\"moving\", \"batch\", \"population\" or \"shadow:<decay>\"",
        |value| value.as_str()?.parse().ok(),
        |statistics: &Statistics| toml::Value::String(statistics.to_string()),
    )
}

/// Records problems with arm names in `baseline` and `[claim]`.
pub(super) fn unknown_arms(leaves: &Leaves, names: &[String], problems: &mut Vec<Problem>) {
    for path in ["baseline", "claim.arm", "claim.baseline"] {
        let Some(leaf) = leaves.get(path) else { continue };
        let Some(name) = leaf.value.as_str().filter(|name| names.iter().all(|arm| arm != name))
        else {
            continue;
        };
        let hint = did_you_mean(name, names.iter().map(String::as_str))
            .map_or(String::new(), |meant| format!("; did you mean {meant:?}?"));
        let message = format!("`{path}` is {name:?}; expected the name of an arm{hint}");
        problems.push(Problem { place: leaf.value_place.clone(), message });
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Experiment, Flags, Registry, digest::Surroundings, plan::Plan};
    use super::*;

    const ARMS: &str = "optimizer.learning_rate = 0.1\ntrain.steps = 10\ntarget = { metric = 'accuracy', value = 0.9 }\n";
    const CLAIM: &str = "[claim]\ntext = 't'\narm = 'a'\nbaseline = 'b'\n";

    fn read(top: &str, claim: &str) -> Result<Experiment, String> {
        let text = format!("{top}{ARMS}{claim}[[arm]]\nname = 'a'\n[[arm]]\nname = 'b'\n");
        let read = Registry::built_in().parse("x", "x", &text, &Flags::default());
        read.map_err(|invalid| invalid.to_string())
    }

    #[test]
    fn every_measure_round_trips_through_the_manifest() {
        for (name, takes, _) in MEASURES {
            let metric = if takes.is_empty() { "" } else { "metric = 'loss'\n" };
            let claim = format!("{CLAIM}expected = 'lower'\nmeasure = '{name}'\n{metric}");
            let claim = read("", &claim).unwrap().claim.unwrap();
            let written = toml::to_string(&claim).unwrap();
            assert!(written.contains(&format!("measure = \"{name}\"")), "{written}");
            assert_eq!(toml::from_str::<Claim>(&written).unwrap(), claim);
        }
    }

    #[test]
    fn claim_and_baseline_are_in_the_manifest_but_not_in_the_digest() {
        let claim =
            format!("{CLAIM}expected = 'same'\nmargin = 0.1\nmeasure = 'final'\nmetric = 'loss'\n");
        let with = read("baseline = 'b'\n", &claim).unwrap();
        let without = read("", "").unwrap();
        let surroundings = Surroundings::default();
        let manifest = |experiment: &Experiment| {
            Plan::new(experiment).manifest(experiment, &surroundings, None, "v", "c")
        };
        let (with, without) = (manifest(&with), manifest(&without));
        assert_eq!(with.arms, without.arms);
        assert_eq!(with.baseline.as_deref(), Some("b"));
        assert_eq!(with.claim.as_ref().and_then(|claim| claim.margin), Some(0.1));
        let text = with.to_toml().unwrap();
        assert_eq!(toml::from_str::<bn_report::schema::Manifest>(&text).unwrap(), with);
        assert_eq!((without.baseline, without.claim), (None, None));
    }

    #[test]
    fn invalid_claims_are_refused_with_the_reason() {
        let of = |lines: &str| format!("{CLAIM}{lines}\n");
        for (claim, reason) in [
            (of("measure = 'final'\nmetric = 'loss'"), "`claim.text` also needs `claim.expected`"),
            ("[claim]\nmargin = 1\n".to_owned(), "also needs `claim.text`"),
            (of("expected = 'lower'\nmeasure = 'last'"), "\"final\""),
            (of("expected = 'lower'\nmeasure = 'final'"), "also needs `claim.metric`"),
            (
                of("expected = 'lower'\nmeasure = 'first-touch'\nlayer = 'x'"),
                "`claim.layer` has no effect",
            ),
            (of("expected = 'same'\nmeasure = 'first-touch'"), "also needs `claim.margin`"),
            (
                of("expected = 'lower'\nmeasure = 'first-touch'\nmargin = 1"),
                "`claim.margin` has no effect",
            ),
            (
                of("expected = 'lower'\nmeasure = 'final'\nmetric = 'loss'\nstatistics = 'ema'"),
                "shadow:<decay>",
            ),
            (
                of("expected = 'lower'\nmeasure = 'first-touch'").replace("'a'", "'c'"),
                "`claim.arm` is \"c\"; expected the name of an arm",
            ),
        ] {
            let message = read("", &claim).unwrap_err();
            assert!(message.contains(reason), "{claim}: {message}");
        }
        assert!(read("baseline = 'B'\n", "").unwrap_err().contains("did you mean \"b\"?"));
        assert!(read("", "").unwrap().claim.is_none());
    }
}
