//! Loads an [`Experiment`] by name or path, and reports all its problems at once.

use super::assemble::{self, Single};
use super::raw::{self, RawArm};
use super::registry::Registry;
use super::{Experiment, Selection, Settings, claim, grid, head, selection};
use crate::keys::{Found, Invalid, Leaves, Place, Problem, did_you_mean};
use std::path::{Path, PathBuf};

/// Command-line flags of an experiment.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--set KEY=VALUE`, each replacing a key in every arm.
    pub set: Vec<String>,
    /// `--name`: replaces the experiment's name.
    pub name: Option<String>,
    /// `--seeds`: replaces the experiment's seeds, for example `0,1,5-9`.
    pub seeds: Option<String>,
    /// `--arms`: names or folders of arms, each possibly a comma-separated list; empty for all.
    pub arms: Vec<String>,
}

/// Why an experiment could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{}: cannot read this file", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The name is neither a file nor an embedded experiment.
    #[error("no experiment {name:?}{hint}; expected a path to a .toml file or one of {embedded}")]
    Unknown {
        /// The requested name.
        name: String,
        /// A similar name, as a question.
        hint: String,
        /// The names that are known.
        embedded: String,
    },
    /// The experiment has problems.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

impl Registry {
    /// Loads an experiment. `reference` is the name of an embedded one or the path of a file.
    ///
    /// # Errors
    /// [`LoadError`] lists every problem in the file and the flags.
    pub fn load(&self, reference: &str, flags: &Flags) -> Result<Experiment, LoadError> {
        if let Some(text) = self.find(reference) {
            let origin = format!("experiment {reference}");
            return Ok(self.parse(&origin, reference, &text, flags)?);
        }
        let path = Path::new(reference);
        let looks_like_a_path =
            path.extension().is_some() || path.components().count() > 1 || path.exists();
        if !looks_like_a_path {
            return Err(self.unknown(reference));
        }
        let text = std::fs::read_to_string(path)
            .map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
        let stem =
            path.file_stem().map_or_else(|| "experiment".into(), |stem| stem.to_string_lossy());
        let folder = path.parent().unwrap_or(Path::new(""));
        Ok(self.parse_in(folder, reference, &stem, &text, flags)?)
    }

    /// The error for an unknown experiment.
    pub fn unknown(&self, name: &str) -> LoadError {
        let names = self.names();
        let hint = did_you_mean(name, names.iter().copied())
            .map_or(String::new(), |meant| format!(" (did you mean {meant}?)"));
        LoadError::Unknown { name: name.to_owned(), hint, embedded: names.join(", ") }
    }

    /// Parses and validates `text`. Messages start with `origin`; `default_name` applies if the text has no `name`. Paths in
    /// the text are relative to the current directory.
    ///
    /// # Errors
    /// [`Invalid`] lists every problem in the text and the flags.
    pub fn parse(
        &self,
        origin: &str,
        default_name: &str,
        text: &str,
        flags: &Flags,
    ) -> Result<Experiment, Invalid> {
        self.parse_in(Path::new(""), origin, default_name, text, flags)
    }

    /// As [`Registry::parse`], with paths relative to `folder`.
    fn parse_in(
        &self,
        folder: &Path,
        origin: &str,
        default_name: &str,
        text: &str,
        flags: &Flags,
    ) -> Result<Experiment, Invalid> {
        let mut raw = raw::parse(text);
        for flag in &flags.set {
            raw::parse_set(flag, &mut raw);
        }
        if let Some(name) = &flags.name {
            let place = Place::Flag(format!("--name {name}"));
            raw::set("name", toml::Value::String(name.clone()), &place, &mut raw);
        }
        let single = assemble::take_run_keys(&mut raw);
        if raw.arms.is_empty() {
            raw.arms.push(RawArm { place: Place::File, leaves: Leaves::new() });
        }
        let grid = grid::expand(&mut raw);
        raw::locate(&mut raw, &self.path_keys(), folder);

        let mut problems = std::mem::take(&mut raw.problems);
        let mut leaves = raw.leaves.clone();
        leaves.extend(raw.set.clone());
        let mut found = Found::default();
        let head = head::read(&leaves, &mut found);
        let default_arm = single.as_ref().map_or("base", |single| &single.arm);
        let names = assemble::names(&raw, default_arm, &mut problems);
        claim::unknown_arms(&leaves, &names, &mut problems);
        let arms = assemble::arms(self, &raw, &names, &found, &mut problems);
        problems.append(&mut found.problems);
        let own_seeds = match (&single, &head) {
            (Some(Single { seed: Some(seed), .. }), _) => vec![*seed],
            (_, Some(head)) => head.seeds.clone(),
            (_, None) => Vec::new(),
        };
        let seeds = selection::seeds(flags, &own_seeds, &mut problems);
        // A syntax error may hide an arm.
        let selected = if raw.syntax.is_empty() {
            selection::arms(flags, &names, &mut problems)
        } else {
            Vec::new()
        };
        if !raw.syntax.is_empty() {
            retain_what_syntax_cannot_explain(&mut problems, &raw.syntax);
            problems.append(&mut raw.syntax);
        }
        match (Invalid::from_problems(origin, problems), head) {
            (None, Some(head)) => Ok(Experiment {
                name: head.name.unwrap_or_else(|| default_name.to_owned()),
                question: head.question,
                target: head.target,
                baseline: head.baseline,
                claim: head.claim,
                seeds: own_seeds,
                arms,
                grid,
                selection: Selection { arms: selected, seeds },
                notes: assemble::notes(&raw),
            }),
            (Some(invalid), _) => Err(invalid),
            (None, None) => unreachable!("a head that cannot be read is a problem"),
        }
    }

    /// Parses the settings of a single arm.
    ///
    /// # Errors
    /// [`Invalid`] lists every problem in the lines; more than one arm is a problem.
    pub fn settings(&self, lines: &str) -> Result<Settings, Invalid> {
        let mut experiment = self.parse("settings", "settings", lines, &Flags::default())?;
        match experiment.arms.pop() {
            Some(arm) if experiment.arms.is_empty() => Ok(arm.settings),
            _ => {
                let message = "expected the settings of a single arm, without [[arm]]".to_owned();
                let problems = vec![Problem { place: Place::File, message }];
                Err(Invalid { origin: "settings".to_owned(), problems })
            }
        }
    }
}

/// Drops problems that a syntax error may have caused: missing keys, and problems on a broken line, which already has a
/// message.
fn retain_what_syntax_cannot_explain(problems: &mut Vec<Problem>, syntax: &[Problem]) {
    let is_broken = |at: &Place| syntax.iter().any(|syntax| line(&syntax.place) == line(at));
    problems.retain(|problem| match problem.place {
        Place::File => false,
        Place::At { .. } => !is_broken(&problem.place),
        Place::Flag(_) => true,
    });
}

fn line(place: &Place) -> Option<usize> {
    match place {
        Place::At { line, .. } => Some(*line),
        Place::File | Place::Flag(_) => None,
    }
}
