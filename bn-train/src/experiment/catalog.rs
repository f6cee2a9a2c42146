//! All keys that a file may set, for the template and for messages about keys without effect.

use super::registry::Registry;
use super::{head, settings};
use crate::keys::{Entry, Kinds, Leaves, did_you_mean};

/// One key of an arm.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) entry: Entry,
    /// The selector key and the values for which this key applies; `None` if it always applies.
    pub(super) condition: Option<(String, Vec<String>)>,
}

/// All keys, in reading order.
#[derive(Clone, Debug)]
pub(super) struct Catalog {
    /// Experiment-level keys, which an arm cannot override.
    pub(super) experiment: Vec<Entry>,
    /// Keys that an arm can override.
    pub(super) arm: Vec<Known>,
}

impl Catalog {
    pub(super) fn new(registry: &Registry) -> Self {
        let nothing = Leaves::new();
        let (mut arm, mut selectors) = (Vec::new(), Vec::new());
        add_kinds(&mut arm, &mut selectors, &registry.data);
        add_kinds(&mut arm, &mut selectors, &registry.samplers);
        add_kinds(&mut arm, &mut selectors, &registry.tasks);
        add_kinds(&mut arm, &mut selectors, &registry.models);
        add_kinds(&mut arm, &mut selectors, &registry.norms);
        add_kinds(&mut arm, &mut selectors, &registry.optimizers);
        add_kinds(&mut arm, &mut selectors, &registry.schedules);
        add_kinds(&mut arm, &mut selectors, &registry.averages);
        let (_, found) = settings::read(registry, &nothing);
        let of_kinds: Vec<String> = arm.iter().map(|known| known.entry.path.clone()).collect();
        let common = found.entries.into_iter().filter(|entry| !of_kinds.contains(&entry.path));
        arm.extend(common.map(|entry| Known { entry, condition: None }));
        // Within a table: the selector first, then the keys of the kinds, then the others.
        arm.sort_by_key(|known| {
            let is_selector = selectors.contains(&known.entry.path);
            (rank(known.entry.table()), !is_selector, known.condition.is_none())
        });
        Self { experiment: head::entries(), arm }
    }

    /// Explains why `path` has no effect, in an arm's table (`in_arm`) or at the top of the file.
    pub(super) fn explain(&self, path: &str, in_arm: bool) -> String {
        if let Some(Known { condition: Some((selector, values)), .. }) = self.arm_key(path) {
            let quoted: Vec<&str> = values.iter().map(String::as_str).collect();
            return format!(
                "`{path}` has no effect here; it applies if {selector} is {}",
                crate::keys::one_of(&quoted)
            );
        }
        self.unknown(path, in_arm)
    }

    /// Whether the default of the key `selector` is among `kinds`.
    pub(super) fn is_default(&self, selector: &str, kinds: &[String]) -> bool {
        let default = self.arm_key(selector).map(|known| known.entry.shown());
        kinds.iter().any(|kind| Some(format!("{kind:?}").as_str()) == default)
    }

    /// Whether `path` is a key that an arm can override.
    pub(super) fn is_of_arm(&self, path: &str) -> bool {
        self.arm_key(path).is_some()
    }

    fn arm_key(&self, path: &str) -> Option<&Known> {
        self.arm.iter().find(|known| known.entry.path == path)
    }

    /// Whether `path` is a table that holds keys.
    pub(super) fn is_table(&self, path: &str) -> bool {
        let prefix = format!("{path}.");
        self.entries(false).any(|entry| entry.path.starts_with(&prefix))
    }

    fn entries(&self, in_arm: bool) -> impl Iterator<Item = &Entry> {
        let experiment = if in_arm { &[] } else { self.experiment.as_slice() };
        self.arm.iter().map(|known| &known.entry).chain(experiment)
    }

    /// The message for an unknown key.
    fn unknown(&self, path: &str, in_arm: bool) -> String {
        if in_arm && self.experiment.iter().any(|entry| entry.path == path) {
            return format!(
                "`{path}` belongs to the experiment, not to an arm; move it to the top of the file"
            );
        }
        if let Some(entry) =
            self.entries(in_arm).find(|entry| path.starts_with(&format!("{}.", entry.path)))
        {
            return format!("`{}` is not a table; expected {}", entry.path, entry.accepts);
        }
        let children = self.children(path, in_arm);
        if !children.is_empty() {
            return format!(
                "`{path}` is a table; expected [{path}] with keys from {}",
                children.join(", ")
            );
        }
        if let Some(meant) = self.suggestion(path, in_arm) {
            return format!(
                "unknown key `{path}`; did you mean `{}` (takes {})?",
                meant.path, meant.accepts
            );
        }
        let table = path.rsplit_once('.').map(|(table, _)| table);
        match table.map(|table| (table, self.children(table, in_arm))) {
            Some((table, keys)) if !keys.is_empty() => {
                format!("unknown key `{path}`; [{table}] takes {}", keys.join(", "))
            }
            _ => {
                let mut tops: Vec<&str> = Vec::new();
                for top in self.entries(in_arm).map(Entry::table) {
                    if !tops.contains(&top) {
                        tops.push(top);
                    }
                }
                let arms = if in_arm { "" } else { " and [[arm]]" };
                format!("unknown key `{path}`; expected {}{arms}", tops.join(", "))
            }
        }
    }

