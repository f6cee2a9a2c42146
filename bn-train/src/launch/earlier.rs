//! Checks what earlier launches left in an experiment's folder: which planned runs have completed, which can resume, and
//! which would overwrite runs with other settings.
//!
//! Runs with other settings never share a folder, because the report would compare them as if they were alike.

use super::job::Job;
use super::worker::PATIENCE_WITH_OWNER;
use crate::experiment::digest::{Difference, Surroundings};
use crate::experiment::plan::{Plan, Run};
use crate::experiment::{Experiment, Registry};
use crate::run::RunDirectory;
use crate::run::directory::{Earlier, partial_path, read};
use anyhow::{Context as _, bail};
use bn_report::schema::{RunConfig, Status, seed_dir, slug};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The state of the planned runs before training starts.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// For each job in order, the status of a completed run, which is not trained again.
    pub results: Vec<Option<Status>>,
    /// Number of runs that resume from a checkpoint.
    pub resumed: usize,
    /// Number of completed or resumed runs that another version of this program began, and one such version.
    pub other_version: Option<(usize, String)>,
}

/// What exists of one planned run.
#[derive(Clone, Debug, PartialEq)]
enum Found {
    /// Nothing worth keeping.
    Nothing,
    /// The same run, with a checkpoint.
    Checkpoint,
    /// The same run, completed.
    Result(Status),
    /// A run with other settings that has completed or can resume.
    Other(Box<Earlier>),
}

impl Standing {
    /// Checks the folder of each job, waiting for any process that still writes there.
    ///
    /// # Errors
    /// Runs with other settings exist and `is_replacing` is not set; the message names the keys that differ. Or another
    /// process keeps writing there.
    pub fn of(
        jobs: &[Job],
        neighbours: &[(PathBuf, RunConfig)],
        registry: &Registry,
        is_replacing: bool,
    ) -> anyhow::Result<Self> {
        let mut standing = Self::default();
        let mut others = Others::default();
        for job in jobs {
            let (found, version) = find(job)?;
            let is_resumed = matches!(found, Found::Checkpoint);
            let mut result = None;
            match found {
                Found::Nothing => {}
                Found::Checkpoint => standing.resumed += 1,
                Found::Result(status) => result = Some(status),
                Found::Other(earlier) => {
                    let config: RunConfig =
                        toml::from_str(&job.config).context("malformed settings of a run")?;
                    let there = earlier.config.as_ref().filter(|_| earlier.status.is_some());
                    others.add(&job.directory, there, &config, registry);
                }
            }
            if (is_resumed || result.is_some())
                && let Some(version) = version.filter(|version| version != crate::VERSION)
            {
                standing.other_version.get_or_insert((0, version)).0 += 1;
            }
            standing.results.push(result);
        }
        for (directory, config) in neighbours {
            let there = read(directory).filter(Earlier::is_result).and_then(|found| found.config);
            let Some(mut there) = there else {
                continue;
            };
            // The data of arms outside the plan is not loaded, so its digest is unknown.
            there.provenance.get_or_insert_default().data_digest = None;
            if !registry.differences(&there, config).is_empty() {
                others.add(directory, Some(&there), config, registry);
            }
        }
        if !is_replacing && !others.0.is_empty() {
            bail!(others.refusal());
        }
        Ok(standing)
    }
}

