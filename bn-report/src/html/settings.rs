//! The settings as strings: those in which arms differ, those that only some have, those that all share.

use std::collections::{BTreeMap, BTreeSet};

use super::inline::Verbatim;
use crate::chart;
use crate::format;
use crate::read::{Arm, Experiment, Run};
use crate::text::printable;

/// Every setting of every arm that has begun, in one of three tables.
#[derive(Debug)]
pub(super) struct SettingsTable {
    /// Keys of which arms have different values.
    pub(super) keys: Vec<String>,
    /// Per arm: name, line sample, and its value of each key.
    pub(super) rows: Vec<(String, Verbatim, Vec<String>)>,
    /// Keys that only some arms have, all with the same value; and which arms.
    pub(super) partial: Vec<(String, String, String)>,
    /// Keys and values that all arms share.
    pub(super) shared: Vec<(String, String)>,
}

impl SettingsTable {
    pub(super) fn of(experiment: &Experiment) -> Self {
        let arms: Vec<(usize, &Arm, BTreeMap<String, String>)> = experiment
            .arms
            .iter()
            .enumerate()
            .filter(|(_, arm)| arm.runs.iter().any(|run| run.record().is_some()))
            .map(|(index, arm)| (index, arm, settings_of(arm)))
            .collect();
        let all: BTreeSet<&String> =
            arms.iter().flat_map(|(_, _, settings)| settings.keys()).collect();
        let mut table =
            Self { keys: Vec::new(), rows: Vec::new(), partial: Vec::new(), shared: Vec::new() };
        for key in all {
            let values: BTreeSet<&String> =
                arms.iter().filter_map(|(_, _, settings)| settings.get(key)).collect();
            let having: Vec<&Arm> = arms
                .iter()
                .filter(|(_, _, settings)| settings.contains_key(key))
                .map(|(_, arm, _)| *arm)
                .collect();
            match values.first() {
                Some(value) if values.len() == 1 && having.len() == arms.len() => {
                    table.shared.push((key.clone(), (*value).clone()));
                }
                Some(value) if values.len() == 1 => {
                    let arms: Vec<&Arm> = arms.iter().map(|(_, arm, _)| *arm).collect();
                    table.partial.push((key.clone(), (*value).clone(), name_some(&having, &arms)));
                }
                _ => table.keys.push(key.clone()),
            }
        }
        for (index, arm, settings) in &arms {
            let value =
                |key: &String| settings.get(key).map_or(format::ABSENT, String::as_str).to_owned();
            let values = table.keys.iter().map(value).collect();
            table.rows.push((printable(&arm.name), Verbatim(chart::key(*index)), values));
        }
        table
    }
}

/// Some of all arms in the fewest words: by name, or as all but the others.
fn name_some(some: &[&Arm], all: &[&Arm]) -> String {
    let names =
        |arms: &[&Arm]| arms.iter().map(|arm| printable(&arm.name)).collect::<Vec<_>>().join("; ");
    let others: Vec<&Arm> = all.iter().filter(|arm| !some.contains(arm)).copied().collect();
    if others.len() < some.len() { format!("all but {}", names(&others)) } else { names(some) }
}

/// The settings of a run: dotted keys and values.
pub(super) fn run_settings(run: &Run) -> BTreeMap<String, String> {
    let settings = run.record().map(|record| record.config.dotted_settings()).unwrap_or_default();
    let shown =
        |(key, value): (String, String)| (printable(&key), printable(value.trim_matches('"')));
    settings.into_iter().map(shown).collect()
}

/// The settings of an arm; where its runs differ, all their values.
fn settings_of(arm: &Arm) -> BTreeMap<String, String> {
    let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for run in &arm.runs {
        for (key, value) in run_settings(run) {
            values.entry(key).or_default().insert(value);
        }
    }
    values
        .into_iter()
        .map(|(key, values)| (key, values.into_iter().collect::<Vec<_>>().join(" or ")))
        .collect()
}
