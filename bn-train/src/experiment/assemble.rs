//! Assembles the arms of an experiment from its file.
//!
//! An arm combines the file's tables, its own keys and the command line, later ones taking precedence. A key that no reader
//! asks for, such as a typo or a key of another kind of network, is a problem.

use super::catalog::Catalog;
use super::raw::{Raw, RawArm};
use super::registry::Registry;
use super::train::LENGTHS;
use super::{Arm, settings};
use crate::keys::{Found, Leaf, Leaves, Place, Problem};
use bn_report::schema::slug;
use std::collections::BTreeMap;

/// What a run's `config.toml` has instead of `[[arm]]` and `seeds`.
pub(super) struct Single {
    pub(super) arm: String,
    pub(super) seed: Option<u64>,
}

/// Removes the keys that only a run's `config.toml` has, so that it can be read as an experiment.
pub(super) fn take_run_keys(raw: &mut Raw) -> Option<Single> {
    let arm = raw.leaves.get("arm")?.value.as_str()?.to_owned();
    raw.leaves.remove("arm");
    // The old run's provenance does not apply to the new run.
    raw.leaves.retain(|path, _| !path.starts_with("provenance."));
    let seed = raw.leaves.remove("seed").and_then(|leaf| {
        let seed = leaf.value.as_integer().and_then(|seed| u64::try_from(seed).ok());
        if seed.is_none() {
            let message = format!("`seed` is {}; expected a whole number from 0", leaf.value);
            raw.problems.push(Problem { place: leaf.value_place, message });
        }
        seed
    });
    Some(Single { arm, seed })
}

/// Notes for flags that override a value set in an arm, since the arm's name may then be misleading.
pub(super) fn notes(raw: &Raw) -> Vec<String> {
    let note = |(key, leaf): (&String, &Leaf)| {
        let name = |arm: &RawArm| Some(arm.leaves.get("name")?.value.to_string());
        let arms = raw.arms.iter().filter(|arm| arm.leaves.contains_key(key));
        let arms: Vec<String> = arms.filter_map(name).collect();
        let list = arms.join(", ");
        (!arms.is_empty()).then(|| {
            format!("{key} is {} in every arm; it overrides the value set in {list}", leaf.value)
        })
    };
    // `--name` renames the experiment, not its arms.
    raw.set.iter().filter(|(key, _)| *key != "name").filter_map(note).collect()
}

/// The names of the arms. Records problems with missing and conflicting names.
pub(super) fn names(raw: &Raw, default_name: &str, problems: &mut Vec<Problem>) -> Vec<String> {
    let mut slugs = BTreeMap::new();
    let mut names = Vec::new();
    for arm in &raw.arms {
        let leaf = arm.leaves.get("name");
        let name = match leaf {
            Some(leaf) => leaf.value.as_str().map_or("", str::trim).to_owned(),
            None if arm.place == Place::File => default_name.to_owned(),
            None => String::new(),
        };
        let place = leaf.map_or(arm.place.clone(), |leaf| leaf.value_place.clone());
        if name.is_empty() {
            let message = "every [[arm]] needs a `name` that is not empty".to_owned();
            problems.push(Problem { place, message });
        } else if let Some(other) = slugs.insert(slug(&name), name.clone()) {
            let message = format!(
                "arms {other:?} and {name:?} would share the folder {:?}; rename one",
                slug(&name)
            );
            problems.push(Problem { place, message });
        }
        names.push(name);
    }
    names
}

/// Reads and validates every arm. `head` has the experiment-level keys. Records problems and keys without effect.
pub(super) fn arms(
    registry: &Registry,
    raw: &Raw,
    names: &[String],
    head: &Found,
    problems: &mut Vec<Problem>,
) -> Vec<Arm> {
    let catalog = Catalog::new(registry);
    let mut arms = Vec::new();
    let mut read = Vec::new();
    let mut found_in_arms: BTreeMap<Problem, Vec<&String>> = BTreeMap::new();
    for (raw_arm, name) in raw.arms.iter().zip(names) {
        let mut own = raw_arm.leaves.clone();
        own.remove("name");
        let mut leaves = raw.leaves.clone();
        override_with(&mut leaves, &own);
        override_with(&mut leaves, &raw.set);
        let (settings, mut found) = settings::read(registry, &leaves);
        let unused = unused(&catalog, &own, true, &raw.set, |path| found.listens_to(path));
        found.problems.extend(unused);
        for problem in std::mem::take(&mut found.problems) {
            found_in_arms.entry(problem).or_default().push(name);
        }
        arms.extend(settings.map(|settings| Arm { name: name.clone(), settings }));
        read.push(found);
    }
    problems.extend(found_in_arms.into_iter().map(|(problem, in_arms)| {
        let is_everywhere = in_arms.len() == raw.arms.len();
        if is_everywhere { problem } else { name_arms(problem, &in_arms) }
    }));
    let is_used = |path: &str| head.listens_to(path) || read.iter().any(|arm| arm.listens_to(path));
    problems.extend(unused(&catalog, &raw.leaves, false, &raw.set, is_used));
    problems.extend(unused(&catalog, &raw.set, false, &Leaves::new(), is_used));
    arms
}

/// Overrides `leaves` with `newer`.
fn override_with(leaves: &mut Leaves, newer: &Leaves) {
    if LENGTHS.iter().any(|path| newer.contains_key(*path)) {
        leaves.retain(|path, _| !LENGTHS.contains(&path.as_str()));
    }
    leaves.extend(newer.clone());
}

fn name_arms(problem: Problem, arms: &[&String]) -> Problem {
    let quoted: Vec<String> =
        arms.iter().filter(|name| !name.is_empty()).map(|name| format!("{name:?}")).collect();
    let message = match quoted.as_slice() {
        [] => problem.message,
        [arm] => format!("{} (arm {arm})", problem.message),
        arms => format!("{} (arms {})", problem.message, arms.join(", ")),
    };
    Problem { message, ..problem }
}

/// Problems for keys that no reader asked for: unknown keys, and known ones without effect here.
fn unused(
    catalog: &Catalog,
    leaves: &Leaves,
    in_arm: bool,
    set: &Leaves,
    is_used: impl Fn(&str) -> bool,
) -> Vec<Problem> {
    let table = |path: &str| path.split('.').next().unwrap_or_default().to_owned();
    let explain = |path: &str| {
        // A flag may make a key of the file unused; the user should not have to edit the file.
        let is_overridden = set.keys().any(|flag| table(flag) == table(path));
        (!(catalog.is_of_arm(path) && is_overridden)).then(|| catalog.explain(path, in_arm))
    };
    // An empty known table is harmless.
    let is_empty_table = |path: &str, leaf: &Leaf| {
        catalog.is_table(path) && leaf.value.as_table().is_some_and(toml::Table::is_empty)
    };
    let unused = leaves.iter().filter(|(path, leaf)| !is_used(path) && !is_empty_table(path, leaf));
    unused
        .filter_map(|(path, leaf)| {
            Some(Problem { place: leaf.key_place.clone(), message: explain(path)? })
        })
        .collect()
}
