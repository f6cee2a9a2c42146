//! What earlier programs left in the folder of an experiment: which of the planned runs are results already, which go on,
//! and which would put their results in the place of other ones.
//!
//! Results of other settings never share a folder: two of them in one report would be compared as if they were alike.

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

/// How the planned runs stand before the first of them begins.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// In the order of the jobs: how a run ended that is a result, and is not trained again.
    pub results: Vec<Option<Status>>,
    /// How many go on from a checkpoint.
    pub resumed: usize,
    /// How many of both were begun by another version of this program; one such version.
    pub other_version: Option<(usize, String)>,
}

/// What is there of one planned run.
#[derive(Clone, Debug, PartialEq)]
enum Found {
    /// Nothing that would be missed.
    Nothing,
    /// The same run, up to a checkpoint.
    Checkpoint,
    /// The same run, as a result.
    Result(Status),
    /// Another run, that is a result or could become one.
    Other(Box<Earlier>),
}

impl Standing {
    /// Looks at the place of each job, after whoever still writes there has ended.
    ///
    /// # Errors
    /// Runs of other settings are there, and `is_replacing` is not set: the message says on which keys they differ. Or a
    /// process that does not end still writes there.
    pub fn of(
        jobs: &[Job],
        neighbours: &[(PathBuf, RunConfig)],
        registry: &Registry,
        is_replacing: bool,
    ) -> anyhow::Result<Self> {
        let mut standing = Self::default();
        let mut others = Others::default();
        for job in jobs {
            let (found, version) = look(job)?;
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
            // Data of an arm outside of the plan is not loaded.
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

/// Where runs of this experiment lie that are not in the plan, with the settings that they should have: seeds that were
/// not selected, and arms. Only results count.
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

/// What is there of a job's run, and which version of the program began it.
fn look(job: &Job) -> anyhow::Result<(Found, Option<String>)> {
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

/// What is there of the run with this digest. A result counts; so does a partial run that could become one.
fn found(digest: &str, complete: Option<Earlier>, partial: Option<Earlier>) -> Found {
    let is_ours = |earlier: &Earlier| earlier.digest() == Some(digest);
    match complete {
        // Without a status it is damaged, which is no reason to remove it.
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

/// Runs of other settings, by what is different: the first one, and how many there are.
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
            Some([]) => "its digest is another, though its settings are the same".to_owned(),
            Some(differences) => {
                let each: Vec<String> = differences.iter().map(Difference::to_string).collect();
                each.join("; ")
            }
        };
        self.0.entry(text).or_insert_with(|| (directory.to_owned(), 0)).1 += 1;
    }

    fn refusal(&self) -> String {
        let mut text =
            "other runs are there, which these would replace or be mixed with:\n".to_owned();
        for (difference, (first, count)) in &self.0 {
            let more = match count - 1 {
                0 => String::new(),
                1 => " and 1 more".to_owned(),
                more => format!(" and {more} more"),
            };
            text += &format!("  {}{more}: {difference}\n", first.display());
        }
        text + "give these a folder of their own with --name NAME or --out DIR, or replace the others with --replace"
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
    fn same_run_is_skipped_or_resumed_and_no_other_is_replaced() {
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
        // As an older version left it.
        assert_eq!(found("ours", partial("other", false), None), Found::Nothing);
    }
}
