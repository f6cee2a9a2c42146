//! Experiments: a TOML file, read and checked into arms that can be trained.
//!
//! [`load`] finds and reads a file or an embedded experiment, applies `--set`, and reports every problem at once.
//! What is checked is an [`Experiment`]; [`plan`] unfolds it into runs. `template.toml` documents every key.

mod check;
mod keys;
pub mod plan;
mod problem;
mod raw;
mod reader;
pub mod settings;
pub mod shipped;

pub use problem::{Invalid, Place, Problem};
pub use settings::Settings;

pub(crate) use problem::did_you_mean;

use bn_report::schema::{Split, Statistics, Target, slug};
use raw::{Leaf, Leaves, Raw, RawArm};
use reader::{Reader, Word};
use std::path::{Path, PathBuf};

/// A checked experiment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Experiment {
    /// Names the folder of its runs; never empty.
    pub name: String,
    /// What it asks, for the head of the report.
    pub question: Option<String>,
    /// What an arm has to reach.
    pub target: Option<Target>,
    /// No seed twice; at least one.
    pub seeds: Vec<u64>,
    /// At least one; no two with the same slug.
    pub arms: Vec<Arm>,
}

/// One way of training, repeated for every seed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Arm {
    /// As a reader should see it; never empty.
    pub name: String,
    /// Its settings, those of the experiment included.
    pub settings: Settings,
}

/// Why there is no experiment.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Neither a file nor an embedded experiment.
    #[error(
        "there is no experiment {name:?}{hint}; embedded are {embedded}, and a path to a .toml file is taken too"
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// A similar name, as a question.
        hint: String,
        /// The names that are known.
        embedded: String,
    },
    /// It was read, and something in it is wrong.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// The experiment called `reference`: the name of an embedded one, or the path of a file. `set` holds `KEY=VALUE`s.
///
/// # Errors
/// [`LoadError`], with every problem that the file and the flags have.
pub fn load(reference: &str, set: &[String]) -> Result<Experiment, LoadError> {
    if let Some(shipped) = shipped::find(reference) {
        return Ok(parse(
            &format!("experiment {}", shipped.name),
            shipped.name,
            shipped.text,
            set,
        )?);
    }
    let path = Path::new(reference);
    let looks_like_a_path =
        path.extension().is_some() || path.components().count() > 1 || path.exists();
    if !looks_like_a_path {
        let names = || shipped::ALL.iter().map(|shipped| shipped.name);
        let hint = did_you_mean(reference, names())
            .map_or(String::new(), |name| format!("; did you mean {name}?"));
        let embedded = names().collect::<Vec<_>>().join(", ");
        return Err(LoadError::Unknown {
            name: reference.to_owned(),
            hint,
            embedded,
        });
    }
    let text = std::fs::read_to_string(path).map_err(|source| LoadError::Read {
        path: path.to_owned(),
        source,
    })?;
    let stem = path
        .file_stem()
        .map_or_else(|| "experiment".into(), |stem| stem.to_string_lossy());
    Ok(parse(reference, &stem, &text, set)?)
}

/// Reads and checks `text`. `origin` begins the messages; `default_name` serves where the text has no `name`.
///
/// # Errors
/// [`Invalid`], with every problem that the text and the flags have.
pub fn parse(
    origin: &str,
    default_name: &str,
    text: &str,
    set: &[String],
) -> Result<Experiment, Invalid> {
    let mut raw = raw::parse(text);
    for flag in set {
        raw::parse_set(flag, &mut raw);
    }
    let single = take_run_keys(&mut raw);
    if raw.arms.is_empty() {
        raw.arms.push(RawArm {
            place: Place::File,
            leaves: Leaves::new(),
        });
    }

    let mut problems = std::mem::take(&mut raw.problems);
    let mut experiment = whole(&raw, default_name, &mut problems);
    experiment.arms = arms(
        &raw,
        single.as_ref().map_or("base", |single| &single.arm),
        &mut problems,
    );
    if let Some(Single {
        seed: Some(seed), ..
    }) = single
    {
        experiment.seeds = vec![seed];
    }
    if !raw.syntax.is_empty() {
        // What is missing may only be hidden by a mistake of syntax, and a broken line has had its message.
        let is_broken = |at: &Place| {
            raw.syntax
                .iter()
                .any(|syntax| line(&syntax.place) == line(at))
        };
        problems.retain(|problem| match problem.place {
            Place::File => false,
            Place::At { .. } => !is_broken(&problem.place),
            Place::Flag(_) => true,
        });
        problems.append(&mut raw.syntax);
    }
    match Invalid::from_problems(origin, problems) {
        Some(invalid) => Err(invalid),
        None => Ok(experiment),
    }
}

