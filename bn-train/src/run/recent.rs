//! Running means of the training scores between evaluations.

use crate::state::{State, StateError};

/// Sums of the training scores since they were last taken.
#[derive(Debug)]
pub(super) struct Recent {
    names: &'static [&'static str],
    steps: u64,
    sums: Vec<f64>,
}

impl Recent {
    /// Empty sums of scores with these names.
    pub(super) fn new(names: &'static [&'static str]) -> Self {
        Self { names, steps: 0, sums: vec![0.0; names.len()] }
    }

    pub(super) fn add(&mut self, scores: &[f64]) {
        self.steps += 1;
        for (sum, score) in self.sums.iter_mut().zip(scores) {
            *sum += score;
        }
    }

    /// The mean scores, or `None` if there was no step. Resets the sums.
    pub(super) fn take(&mut self) -> Option<Vec<f64>> {
        let Self { steps, sums, .. } = std::mem::replace(self, Self::new(self.names));
        (steps > 0).then(|| sums.into_iter().map(|sum| sum / steps as f64).collect())
    }

    pub(super) fn state(&self) -> State {
        let mut state = State::new();
        state.put("steps", self.steps);
        for (name, sum) in self.names.iter().zip(&self.sums) {
            state.put(name, *sum);
        }
        state
    }

    pub(super) fn load(&mut self, mut state: State) -> Result<(), StateError> {
        self.steps = state.take_whole("steps")?;
        for (name, sum) in self.names.iter().zip(&mut self.sums) {
            *sum = state.take_number(name)?;
        }
        state.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_covers_the_steps_since_the_last_take_across_a_load() {
        let mut recent = Recent::new(&["loss", "accuracy"]);
        assert_eq!(recent.take(), None);
        recent.add(&[1.0, 0.0]);
        let saved = recent.state();
        let mut recent = Recent::new(&["loss", "accuracy"]);
        recent.load(saved).unwrap();
        recent.add(&[2.0, 1.0]);
        assert_eq!(recent.take(), Some(vec![1.5, 0.5]));
        assert_eq!(recent.take(), None);
    }
}
