//! Exponential moving averages of the weights, used only in evaluations.
//!
//! `average = decay * average + (1 - decay) * weight` after each step. The first step sets the average to the weight.

use crate::ops::buffer::{Numbers, is_plain};
use crate::state::{State, StateError};
use candle::{Result, Tensor, Var};

/// Statistics that the norm layers use when averaged weights are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AveragedStatistics {
    /// Averages of the moving statistics, with the same decay as the weights.
    Averaged,
    /// The moving statistics of the trained weights.
    Copied,
    /// Statistics recomputed over training examples with the averaged weights.
    Recomputed,
}

/// Settings of weight averaging.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AverageSettings {
    /// Weight of the old average, `0 <= decay < 1`. Default 0.999.
    pub decay: f64,
    /// Statistics of the norm layers. Default averaged.
    pub statistics: AveragedStatistics,
}

/// Moving averages of variables.
#[derive(Debug)]
pub struct WeightAverage {
    decay: f64,
    variables: Vec<(String, Var)>,
    averages: Vec<Tensor>,
    /// Updates so far.
    count: u64,
}

impl WeightAverage {
    /// Averages of `variables`. `decay` is the weight of the old value, `0 <= decay < 1`.
    ///
    /// # Errors
    /// Errors of candle, for example too little memory.
    pub fn new(decay: f64, variables: Vec<(String, Var)>) -> Result<Self> {
        let copy = |(_, variable): &(String, Var)| variable.as_detached_tensor().copy();
        let averages = variables.iter().map(copy).collect::<Result<_>>()?;
        Ok(Self { decay, variables, averages, count: 0 })
    }

    /// Updates the averages with the current values.
    ///
    /// # Errors
    /// Errors of candle.
    pub fn update(&mut self) -> Result<()> {
        let decay = if self.count == 0 { 0.0 } else { self.decay };
        for ((_, variable), average) in self.variables.iter().zip(&mut self.averages) {
            *average = mixed(average, variable, decay)?;
        }
        self.count += 1;
        Ok(())
    }

    /// Runs `evaluate` with the averages in the variables, and restores their values afterwards, even if it fails.
    ///
    /// # Errors
    /// Errors of `evaluate` or candle.
    pub fn evaluate<T, E: From<candle::Error>>(
        &self,
        evaluate: impl FnOnce() -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let mut weights = Vec::with_capacity(self.variables.len());
        for (_, variable) in &self.variables {
            weights.push(variable.as_detached_tensor().copy()?);
        }
        let result = self.set(&self.averages).map_err(E::from).and_then(|()| evaluate());
        self.set(&weights)?;
        result
    }

    fn set(&self, values: &[Tensor]) -> Result<()> {
        self.variables.iter().zip(values).try_for_each(|((_, variable), value)| variable.set(value))
    }

    /// The averages, by variable name.
    ///
    /// # Errors
    /// [`StateError::Tensor`].
    pub fn state(&self) -> std::result::Result<State, StateError> {
        let mut state = State::new();
        state.put("updates", self.count);
        for ((name, _), average) in self.variables.iter().zip(&self.averages) {
            state.put_tensor(&format!("average.{name}"), average)?;
        }
        Ok(state)
    }

    /// Restores the result of [`WeightAverage::state`].
    ///
    /// # Errors
    /// [`StateError`] with the path of the value that is missing or does not fit.
    pub fn load(&mut self, mut state: State) -> std::result::Result<(), StateError> {
        self.count = state.take_whole("updates")?;
        for ((name, variable), average) in self.variables.iter().zip(&mut self.averages) {
            *average = state.take_tensor(&format!("average.{name}"), variable)?;
        }
        state.finish()
    }
}

/// `decay * average + (1 - decay) * value`.
fn mixed(average: &Tensor, value: &Var, decay: f64) -> Result<Tensor> {
    let value = value.as_detached_tensor();
    if !is_plain(&value) {
        return (average * decay)? + (value * (1.0 - decay))?;
    }
    let (old, new) = (Numbers::of(average)?, Numbers::of(&value)?);
    let (decay, rest) = (decay as f32, (1.0 - decay) as f32);
    let mixed = old.iter().zip(new.iter()).map(|(old, new)| decay * old + rest * new);
    Tensor::from_iter(mixed, average.device())?.reshape(average.shape())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::{DType, Device};

    fn variable(values: &[f64], dtype: DType) -> Var {
        let values = Tensor::new(values, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        Var::from_tensor(&values).unwrap()
    }

    fn set(variable: &Var, values: &[f64]) {
        let values = Tensor::new(values, &Device::Cpu).unwrap();
        variable.set(&values.to_dtype(variable.dtype()).unwrap()).unwrap();
    }

    fn get(variable: &Var) -> Vec<f64> {
        variable.to_dtype(DType::F64).unwrap().to_vec1().unwrap()
    }

    fn averaged(average: &WeightAverage, variable: &Var) -> Vec<f64> {
        average.evaluate(|| Ok::<_, candle::Error>(get(variable))).unwrap()
    }

    #[test]
    fn average_follows_the_recurrence_and_starts_at_the_first_weight() {
        for dtype in [DType::F32, DType::F64] {
            let weight = variable(&[5.0, -1.0], dtype);
            let mut average = WeightAverage::new(0.75, vec![("w".into(), weight.clone())]).unwrap();
            set(&weight, &[4.0, 8.0]);
            average.update().unwrap();
            assert_eq!(averaged(&average, &weight), [4.0, 8.0]);
            set(&weight, &[8.0, 0.0]);
            average.update().unwrap();
            assert_eq!(averaged(&average, &weight), [5.0, 6.0]);
        }
    }

    #[test]
    fn constant_weight_is_its_own_average_at_every_step() {
        let weight = variable(&[0.1, 1e6], DType::F64);
        let mut average = WeightAverage::new(0.99, vec![("w".into(), weight.clone())]).unwrap();
        for _ in 0..100 {
            average.update().unwrap();
            for (got, want) in averaged(&average, &weight).iter().zip(get(&weight)) {
                assert!((got - want).abs() <= 1e-13 * want);
            }
        }
    }

    #[test]
    fn weights_are_restored_after_a_failed_evaluation() {
        let weight = variable(&[1.0], DType::F32);
        let average = WeightAverage::new(0.5, vec![("w".into(), weight.clone())]).unwrap();
        set(&weight, &[3.0]);
        let failed: Result<()> = average.evaluate(|| candle::bail!("on purpose"));
        assert!(failed.is_err());
        assert_eq!(get(&weight), [3.0]);
    }

    #[test]
    fn loaded_average_continues_bitwise() {
        let weight = variable(&[0.3, 0.7], DType::F32);
        let named = || vec![("w".to_owned(), weight.clone())];
        let mut first = WeightAverage::new(0.9, named()).unwrap();
        let mut values = (0..10).map(|i| [f64::from(i).sin(), f64::from(i).cos()]);
        for value in values.by_ref().take(5) {
            set(&weight, &value);
            first.update().unwrap();
        }
        let bytes = first.state().unwrap().to_bytes().unwrap();
        let mut second = WeightAverage::new(0.9, named()).unwrap();
        second.load(State::from_bytes(&bytes).unwrap()).unwrap();
        for value in values {
            set(&weight, &value);
            first.update().unwrap();
            second.update().unwrap();
        }
        assert_eq!(averaged(&first, &weight), averaged(&second, &weight));
        assert!(second.load(State::new()).is_err());
    }
}
