//! Experiments: a TOML file, read and checked into arms that can be trained.
//!
//! [`load`] finds and reads a file or an embedded experiment, applies `--set`, and reports every problem at once.
//! What is checked is an [`Experiment`]; [`plan`] unfolds it into runs. `template.toml` documents every key.

mod assemble;
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

use assemble::{Single, arms, notes, take_run_keys, whole};
use bn_report::schema::Target;
use raw::{Leaves, RawArm};
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
    /// What a user should know who gave these flags.
    pub notes: Vec<String>,
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
    #[error("{}: cannot read this file", path.display())]
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
        return Err(LoadError::Unknown { name: reference.to_owned(), hint, embedded });
    }
    let text = std::fs::read_to_string(path)
        .map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    let stem = path.file_stem().map_or_else(|| "experiment".into(), |stem| stem.to_string_lossy());
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
        raw.arms.push(RawArm { place: Place::File, leaves: Leaves::new() });
    }

    let mut problems = std::mem::take(&mut raw.problems);
    let mut experiment = whole(&raw, default_name, &mut problems);
    experiment.notes = notes(&raw);
    experiment.arms =
        arms(&raw, single.as_ref().map_or("base", |single| &single.arm), &mut problems);
    if let Some(Single { seed: Some(seed), .. }) = single {
        experiment.seeds = vec![seed];
    }
    if !raw.syntax.is_empty() {
        // What is missing may only be hidden by a mistake of syntax, and a broken line has had its message.
        let is_broken =
            |at: &Place| raw.syntax.iter().any(|syntax| line(&syntax.place) == line(at));
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

#[cfg(test)]
mod tests;
