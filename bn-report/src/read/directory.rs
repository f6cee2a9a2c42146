//! Which run directories there are, and what one holds.
//!
//! A run that goes on, or was killed, lies in a partial directory; it is looked at only where no whole one stands.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::Record;
use super::metrics::{Metrics, read_metrics};
use super::text::{read_json, read_toml};
use crate::error::{Error, Result};
use crate::schema::{self, RunConfig, Status};

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

/// What the run directory `name` of an arm holds; none where the run has not begun to write.
///
/// # Errors
/// A whole directory that lacks a file, or a file that does not hold what it should.
pub(super) fn read_run(
    directory: &Path,
    slug: &str,
    name: &str,
    notices: &mut Vec<String>,
) -> Result<Option<Record>> {
    let path = directory.join(slug).join(name);
    let [config, metrics, status] =
        [schema::CONFIG, schema::METRICS, schema::STATUS].map(|name| path.join(name));
    let missing: Vec<&PathBuf> =
        [&config, &metrics, &status].into_iter().filter(|path| !path.is_file()).collect();
    let partial = name.starts_with('.');
    match missing[..] {
        [] => {}
        [_, _, _] => {
            notices.push(format!("{slug}/{name}: empty, counted as missing"));
            return Ok(None);
        }
        [..] if partial => {
            notices.push(format!("{slug}/{name}: just begun, counted as missing"));
            return Ok(None);
        }
        [first, ..] => {
            return Err(Error::Missing { path: first.clone() });
        }
    }
    let status: Status = read_json(&status)?;
    let may_be_cut_off = partial || !status.is_result();
    let config: RunConfig = read_toml(&config)?;
    let Metrics { rows, cut_off } = read_metrics(&metrics, may_be_cut_off)?;
    if cut_off {
        notices
            .push(format!("{slug}/{name}/{}: the cut-off last line is left out", schema::METRICS));
    }
    Ok(Some(Record { status, config, rows }))
}
