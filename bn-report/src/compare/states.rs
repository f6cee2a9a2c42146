//! How the runs of an arm stand. Every run is in exactly one state. Pure.

use crate::read::Run;
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
}

impl States {
    pub(super) fn of<'a>(runs: impl IntoIterator<Item = &'a Run>) -> Self {
        let mut states = Self::default();
        for run in runs {
            *match run.status() {
                Some(Status::Finished) => &mut states.finished,
                Some(Status::Diverged { .. }) => &mut states.diverged,
                Some(Status::Failed { .. }) => &mut states.failed,
                Some(Status::Interrupted) => &mut states.interrupted,
                Some(Status::Running) => &mut states.running,
                None => &mut states.missing,
            } += 1;
        }
        states
    }

    /// All of them.
    pub fn total(&self) -> usize {
        self.named().iter().map(|(_, number)| number).sum()
    }

    /// Each state's word and number, in a fixed order.
    pub fn named(&self) -> [(&'static str, usize); 6] {
        [
            ("finished", self.finished),
            ("diverged", self.diverged),
            ("failed", self.failed),
            ("interrupted", self.interrupted),
            ("running", self.running),
            ("missing", self.missing),
        ]
    }
}
