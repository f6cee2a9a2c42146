//! The manifest, and the runs that it has: read, compared with what directories there are, and put in its order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rayon::prelude::*;

use super::directory::{Found, ReadRun, read_run};
use super::text::read_toml;
use super::{Arm, FoundRun, Run};
use crate::error::{Error, Place, Result};
use crate::schema::{self, Manifest, PlannedArm, SCHEMA_VERSION};
use crate::text::printable;

/// The manifest, where there is one that can be used; and what is wrong with it otherwise.
///
/// # Errors
/// A manifest of a newer schema.
pub(super) fn read_manifest(directory: &Path) -> Result<(Option<Manifest>, Vec<String>)> {
    let path = directory.join(schema::MANIFEST);
    if matches!(path.try_exists(), Ok(false)) {
        return Ok((None, Vec::new()));
    }
    let manifest = match read_toml::<Manifest>(&path) {
        Ok(manifest) => shown(manifest),
        Err(error) => return Ok((None, vec![error.to_string()])),
    };
    let malformed = |message: String| Error::malformed(&path, Place::default(), message);
    if manifest.schema > SCHEMA_VERSION {
        return Err(malformed(format!(
            "these files are of schema {}; this program reads schemas up to {SCHEMA_VERSION}",
            manifest.schema
        )));
    }
    match contradiction(&manifest) {
        Some(message) => Ok((None, vec![malformed(message).to_string()])),
        None => Ok((Some(manifest), Vec::new())),
    }
}

/// The manifest with names and sentences that can be shown anywhere.
fn shown(mut manifest: Manifest) -> Manifest {
    let claim = manifest.claim.as_mut();
    let claim = claim.into_iter().flat_map(|claim| {
        let told = [&mut claim.source, &mut claim.number, &mut claim.baseline];
        [&mut claim.text, &mut claim.arm].into_iter().chain(told.into_iter().flatten())
    });
    let told = [&mut manifest.question, &mut manifest.command, &mut manifest.version];
    let texts = told.into_iter().chain([&mut manifest.baseline]).flatten();
    let arms = manifest.arms.iter_mut().map(|arm| &mut arm.name);
    for text in std::iter::once(&mut manifest.name).chain(texts).chain(claim).chain(arms) {
        *text = printable(text);
    }
    manifest
}

/// What cannot be right about a manifest: folders that are not plain names, and what stands there twice.
fn contradiction(manifest: &Manifest) -> Option<String> {
    let (mut names, mut slugs) = (BTreeSet::new(), BTreeSet::new());
    for PlannedArm { name, slug, runs, .. } in &manifest.arms {
        // A slug becomes a part of paths: nothing but a plain file name may stand there.
        let plain = schema::slug(slug);
        if *slug != plain {
            return Some(format!(
                "arm {name:?}: slug: expected a plain folder name such as {plain:?}, found {slug:?}"
            ));
        }
        if !names.insert(name) || !slugs.insert(slug) {
            return Some(format!("arm {name:?}, folder {slug:?}: one of both is there twice"));
        }
        let mut seeds = BTreeSet::new();
        if let Some(run) = runs.iter().find(|run| !seeds.insert(run.seed)) {
            return Some(format!("arm {name:?}: seed {} is there twice", run.seed));
        }
    }
    None
}

/// A run to read.
struct Wanted {
    seed: u64,
    /// Name of its directory; none where there is no directory.
    directory: Option<String>,
    /// As the plan has it.
    digest: Option<String>,
}

/// The arms with their runs: those of the plan, or without one those of the directories.
pub(super) fn arms_of(
    directory: &Path,
    manifest: Option<&Manifest>,
    mut found: Found,
    damage: &mut Vec<String>,
    notices: &mut Vec<String>,
) -> Vec<Arm> {
    let mut wanted: Vec<(Arm, Vec<Wanted>)> = Vec::new();
    let arm = |name: &str, slug: &str, coordinates: &BTreeMap<String, String>| Arm {
        name: name.to_owned(),
        slug: slug.to_owned(),
        coordinates: coordinates.clone(),
        runs: Vec::new(),
    };
    let mut left_out = Vec::new();
    for planned in manifest.iter().flat_map(|manifest| &manifest.arms) {
        let mut seeds = found.remove(&planned.slug).unwrap_or_default();
        let run = |run: &schema::PlannedRun| Wanted {
            seed: run.seed,
            directory: seeds.remove(&run.seed),
            digest: Some(run.digest.clone()),
        };
        let runs = planned.runs.iter().map(run).collect();
        wanted.push((arm(&planned.name, &planned.slug, &planned.coordinates), runs));
        left_out.push((planned.slug.clone(), seeds));
    }
    if manifest.is_some() {
        left_out.extend(found);
    } else {
        for (slug, seeds) in found {
            let run = |(seed, name)| Wanted { seed, directory: Some(name), digest: None };
            let runs = seeds.into_iter().map(run).collect();
            wanted.push((arm(&slug, &slug, &BTreeMap::new()), runs));
        }
    }
    let mut arms = read_all(directory, wanted, damage, notices);
    if manifest.is_none() {
        for arm in &mut arms {
            if let Some(record) = arm.runs.iter().find_map(Run::record) {
                arm.name.clone_from(&record.config.arm);
            }
        }
    }
    for (slug, seeds) in left_out {
        let names: Vec<&str> = seeds.values().map(String::as_str).collect();
        if !names.is_empty() {
            let names = names.join(", ");
            notices.push(format!("{slug}: {names} left out: not in {}", schema::MANIFEST));
        }
    }
    arms
}

/// Reads the wanted runs, as many at a time as there are cores.
fn read_all(
    directory: &Path,
    wanted: Vec<(Arm, Vec<Wanted>)>,
    damage: &mut Vec<String>,
    notices: &mut Vec<String>,
) -> Vec<Arm> {
    let all: Vec<(&str, &Wanted)> = wanted
        .iter()
        .flat_map(|(arm, runs)| runs.iter().map(|run| (arm.slug.as_str(), run)))
        .collect();
    let read: Vec<ReadRun> = all
        .par_iter()
        .map(|(slug, run)| match &run.directory {
            Some(name) => read_run(directory, slug, name),
            None => ReadRun::missing(),
        })
        .collect();
    let mut read = read.into_iter();
    let mut arms = Vec::new();
    for (mut arm, runs) in wanted {
        for (Wanted { seed, digest: planned, .. }, run) in runs.into_iter().zip(&mut read) {
            damage.extend(run.damage);
            notices.extend(run.notices);
            let own = digest(&run.found);
            if let (Some(planned), Some(own)) = (&planned, &own)
                && planned != own
            {
                notices.push(format!(
                    "{}/{}: made from other settings than the plan has (digests differ)",
                    arm.slug,
                    schema::seed_dir(seed)
                ));
            }
            arm.runs.push(Run { seed, digest: planned.or(own), found: run.found });
        }
        arms.push(arm);
    }
    arms
}

fn digest(found: &FoundRun) -> Option<String> {
    let FoundRun::Recorded(record) = found else { return None };
    record.config.provenance.as_ref()?.digest.clone()
}
