//! Experiment-level keys: name, question, seeds, baseline, target and claim.

use super::claim;
use crate::keys::{Entry, Found, Key, Keys, Leaves, RunLength, list, number, text, whole, words};
use bn_report::schema::{Claim, Split, Statistics, Target};

/// The experiment-level settings.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) name: Option<String>,
    pub(super) question: Option<String>,
    pub(super) seeds: Vec<u64>,
    pub(super) baseline: Option<String>,
    pub(super) target: Option<Target>,
    pub(super) claim: Option<Claim>,
}

/// Reads the head; `None` if something is wrong.
pub(super) fn read(leaves: &Leaves, found: &mut Found) -> Option<Head> {
    let mut keys = Keys::new(leaves, RunLength::UNKNOWN, found);
    let about = "name of the runs' folder; the file's name if absent";
    let name = keys.optional(Key::new("name", text(), about), "template".to_owned());
    let about = "shown at the top of the report";
    let example = "What does this experiment ask?".to_owned();
    let question = keys.optional(Key::new("question", text(), about), example);
    let about =
        "every arm is trained once per seed; for a seed, arms share initial weights and batches";
    let seeds = Key::new("seeds", list("seeds", whole(0..=i64::MAX as u64)), about);
    let seeds = keys.with_default(seeds, vec![0, 1, 2, 3, 4]);
    let is_distinct = |seeds: &Vec<u64>| {
        seeds.iter().collect::<std::collections::BTreeSet<_>>().len() == seeds.len()
    };
    if let Some(seeds) = seeds.as_ref().filter(|seeds| seeds.is_empty() || !is_distinct(seeds)) {
        keys.refuse(
            "seeds",
            format!("`seeds` is {seeds:?}; expected at least one, without duplicates"),
        );
    }
    let about = "the arm the report compares with; the claim's or the first arm if absent";
    let baseline = Key::new("baseline", text(), about);
    let baseline = keys.optional(baseline, "no normalization".to_owned());
    let target = target(&mut keys.table("target"));
    let has_target = !matches!(target, Some(None));
    let claim = claim::read(&mut keys.table("claim"), has_target);
    Some(Head {
        name: name?,
        question: question?,
        seeds: seeds?,
        baseline: baseline?,
        target: target?,
        claim: claim?,
    })
}

/// The experiment-level keys.
pub(super) fn entries() -> Vec<Entry> {
    let mut found = Found::default();
    read(&Leaves::new(), &mut found);
    found.entries
}

fn target(keys: &mut Keys<'_>) -> Option<Option<Target>> {
    let metrics = words(&[
        ("accuracy", "accuracy", "reached from below"),
        ("loss", "loss", "reached from above"),
    ]);
    let metric = keys
        .optional(Key::new("metric", metrics, "the metric that must reach the target"), "accuracy");
    let about = "the report counts the steps until an arm reaches this value";
    let value = keys.optional(Key::new("value", number(), about), 0.9);
    let splits = [Split::Train, Split::Validation, Split::Test];
    let splits = words(&splits.map(|split| (split.name(), split, "")));
    let about = "the examples to measure on";
    let split = keys.with_default(Key::new("split", splits, about), Split::Validation);
    let statistics = words(&[("moving", Statistics::Moving, ""), ("batch", Statistics::Batch, "")]);
    let about = "which statistics the norm layers use";
    let statistics = Key::new("statistics", statistics, about);
    let statistics = keys.with_default(statistics, Statistics::Moving);

    let names = ["metric", "value", "split", "statistics"];
    if let Some(given) = names.into_iter().find(|name| keys.is_given(name)) {
        for missing in &names[..2] {
            if !keys.is_given(missing) {
                let (given_path, path) = (keys.path(given), keys.path(missing));
                keys.refuse(given, format!("`{given_path}` also needs `{path}`"));
            }
        }
    }
    let (metric, value, split, statistics) = (metric?, value?, split?, statistics?);
    Some(metric.zip(value).map(|(metric, value)| Target {
        metric: metric.to_owned(),
        value,
        split,
        statistics,
    }))
}
