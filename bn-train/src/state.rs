//! Named state: everything that a run must save, by path, and its serialization.
//!
//! The parts of a training run (network, optimizer) save their values to a [`State`] and restore them from it. Paths are
//! joined with dots: `model.hidden1.weight`, `optimizer.velocity.hidden1.weight`. This module does not access files.

mod bytes;

use candle::{DType, Tensor, Var};
use std::collections::BTreeMap;
use std::fmt;

/// One value of a [`State`].
#[derive(Clone, Debug)]
pub enum Value {
    /// A tensor, which never shares memory with a variable.
    Tensor(Tensor),
    /// A count.
    Whole(u64),
    /// A number, saved by its bits, so that NaN and infinities survive.
    Number(f64),
    /// A text.
    Text(String),
}

/// Values sorted by path.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Path of this state within a larger one, for error messages.
    path: String,
    values: BTreeMap<String, Value>,
}

/// Why a saved state cannot be read or does not fit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// A required value is missing.
    #[error("`{path}` is missing from the saved state; expected {expected}")]
    Missing {
        /// Full path of the value.
        path: String,
        /// What was expected.
        expected: String,
    },
    /// A value has the wrong kind, shape or type, or is out of range.
    #[error("`{path}` of the saved state: expected {expected}, found {found}")]
    Mismatch {
        /// Full path of the value.
        path: String,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
    },
    /// Values that were not read, because the state belongs to another kind of run.
    #[error("the saved state has values that this run does not have: {}", .0.join(", "))]
    Unused(Vec<String>),
    /// The bytes are not a state, or have changed since they were written.
    #[error("damaged or not a state file: {0}")]
    Damaged(String),
    /// A tensor could not be copied to or from its device.
    #[error("tensor operation failed")]
    Tensor(#[from] candle::Error),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tensor(tensor) => f.write_str(&describe(tensor.dims(), tensor.dtype())),
            Self::Whole(value) => write!(f, "the whole number {value}"),
            Self::Number(value) => write!(f, "the number {value}"),
            Self::Text(text) => write!(f, "the text {text:?}"),
        }
    }
}

/// `a tensor [3, 4] of f32`.
fn describe(dims: &[usize], dtype: DType) -> String {
    format!("a tensor {dims:?} of {}", dtype.as_str())
}

impl State {
    /// An empty state.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the state is empty.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Paths and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Sets the value at `name`.
    pub fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.values.insert(name.to_owned(), value.into());
    }

    /// Sets the value at `name` to a copy of `tensor`.
    ///
    /// # Errors
    /// [`StateError::Tensor`] if it cannot be copied.
    pub fn put_tensor(&mut self, name: &str, tensor: &Tensor) -> Result<(), StateError> {
        // Copy, because variables change in place.
        self.values.insert(name.to_owned(), Value::Tensor(tensor.detach().copy()?));
        Ok(())
    }

    /// Adds all values of `part` under `name`.
    pub fn put_state(&mut self, name: &str, part: Self) {
        for (path, value) in part.values {
            self.values.insert(format!("{name}.{path}"), value);
        }
    }

    /// Removes and returns all values under `name`, possibly none.
    pub fn take_state(&mut self, name: &str) -> Self {
        let prefix = format!("{name}.");
        let is_below = |path: &str| path.starts_with(&prefix);
        let (taken, left) = std::mem::take(&mut self.values)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(path, _)| is_below(path));
        self.values = left;
        let values =
            taken.into_iter().map(|(path, value)| (path[prefix.len()..].to_owned(), value));
        Self { path: self.full_path(name), values: values.collect() }
    }

    /// Removes the tensor at `name` and copies it to the device of `like`.
    ///
    /// # Errors
    /// [`StateError::Missing`], or [`StateError::Mismatch`] if its shape or type differs from `like`.
    pub fn take_tensor(&mut self, name: &str, like: &Tensor) -> Result<Tensor, StateError> {
        let expected = || describe(like.dims(), like.dtype());
        match self.take(name, &expected)? {
            Value::Tensor(tensor)
                if tensor.dims() == like.dims() && tensor.dtype() == like.dtype() =>
            {
                Ok(tensor.to_device(like.device())?)
            }
            other => Err(self.mismatch(name, expected(), other)),
        }
    }

    /// Removes the tensor at `name` and writes it to `variable`.
    ///
    /// # Errors
    /// As [`State::take_tensor`]. The variable is then unchanged.
    pub fn restore(&mut self, name: &str, variable: &Var) -> Result<(), StateError> {
        Ok(variable.set(&self.take_tensor(name, variable)?)?)
    }

    /// Removes and returns the whole number at `name`.
    ///
    /// # Errors
    /// [`StateError::Missing`] or [`StateError::Mismatch`].
    pub fn take_whole(&mut self, name: &str) -> Result<u64, StateError> {
        match self.take(name, &|| "a whole number".to_owned())? {
            Value::Whole(value) => Ok(value),
            other => Err(self.mismatch(name, "a whole number".to_owned(), other)),
        }
    }

    /// Removes and returns the number at `name`.
    ///
    /// # Errors
    /// [`StateError::Missing`] or [`StateError::Mismatch`].
    pub fn take_number(&mut self, name: &str) -> Result<f64, StateError> {
        match self.take(name, &|| "a number".to_owned())? {
            Value::Number(value) => Ok(value),
            other => Err(self.mismatch(name, "a number".to_owned(), other)),
        }
    }

    /// Removes and returns the text at `name`.
    ///
    /// # Errors
    /// [`StateError::Missing`] or [`StateError::Mismatch`].
    pub fn take_text(&mut self, name: &str) -> Result<String, StateError> {
        match self.take(name, &|| "a text".to_owned())? {
            Value::Text(text) => Ok(text),
            other => Err(self.mismatch(name, "a text".to_owned(), other)),
        }
    }

    /// Removes the value at `name` and checks that it equals `value`.
    ///
    /// # Errors
    /// [`StateError::Missing`] or [`StateError::Mismatch`].
    pub fn expect(&mut self, name: &str, value: impl Into<Value>) -> Result<(), StateError> {
        let wanted = value.into().to_string();
        let found = self.take(name, &|| wanted.clone())?;
        if found.to_string() == wanted { Ok(()) } else { Err(self.mismatch(name, wanted, found)) }
    }

    /// Checks that all values were taken.
    ///
    /// # Errors
    /// [`StateError::Unused`] with the paths of the remaining values.
    pub fn finish(self) -> Result<(), StateError> {
        if self.values.is_empty() {
            return Ok(());
        }
        Err(StateError::Unused(self.values.keys().map(|name| self.full_path(name)).collect()))
    }

    fn take(&mut self, name: &str, expected: &dyn Fn() -> String) -> Result<Value, StateError> {
        self.values
            .remove(name)
            .ok_or_else(|| StateError::Missing { path: self.full_path(name), expected: expected() })
    }

    fn mismatch(&self, name: &str, expected: String, found: Value) -> StateError {
        StateError::Mismatch { path: self.full_path(name), expected, found: found.to_string() }
    }

    fn full_path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

#[cfg(test)]
mod tests;
