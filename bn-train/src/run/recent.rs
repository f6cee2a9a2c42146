//! The training scores since they were last written down.

use super::evaluation::Score;
use crate::state::{State, StateError};

/// Sums of the training scores since they were last asked for.
#[derive(Debug, Default)]
pub(super) struct Recent {
    steps: u64,
    loss: f64,
    accuracy: f64,
}

impl Recent {
    pub(super) fn add(&mut self, score: Score) {
        self.steps += 1;
        self.loss += score.loss;
        self.accuracy += score.accuracy;
    }

    /// The mean, if there was a step; starts afresh.
    pub(super) fn take(&mut self) -> Option<Score> {
        let Self { steps, loss, accuracy } = std::mem::take(self);
        (steps > 0).then(|| Score { loss: loss / steps as f64, accuracy: accuracy / steps as f64 })
    }

    pub(super) fn state(&self) -> State {
        let mut state = State::new();
        state.put("steps", self.steps);
        state.put("loss", self.loss);
        state.put("accuracy", self.accuracy);
        state
    }

    pub(super) fn from_state(mut state: State) -> Result<Self, StateError> {
        let recent = Self {
            steps: state.take_whole("steps")?,
            loss: state.take_number("loss")?,
            accuracy: state.take_number("accuracy")?,
        };
        state.finish()?;
        Ok(recent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_covers_the_steps_since_the_last_one_also_after_a_load() {
        let mut recent = Recent::default();
        assert_eq!(recent.take(), None);
        recent.add(Score { loss: 1.0, accuracy: 0.0 });
        let mut recent = Recent::from_state(recent.state()).unwrap();
        recent.add(Score { loss: 2.0, accuracy: 1.0 });
        assert_eq!(recent.take(), Some(Score { loss: 1.5, accuracy: 0.5 }));
        assert_eq!(recent.take(), None);
    }
}
