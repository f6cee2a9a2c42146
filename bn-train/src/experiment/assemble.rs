//! Puts an experiment together from what its file says: the keys of the whole, then arm after arm.
//!
//! An arm is checked on all that is said about it: the file's tables, its own, then the command line. What is said and
//! heard by nobody (a typo, a key of another kind of net) is a problem too.

use super::problem::{Place, Problem};
use super::raw::{Leaf, Leaves, Raw, RawArm};
use super::reader::{Reader, Word};
use super::{Arm, Experiment, check, keys};
use bn_report::schema::{Split, Statistics, Target, slug};

/// What the `config.toml` of a run has in place of `[[arm]]` and `seeds`.
pub(super) struct Single {
    pub(super) arm: String,
    pub(super) seed: Option<u64>,
}

/// Takes the keys that only a run's `config.toml` has, so that a run can be repeated from it.
pub(super) fn take_run_keys(raw: &mut Raw) -> Option<Single> {
    let arm = raw.leaves.get("arm")?.value.as_str()?.to_owned();
    raw.leaves.remove("arm");
    let seed = raw.leaves.remove("seed").and_then(|leaf| leaf.value.as_integer());
    // What made the numbers of the old run says nothing about the new one.
    raw.leaves.retain(|path, _| !path.starts_with("provenance."));
    Some(Single { arm, seed: seed.and_then(|seed| u64::try_from(seed).ok()) })
}

/// The keys of the experiment as a whole; its arms are left empty.
pub(super) fn whole(raw: &Raw, default_name: &str, problems: &mut Vec<Problem>) -> Experiment {
    let mut leaves = raw.leaves.clone();
    leaves.extend(raw.set.clone());
    let mut reader = Reader::new(&leaves, problems);
    let name = reader.optional_text("name").unwrap_or_else(|| default_name.to_owned());
    let question = reader.optional_text("question");
    let seeds = reader.integers("seeds", 0..=i64::MAX as u64);
    let distinct: std::collections::BTreeSet<_> = seeds.iter().collect();
    if distinct.len() != seeds.len() || (seeds.is_empty() && reader.effective.contains_key("seeds"))
    {
        reader.complain(
            "seeds",
            format!("`seeds` is {seeds:?}; expected at least one, and none twice"),
        );
    }
    Experiment {
        name,
        question,
        target: target(&mut reader),
        seeds,
        arms: Vec::new(),
        notes: Vec::new(),
    }
}

fn target(reader: &mut Reader<'_>) -> Option<Target> {
    let metric = reader.optional_word::<MetricWord>("target.metric");
    let value = reader.optional_number("target.value");
    let keys = ["target.metric", "target.value", "target.split", "target.statistics"];
    if let Some(given) = keys.iter().find(|key| reader.is_given(key)) {
        for missing in &keys[..2] {
            if !reader.is_given(missing) {
                reader.complain(given, format!("`{given}` needs `{missing}` beside it"));
            }
        }
    }
    let target = Target {
        metric: metric?.0.to_owned(),
        value: value?,
        split: reader.word("target.split", Split::Validation),
        statistics: reader.word("target.statistics", Statistics::Moving),
    };
    Some(target)
}

/// Which flags replace what an arm says of itself: the arm's name may now promise something else.
pub(super) fn notes(raw: &Raw) -> Vec<String> {
    let note = |(key, leaf): (&String, &Leaf)| {
        let name = |arm: &RawArm| Some(arm.leaves.get("name")?.value.to_string());
        let arms = raw.arms.iter().filter(|arm| arm.leaves.contains_key(key));
        let arms: Vec<String> = arms.filter_map(name).collect();
        let list = arms.join(", ");
        (!arms.is_empty()).then(|| {
            format!("{key} is {} in every arm; it replaces the own value of {list}", leaf.value)
        })
    };
    raw.set.iter().filter_map(note).collect()
}

