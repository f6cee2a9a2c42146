//! How the runs of an arm stand. Every run is in exactly one state. Pure.

use crate::read::{FoundRun, Run};
use crate::schema::Status;

/// How many runs are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct States {
    /// Did every step.
    pub finished: usize,
    /// Ended at a number that is not finite.
    pub diverged: usize,
    /// Ended with an error.
    pub failed: usize,
    /// Were stopped.
    pub interrupted: usize,
    /// Still going on, or killed without a word.
    pub running: usize,
    /// Planned, and no directory is there.
    pub missing: usize,
    /// A file of theirs cannot be read.
    pub damaged: usize,
}

impl States {
    pub(super) fn of<'a>(runs: impl IntoIterator<Item = &'a Run>) -> Self {
        let mut states = Self::default();
        for run in runs {
            *match &run.found {
                FoundRun::Missing => &mut states.missing,
                FoundRun::Damaged(_) => &mut states.damaged,
                FoundRun::Recorded(record) => match record.status {
                    Status::Finished => &mut states.finished,
                    Status::Diverged { .. } => &mut states.diverged,
                    Status::Failed { .. } => &mut states.failed,
                    Status::Interrupted => &mut states.interrupted,
                    Status::Running => &mut states.running,
                },
            } += 1;
        }
        states
    }

    /// These and those.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            finished: self.finished + other.finished,
            diverged: self.diverged + other.diverged,
            failed: self.failed + other.failed,
            interrupted: self.interrupted + other.interrupted,
            running: self.running + other.running,
            missing: self.missing + other.missing,
            damaged: self.damaged + other.damaged,
        }
    }

    /// All of them.
    pub fn total(&self) -> usize {
        self.named().iter().map(|(_, number)| number).sum()
    }

    /// Each state's word and number, in a fixed order.
    pub fn named(&self) -> [(&'static str, usize); 7] {
        [
            ("finished", self.finished),
            ("diverged", self.diverged),
            ("failed", self.failed),
            ("interrupted", self.interrupted),
            ("running", self.running),
            ("missing", self.missing),
            ("damaged", self.damaged),
        ]
    }
}