    /// The keys of a table, without its prefix.
    fn children(&self, table: &str, in_arm: bool) -> Vec<&str> {
        let prefix = format!("{table}.");
        self.entries(in_arm).filter_map(|entry| entry.path.strip_prefix(&prefix)).collect()
    }

    /// A suggestion for `path`: by its name in other programs, by spelling within its table, or by spelling overall.
    fn suggestion(&self, path: &str, in_arm: bool) -> Option<&Entry> {
        // [[arm]] is not a key, so it has no similar key.
        if path == "arm" {
            return None;
        }
        let (table, name) = path.rsplit_once('.').unwrap_or(("", path));
        let siblings = || {
            self.entries(in_arm).filter(move |entry| {
                entry.path.rsplit_once('.').map_or("", |(table, _)| table) == table
            })
        };
        let calls_it = |entry: &&Entry| entry.also.iter().any(|other| other == name);
        if let Some(entry) = siblings().find(calls_it) {
            return Some(entry);
        }
        if let Some(meant) = did_you_mean(name, siblings().map(Entry::name)) {
            return siblings().find(|entry| entry.name() == meant);
        }
        // The table is misspelled or missing, or the key belongs to another table.
        let is_elsewhere = |entry: &&Entry| entry.name() == name;
        let paths = || self.entries(in_arm).map(|entry| entry.path.as_str());
        let meant = if siblings().next().is_some() && !table.is_empty() {
            None
        } else {
            did_you_mean(path, paths())
        };
        self.entries(in_arm)
            .find(|entry| Some(entry.path.as_str()) == meant)
            .or_else(|| self.entries(in_arm).find(is_elsewhere))
            .or_else(|| self.entries(in_arm).find(calls_it))
    }
}

/// The tables of an arm, in template order.
const TABLES: [&str; 16] = [
    "data",
    "sampler",
    "augment",
    "task",
    "model",
    "norm",
    "optimizer",
    "schedule",
    "train",
    "evaluate",
    "population",
    "shadow",
    "average",
    "layers",
    "checkpoint",
    "tensorboard",
];

fn rank(table: &str) -> usize {
    TABLES.iter().position(|known| *known == table).unwrap_or(TABLES.len())
}

/// Adds the keys of all kinds of one table, and its selector.
fn add_kinds<T>(known: &mut Vec<Known>, selectors: &mut Vec<String>, kinds: &Kinds<T>) {
    let (first, selector) = (known.len(), kinds.selector());
    for (kind, entries) in kinds.entries() {
        for entry in entries {
            let same = known[first..].iter_mut().find(|known| known.entry.path == entry.path);
            match same {
                Some(Known { condition: Some((_, kinds)), .. }) => kinds.push(kind.to_owned()),
                _ => known.push(Known {
                    entry,
                    condition: Some((selector.clone(), vec![kind.to_owned()])),
                }),
            }
        }
    }
    selectors.push(selector);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explain(path: &str, in_arm: bool) -> String {
        Catalog::new(&Registry::built_in()).explain(path, in_arm)
    }

    #[test]
    fn keys_are_unique_and_explained() {
        let catalog = Catalog::new(&Registry::built_in());
        let mut paths: Vec<&str> =
            catalog.entries(false).map(|entry| entry.path.as_str()).collect();
        let count = paths.len();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), count);
        for entry in catalog.entries(false) {
            assert!(!entry.about.is_empty() || !entry.words.is_empty(), "{}", entry.path);
        }
    }

    #[test]
    fn unknown_keys_get_helpful_messages() {
        for (path, in_arm, expected) in [
            ("norm.dekay", true, "did you mean `norm.decay`"),
            ("optimizer.lr", true, "did you mean `optimizer.learning_rate`"),
            ("optimizer.learning-rate", false, "did you mean `optimizer.learning_rate`"),
            ("norm.momentum", true, "did you mean `norm.decay`"),
            ("nrom.decay", true, "did you mean `norm.decay`"),
            ("learning_rate", false, "did you mean `optimizer.learning_rate`"),
            ("lr", false, "did you mean `optimizer.learning_rate`"),
            ("model.steps", false, "did you mean `train.steps`"),
            ("norm", false, "[norm]"),
            ("norm.decay.x", false, "expected a number"),
            ("seeds", true, "belongs to the experiment"),
            ("norm.flavour", true, "[norm] takes kind, position, decay"),
            ("weather", false, "expected data, sampler, augment, task, model, norm"),
            ("model.depth", true, "it applies if model.kind is \"resnet\""),
            ("norm.decay", true, "it applies if norm.kind is \"batch\", \"renorm\" or \"ghost\""),
        ] {
            let message = explain(path, in_arm);
            assert!(message.contains(expected), "{path}: {message}");
        }
    }
}
