//! Which run directories there are, and what one holds.
//!
//! A run that goes on, or was killed, lies in a partial directory; it is looked at only where no whole one stands.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::metrics::{Layers, Metrics, Schedules, read_timing};
use super::rows::{Rows, read_rows};
use super::text::{read_json, read_toml};
use super::{FoundRun, Log, Record};
use crate::error::{Error, Result};
use crate::schema::{self, RunConfig, Status};
use crate::text::printable;

/// By the arm's directory and by seed: the name of the run's directory.
pub(super) type Found = BTreeMap<String, BTreeMap<u64, String>>;

/// The run directories of an experiment.
///
/// # Errors
/// Unreadable, or not an experiment's directory; the message says what it seems to be instead.
pub(super) fn find_runs(directory: &Path) -> Result<Found> {
    let wanted = "expected an experiment's directory, with <arm>/seed-<n>/ in it";
    let not_an_experiment =
        |reason: String| Error::NotAnExperiment { path: directory.to_owned(), reason };
    if directory.is_file() {
        return Err(not_an_experiment(format!("{wanted}; this is a file")));
    }
    let mut found = BTreeMap::new();
    let mut experiments = BTreeSet::new();
    for (slug, path) in subdirectories(directory)? {
        if path.join(schema::MANIFEST).is_file() {
            experiments.insert(slug.clone());
        }
        let mut seeds = BTreeMap::new();
        for (name, _) in subdirectories(&path)? {
            let Some(seed) = seed_of(&name) else { continue };
            let whole = name == schema::seed_dir(seed);
            if whole || !seeds.contains_key(&seed) {
                seeds.insert(seed, name);
            }
        }
        if !seeds.is_empty() {
            found.insert(slug, seeds);
        }
    }
    if found.is_empty() {
        let hint = if directory.join(schema::CONFIG).is_file() {
            "this is the directory of a single run: give the one two levels up".to_owned()
        } else if let Some(first) = experiments.first() {
            format!(
                "this holds experiments: give one of them, as {}",
                directory.join(first).display()
            )
        } else {
            "none is here".to_owned()
        };
        return Err(not_an_experiment(format!("{wanted}; {hint}")));
    }
    Ok(found)
}

/// The seed of a whole or partial run directory, from its name.
fn seed_of(name: &str) -> Option<u64> {
    let whole = name.strip_prefix("seed-");
    let number = whole.or_else(|| name.strip_prefix(".seed-")?.strip_suffix(".partial"))?;
    let seed = number.parse().ok()?;
    [schema::seed_dir(seed), schema::partial_seed_dir(seed)]
        .contains(&name.to_owned())
        .then_some(seed)
}

/// The directories in a directory, by name. Names that are not UTF-8 cannot be slugs and are passed over.
fn subdirectories(directory: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut names = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(|error| Error::read(directory, error))? {
        let path = entry.map_err(|error| Error::read(directory, error))?.path();
        if let (true, Some(name)) = (path.is_dir(), path.file_name().and_then(|name| name.to_str()))
        {
            names.insert(name.to_owned(), path.clone());
        }
    }
    Ok(names)
}

/// What reading a run's directory came to.
pub(super) struct ReadRun {
    pub(super) found: FoundRun,
    /// Files that do not hold what they should.
    pub(super) damage: Vec<String>,
    pub(super) notices: Vec<String>,
}

impl ReadRun {
    /// There is no directory.
    pub(super) fn missing() -> Self {
        Self { found: FoundRun::Missing, damage: Vec::new(), notices: Vec::new() }
    }
}

/// What the run directory `name` of an arm holds.
pub(super) fn read_run(directory: &Path, slug: &str, name: &str) -> ReadRun {
    let path = directory.join(slug).join(name);
    let mut read = ReadRun::missing();
    match read_record(&path, &format!("{slug}/{name}"), &mut read) {
        Ok(Some(record)) => read.found = FoundRun::Recorded(Box::new(record)),
        Ok(None) => {}
        Err(error) => {
            let error = error.to_string();
            read.damage.push(error.clone());
            read.found = FoundRun::Damaged(error);
        }
    }
    read
}

/// The record of a run; none where the run has not begun to write.
///
/// # Errors
/// A whole directory that lacks a file, or a file without which the run says nothing that does not hold what it should.
fn read_record(path: &Path, label: &str, read: &mut ReadRun) -> Result<Option<Record>> {
    let [config, metrics, status] =
        [schema::CONFIG, schema::METRICS, schema::STATUS].map(|name| path.join(name));
    let missing: Vec<&PathBuf> =
        [&config, &metrics, &status].into_iter().filter(|path| !path.is_file()).collect();
    let is_partial = path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
    match missing[..] {
        [] => {}
        [_, _, _] => {
            read.notices.push(format!("{label}: empty, counted as missing"));
            return Ok(None);
        }
        [..] if is_partial => {
            read.notices.push(format!("{label}: just begun, counted as missing"));
            return Ok(None);
        }
        [first, ..] => return Err(Error::Missing { path: first.clone() }),
    }
    let status = shown(read_json(&status)?);
    let may_be_cut_off = is_partial || !status.is_result();
    let mut config: RunConfig = read_toml(&config)?;
    for text in [&mut config.name, &mut config.arm].into_iter().chain(&mut config.question) {
        *text = printable(text);
    }
    let (log, cut_off) = read_rows::<Metrics>(&metrics, may_be_cut_off)?;
    if cut_off {
        read.notices
            .push(format!("{label}/{}: the cut-off last line is left out", schema::METRICS));
    }
    // The other files are not needed for the numbers: without them the run is what it is.
    let layers = read_optional::<Layers>(&path.join(schema::LAYERS), may_be_cut_off);
    let schedules = read_optional::<Schedules>(&path.join(schema::SCHEDULES), may_be_cut_off);
    let timing = path.join(schema::TIMING);
    let timing = if timing.is_file() { read_timing(&timing) } else { Ok(Vec::new()) };
    Ok(Some(Record {
        status,
        config,
        log,
        layers: or_damage(layers, &mut read.damage),
        schedules: or_damage(schedules, &mut read.damage),
        timing: or_damage(timing, &mut read.damage),
    }))
}

/// The rows of a file that need not be there.
fn read_optional<R: Rows>(path: &Path, may_be_cut_off: bool) -> Result<Log<R::Key>> {
    if !path.is_file() {
        return Ok(Log::default());
    }
    read_rows::<R>(path, may_be_cut_off).map(|(log, _)| log)
}

/// The status with words that can be shown anywhere.
fn shown(status: Status) -> Status {
    match status {
        Status::Diverged { step, reason } => Status::Diverged { step, reason: printable(&reason) },
        Status::Failed { error } => Status::Failed { error: printable(&error) },
        status => status,
    }
}

fn or_damage<T: Default>(read: Result<T>, damage: &mut Vec<String>) -> T {
    read.unwrap_or_else(|error| {
        damage.push(error.to_string());
        T::default()
    })
}