/// Existing runs of the experiment's arms and seeds that were not selected, with the settings they should have.
pub fn neighbours(
    experiment: &Experiment,
    plan: &Plan,
    folder: &Path,
    device: &str,
) -> anyhow::Result<Vec<(PathBuf, RunConfig)>> {
    let mut found = Vec::new();
    for arm in &experiment.arms {
        let arm_folder = folder.join(slug(&arm.name));
        let Ok(entries) = std::fs::read_dir(&arm_folder) else {
            continue;
        };
        for entry in entries {
            let name = entry.with_context(|| arm_folder.display().to_string())?.file_name();
            let seed = name.to_str().and_then(|name| name.strip_prefix("seed-")?.parse().ok());
            let Some(seed) = seed.filter(|&seed| *name == *seed_dir(seed)) else {
                continue;
            };
            if plan.runs.iter().any(|run| run.arm == arm.name && run.seed == seed) {
                continue;
            }
            let run = Run { arm: arm.name.clone(), seed, settings: arm.settings.clone() };
            let mut config = plan.config(&run, &Surroundings::default(), crate::VERSION, device);
            config.provenance.get_or_insert_default().data_digest = None;
            found.push((arm_folder.join(name), config));
        }
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(found)
}

/// What exists of a job's run, and which version of the program began it.
fn find(job: &Job) -> anyhow::Result<(Found, Option<String>)> {
    let is_there = job.directory.exists() || partial_path(&job.directory).exists();
    if !is_there && !job.directory.parent().is_some_and(Path::exists) {
        return Ok((Found::Nothing, None));
    }
    let directory = RunDirectory::take(&job.directory, PATIENCE_WITH_OWNER)
        .with_context(|| job.directory.display().to_string())?;
    let (complete, partial) = (directory.complete(), directory.partial());
    let version = [&complete, &partial].into_iter().flatten().find_map(Earlier::version);
    Ok((found(&job.digest, complete, partial), version))
}

/// Classifies what exists for the run with this digest: a complete run, or a partial one with a checkpoint.
fn found(digest: &str, complete: Option<Earlier>, partial: Option<Earlier>) -> Found {
    let is_ours = |earlier: &Earlier| earlier.digest() == Some(digest);
    match complete {
        // A run without a status is damaged, but not ours to remove.
        Some(complete) if complete.status.is_none() => return Found::Other(Box::new(complete)),
        Some(complete) if complete.is_result() => {
            return match &complete.status {
                Some(status) if is_ours(&complete) => Found::Result(status.clone()),
                _ => Found::Other(Box::new(complete)),
            };
        }
        _ => {}
    }
    match partial {
        Some(partial) if partial.has_checkpoint && is_ours(&partial) => Found::Checkpoint,
        Some(partial) if partial.has_checkpoint => Found::Other(Box::new(partial)),
        _ => Found::Nothing,
    }
}

/// Runs with other settings, grouped by difference: the first run's folder, and how many there are.
#[derive(Default)]
struct Others(BTreeMap<String, (PathBuf, usize)>);

impl Others {
    fn add(
        &mut self,
        directory: &Path,
        there: Option<&RunConfig>,
        here: &RunConfig,
        registry: &Registry,
    ) {
        let differences = there.map(|there| registry.differences(there, here));
        let text = match differences.as_deref() {
            None => "its files cannot be read".to_owned(),
            Some([]) => "its digest differs, though its settings are equal".to_owned(),
            Some(differences) => {
                let each: Vec<String> = differences.iter().map(Difference::to_string).collect();
                each.join("; ")
            }
        };
        self.0.entry(text).or_insert_with(|| (directory.to_owned(), 0)).1 += 1;
    }

    fn refusal(&self) -> String {
        let mut text = "this would replace or mix with runs that have other settings:\n".to_owned();
        for (difference, (first, count)) in &self.0 {
            let more = match count - 1 {
                0 => String::new(),
                1 => " and 1 more".to_owned(),
                more => format!(" and {more} more"),
            };
            text += &format!("  {}{more}: {difference}\n", first.display());
        }
        text + "choose another folder with --name NAME or --out DIR, or replace those runs with --replace"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bn_report::schema::Provenance;

    fn earlier(status: Option<Status>, digest: &str, has_checkpoint: bool) -> Earlier {
        let provenance = Provenance { digest: Some(digest.to_owned()), ..Provenance::default() };
        let config = RunConfig {
            name: "a".into(),
            arm: "b".into(),
            seed: 0,
            question: None,
            target: None,
            provenance: Some(provenance),
            settings: toml::Table::new(),
        };
        Earlier { status, config: Some(config), has_checkpoint }
    }

    #[test]
    fn same_run_is_skipped_or_resumed_and_other_runs_are_kept() {
        let finished = |digest| Some(earlier(Some(Status::Finished), digest, false));
        let partial = |digest, has_checkpoint| {
            Some(earlier(Some(Status::Interrupted), digest, has_checkpoint))
        };
        let damaged = Some(earlier(None, "ours", false));
        let is_other = |found| matches!(found, Found::Other(_));

        assert_eq!(found("ours", None, None), Found::Nothing);
        assert_eq!(found("ours", finished("ours"), None), Found::Result(Status::Finished));
        assert_eq!(
            found("ours", finished("ours"), partial("other", true)),
            Found::Result(Status::Finished)
        );
        assert!(is_other(found("ours", finished("other"), None)));
        assert!(is_other(found("ours", finished("other"), partial("ours", true))));
        assert!(is_other(found("ours", damaged, None)));
        assert_eq!(found("ours", None, partial("ours", true)), Found::Checkpoint);
        assert_eq!(found("ours", None, partial("ours", false)), Found::Nothing);
        assert!(is_other(found("ours", None, partial("other", true))));
        assert_eq!(found("ours", None, partial("other", false)), Found::Nothing);
        // Older versions left such folders.
        assert_eq!(found("ours", partial("other", false), None), Found::Nothing);
    }
}