/// Every arm, checked, with what is wrong in it or said in vain.
pub(super) fn arms(raw: &Raw, default_name: &str, problems: &mut Vec<Problem>) -> Vec<Arm> {
    let mut arms = Vec::new();
    let mut asked_by_any = std::collections::BTreeSet::new();
    let mut slugs = std::collections::BTreeMap::new();
    for raw_arm in &raw.arms {
        let mut own = raw_arm.leaves.clone();
        let name_leaf = own.remove("name");
        let name = match &name_leaf {
            Some(leaf) => leaf.value.as_str().map_or("", str::trim).to_owned(),
            None if raw_arm.place == Place::File => default_name.to_owned(),
            None => String::new(),
        };
        let name_place = name_leaf.map_or(raw_arm.place.clone(), |leaf| leaf.value_place);
        if name.is_empty() {
            let message = "every [[arm]] needs a `name`, a text that is not empty".to_owned();
            problems.push(Problem { place: name_place, message });
        } else if let Some(other) = slugs.insert(slug(&name), name.clone()) {
            let message = format!(
                "arms {other:?} and {name:?} would share the folder {:?}; rename one",
                slug(&name)
            );
            problems.push(Problem { place: name_place, message });
        }

        let mut leaves = raw.leaves.clone();
        leaves.extend(own.clone());
        leaves.extend(raw.set.clone());
        let checked = check::settings(&leaves, problems);
        problems.extend(in_vain(&own, true, &raw.set, |path| checked.asked.contains(path)));
        asked_by_any.extend(checked.asked);
        arms.push(Arm { name, settings: checked.settings });
    }
    let of_experiment = |path: &str| keys::EXPERIMENT_KEYS.iter().any(|key| key.path == path);
    let has_a_say = |path: &str| of_experiment(path) || asked_by_any.contains(path);
    problems.extend(in_vain(&raw.leaves, false, &raw.set, has_a_say));
    problems.extend(in_vain(&raw.set, false, &Leaves::new(), has_a_say));
    arms
}

/// What `leaves` say that nothing listens to: unknown keys, and known ones that have no effect here.
fn in_vain(
    leaves: &Leaves,
    in_arm: bool,
    set: &Leaves,
    has_a_say: impl Fn(&str) -> bool,
) -> Vec<Problem> {
    let table = |path: &str| path.split('.').next().unwrap_or_default().to_owned();
    let explain = |path: &str| match keys::ARM_KEYS.iter().find(|key| key.path == path) {
        // A flag may well make a key of the file idle; the user need not edit the file for that.
        Some(_) if set.keys().any(|flag| table(flag) == table(path)) => None,
        Some(key) => Some(format!("`{path}` has no effect here: it applies {}", key.applies)),
        None => Some(keys::unknown(path, in_arm)),
    };
    // An empty table says nothing, which is fine where the table is known.
    let says_nothing = |path: &str, leaf: &Leaf| {
        keys::is_table(path) && leaf.value.as_table().is_some_and(toml::Table::is_empty)
    };
    let silent = leaves.iter().filter(|(path, leaf)| !has_a_say(path) && !says_nothing(path, leaf));
    silent
        .filter_map(|(path, leaf)| {
            Some(Problem { place: leaf.key_place.clone(), message: explain(path)? })
        })
        .collect()
}

/// A metric that every run measures.
#[derive(Clone)]
struct MetricWord(&'static str);

impl Word for MetricWord {
    fn from_word(word: &str) -> Option<Self> {
        ["accuracy", "loss"].into_iter().find(|metric| *metric == word).map(Self)
    }
}

impl Word for Split {
    fn from_word(word: &str) -> Option<Self> {
        [Self::Train, Self::Validation, Self::Test].into_iter().find(|split| split.name() == word)
    }
}

impl Word for Statistics {
    fn from_word(word: &str) -> Option<Self> {
        [Self::Moving, Self::Batch].into_iter().find(|statistics| statistics.name() == word)
    }
}
