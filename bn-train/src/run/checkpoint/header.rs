//! Metadata of a checkpoint, and the choice of the best one.

use super::SCHEMA;
use crate::state::{State, StateError};
use std::collections::BTreeMap;

/// Metadata of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Digest of the run's settings; only a run with the same digest may resume from the checkpoint.
    pub run_digest: String,
    /// Number of optimizer updates.
    pub step: u64,
    /// Lengths in bytes of the run's growing files, by name. Resuming truncates the files to these lengths.
    pub files: BTreeMap<String, u64>,
    /// The best checkpoint so far, including this one.
    pub best: Option<Best>,
}

/// The checkpoint with the best score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Best {
    /// Its step.
    pub step: u64,
    /// Its score: the task's main metric on the validation split.
    pub score: f64,
}

impl Best {
    /// The better of the best so far and a new score. Ties keep the older one.
    pub fn of(
        before: Option<Self>,
        step: u64,
        score: Option<f64>,
        is_higher_better: bool,
    ) -> Option<Self> {
        let new = score.filter(|score| !score.is_nan()).map(|score| Self { step, score });
        let is_better = |new: f64, before: f64| {
            if is_higher_better { new > before } else { new < before }
        };
        match (before, new) {
            (Some(before), Some(new)) if is_better(new.score, before.score) => Some(new),
            (before, new) => before.or(new),
        }
    }
}

impl Header {
    pub(super) fn to_state(&self) -> State {
        let mut state = State::new();
        state.put("schema", SCHEMA);
        state.put("run_digest", self.run_digest.as_str());
        state.put("step", self.step);
        for (name, length) in &self.files {
            state.put(&format!("files.{name}"), *length);
        }
        if let Some(best) = self.best {
            state.put("best.step", best.step);
            state.put("best.score", best.score);
        }
        state
    }

    /// Reads everything except the schema, which the caller has taken.
    pub(super) fn from_state(mut state: State) -> Result<Self, StateError> {
        let mut files = BTreeMap::new();
        let mut lengths = state.take_state("files");
        let names: Vec<String> = lengths.iter().map(|(name, _)| name.to_owned()).collect();
        for name in names {
            files.insert(name.clone(), lengths.take_whole(&name)?);
        }
        let mut best = state.take_state("best");
        let header = Self {
            run_digest: state.take_text("run_digest")?,
            step: state.take_whole("step")?,
            files,
            best: if best.is_empty() {
                None
            } else {
                Some(Best { step: best.take_whole("step")?, score: best.take_number("score")? })
            },
        };
        state.finish()?;
        Ok(header)
    }
}