fn line(place: &Place) -> Option<usize> {
    match place {
        Place::At { line, .. } => Some(*line),
        Place::File | Place::Flag(_) => None,
    }
}

/// What the `config.toml` of a run has in place of `[[arm]]` and `seeds`.
struct Single {
    arm: String,
    seed: Option<u64>,
}

/// Takes the keys that only a run's `config.toml` has, so that a run can be repeated from it.
fn take_run_keys(raw: &mut Raw) -> Option<Single> {
    let arm = raw.leaves.get("arm")?.value.as_str()?.to_owned();
    raw.leaves.remove("arm");
    let seed = raw
        .leaves
        .remove("seed")
        .and_then(|leaf| leaf.value.as_integer());
    // What made the numbers of the old run says nothing about the new one.
    raw.leaves
        .retain(|path, _| !path.starts_with("provenance."));
    Some(Single {
        arm,
        seed: seed.and_then(|seed| u64::try_from(seed).ok()),
    })
}

/// The keys of the experiment as a whole; its arms are left empty.
fn whole(raw: &Raw, default_name: &str, problems: &mut Vec<Problem>) -> Experiment {
    let mut leaves = raw.leaves.clone();
    leaves.extend(raw.set.clone());
    let mut reader = Reader::new(&leaves, problems);
    let name = reader
        .optional_text("name")
        .unwrap_or_else(|| default_name.to_owned());
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
    }
}

fn target(reader: &mut Reader<'_>) -> Option<Target> {
    let metric = reader.optional_word::<MetricWord>("target.metric");
    let value = reader.optional_number("target.value");
    let keys = [
        "target.metric",
        "target.value",
        "target.split",
        "target.statistics",
    ];
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

/// Every arm, checked, with what is wrong in it or said in vain.
fn arms(raw: &Raw, default_name: &str, problems: &mut Vec<Problem>) -> Vec<Arm> {
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
            problems.push(Problem {
                place: name_place,
                message,
            });
        } else if let Some(other) = slugs.insert(slug(&name), name.clone()) {
            let message = format!(
                "arms {other:?} and {name:?} would share the folder {:?}; rename one",
                slug(&name)
            );
            problems.push(Problem {
                place: name_place,
                message,
            });
        }

        let mut leaves = raw.leaves.clone();
        leaves.extend(own.clone());
        leaves.extend(raw.set.clone());
        let checked = check::settings(&leaves, problems);
        problems.extend(in_vain(&own, true, &raw.set, |path| {
            checked.asked.contains(path)
        }));
        asked_by_any.extend(checked.asked);
        arms.push(Arm {
            name,
            settings: checked.settings,
        });
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
        Some(key) => Some(format!(
            "`{path}` has no effect here: it applies {}",
            key.applies
        )),
        None => Some(keys::unknown(path, in_arm)),
    };
    // An empty table says nothing, which is fine where the table is known.
    let is_empty = |leaf: &Leaf| leaf.value.as_table().is_some_and(toml::Table::is_empty);
    let silent = leaves
        .iter()
        .filter(|(path, leaf)| !has_a_say(path) && !(is_empty(leaf) && keys::is_table(path)));
    silent
        .filter_map(|(path, leaf)| {
            Some(Problem {
                place: leaf.key_place.clone(),
                message: explain(path)?,
            })
        })
        .collect()
}

/// A metric that every run measures.
#[derive(Clone)]
struct MetricWord(&'static str);

impl Word for MetricWord {
    fn from_word(word: &str) -> Option<Self> {
        ["accuracy", "loss"]
            .into_iter()
            .find(|metric| *metric == word)
            .map(Self)
    }
}

impl Word for Split {
    fn from_word(word: &str) -> Option<Self> {
        [Self::Train, Self::Validation, Self::Test]
            .into_iter()
            .find(|split| split.name() == word)
    }
}

impl Word for Statistics {
    fn from_word(word: &str) -> Option<Self> {
        [Self::Moving, Self::Batch]
            .into_iter()
            .find(|statistics| statistics.name() == word)
    }
}

#[cfg(test)]
mod tests;
