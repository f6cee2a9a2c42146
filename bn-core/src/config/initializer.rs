//! The initial value of a variable, and whether it may exist already.

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The initial value of a variable.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(rename_all = "snake_case"))]
pub enum Initializer {
    /// One value in every channel.
    Constant(f64),
    /// A value for each channel.
    Values(Vec<f64>),
}

impl Initializer {
    /// All zeros.
    pub const ZEROS: Self = Initializer::Constant(0.0);
    /// All ones.
    pub const ONES: Self = Initializer::Constant(1.0);

    pub(crate) fn check(&self, name: &'static str, channels: usize) -> Result<()> {
        let values = self.values(channels);
        if values.len() != channels {
            let expected = format!("one value for each of {channels} channels");
            return Err(Error::shape("configuration", name, expected, &[values.len()]));
        }
        match values.iter().find(|value| !value.is_finite()) {
            Some(value) => Err(Error::value(name, "finite initial values", value)),
            None => Ok(()),
        }
    }

    pub(crate) fn values(&self, channels: usize) -> Vec<f64> {
        match self {
            Initializer::Constant(value) => vec![*value; channels],
            Initializer::Values(values) => values.clone(),
        }
    }
}

/// Whether a layer may share the variables of an earlier layer on the same prefix, as TensorFlow's `reuse`
/// does. Only a `VarBuilder` backed by a `VarMap` shares variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(rename_all = "snake_case"))]
pub enum Reuse {
    /// Share what exists, create the rest (`tf.AUTO_REUSE`).
    #[default]
    Auto,
    /// Everything must exist (`reuse=True`).
    Always,
    /// Nothing may exist (`reuse=False`).
    Never,
}
