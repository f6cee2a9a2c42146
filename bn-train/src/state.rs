//! Named state: everything that a run must remember, by path, and its form as bytes.
//!
//! A part of a training run (a network, an optimizer, a sampler) puts what it holds into a [`State`] and takes it out
//! again. Paths are joined with dots: `model.hidden1.weight`, `optimizer.velocity.hidden1.weight`, `sampler.step`. The
//! bytes are a safetensors file, so other programs can read the tensors; the other values stand in its metadata. Files
//! and folders are not handled here.

use candle::{DType, Device, Tensor, Var};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// The only key of the file's metadata. One key, because a map of several would be written in random order.
const METADATA_KEY: &str = "bn-train";
/// Stands in the place of the digest while the digest is computed; of the same length.
const NO_DIGEST: &str = "blake3:0000000000000000000000000000000000000000000000000000000000000000";

/// One value of a [`State`].
#[derive(Clone, Debug)]
pub enum Value {
    /// Numbers with a shape. Never shares memory with a variable.
    Tensor(Tensor),
    /// A count or a position.
    Whole(u64),
    /// A single number; saved by its bits, so NaN and infinities survive.
    Number(f64),
    /// A word.
    Text(String),
}

/// Values by path, in the order of their paths.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Path of this state in a larger one, for error messages.
    path: String,
    values: BTreeMap<String, Value>,
}

/// Why a saved state cannot be read or does not fit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// A value that is needed is not there.
    #[error("`{path}` is missing from the saved state; expected {expected}")]
    Missing {
        /// Full path of the value.
        path: String,
        /// What should be there.
        expected: String,
    },
    /// A value of another kind, shape or type, or one that is out of range.
    #[error("`{path}` of the saved state: expected {expected}, found {found}")]
    Mismatch {
        /// Full path of the value.
        path: String,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Values that nothing asked for: the state is that of another kind of run.
    #[error("the saved state has values that this run does not: {}", .0.join(", "))]
    Unused(Vec<String>),
    /// The bytes are no state, or were changed since they were written.
    #[error("not a sound state file: {0}")]
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
    /// A state without values.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Paths and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Puts a number or a text at `name`, in place of what was there.
    pub fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.values.insert(name.to_owned(), value.into());
    }

    /// Puts a copy of `tensor` at `name`, in place of what was there.
    ///
    /// # Errors
    /// [`StateError::Tensor`] when it cannot be copied.
    pub fn put_tensor(&mut self, name: &str, tensor: &Tensor) -> Result<(), StateError> {
        // A variable changes in place: the state must keep what it holds now.
        self.values.insert(name.to_owned(), Value::Tensor(tensor.detach().copy()?));
        Ok(())
    }

    /// Puts all values of `part` below `name`.
    pub fn put_state(&mut self, name: &str, part: Self) {
        for (path, value) in part.values {
            self.values.insert(format!("{name}.{path}"), value);
        }
    }

    /// Takes out all values below `name`; there may be none.
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

    /// Takes out the tensor at `name`, onto the device of `like`.
    ///
    /// # Errors
    /// [`StateError::Missing`], or [`StateError::Mismatch`] unless it has the shape and type of `like`.
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

    /// Takes out the tensor at `name` and writes it into `variable`.
    ///
    /// # Errors
    /// As [`State::take_tensor`]; the variable is unchanged then.
    pub fn restore(&mut self, name: &str, variable: &Var) -> Result<(), StateError> {
        Ok(variable.set(&self.take_tensor(name, variable)?)?)
    }

    /// Takes out the whole number at `name`.
    ///
    /// # Errors
    /// [`StateError::Missing`] or [`StateError::Mismatch`].
    pub fn take_whole(&mut self, name: &str) -> Result<u64, StateError> {
        match self.take(name, &|| "a whole number".to_owned())? {
            Value::Whole(value) => Ok(value),
            other => Err(self.mismatch(name, "a whole number".to_owned(), other)),
        }
    }

    /// Takes out the number at `name`.
    ///
    /// # Errors
    /// [`StateError::Missing`] or [`StateError::Mismatch`].
    pub fn take_number(&mut self, name: &str) -> Result<f64, StateError> {
        match self.take(name, &|| "a number".to_owned())? {
            Value::Number(value) => Ok(value),
            other => Err(self.mismatch(name, "a number".to_owned(), other)),
        }
    }

    /// Takes out the text at `name`.
    ///
    /// # Errors
    /// [`StateError::Missing`] or [`StateError::Mismatch`].
    pub fn take_text(&mut self, name: &str) -> Result<String, StateError> {
        match self.take(name, &|| "a text".to_owned())? {
            Value::Text(text) => Ok(text),
            other => Err(self.mismatch(name, "a text".to_owned(), other)),
        }
    }

    /// Takes out the value at `name` and checks that it is `value`: for what a run is told and does not learn.
    ///
    /// # Errors
    /// [`StateError::Missing`] or [`StateError::Mismatch`].
    pub fn expect(&mut self, name: &str, value: impl Into<Value>) -> Result<(), StateError> {
        let wanted = value.into().to_string();
        let found = self.take(name, &|| wanted.clone())?;
        if found.to_string() == wanted { Ok(()) } else { Err(self.mismatch(name, wanted, found)) }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`StateError::Unused`] with the paths that nobody took.
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

/// What the metadata hold besides the tensors. The digest comes first: see [`digest_position`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    /// BLAKE3 of the whole file, with [`NO_DIGEST`] in the digest's own place.
    digest: String,
    values: BTreeMap<String, Plain>,
}

/// A value that is no tensor, as JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Plain {
    Whole(u64),
    /// The bits in hexadecimal digits.
    Number(String),
    Text(String),
}

impl State {
    /// The state as a safetensors file: equal states give equal bytes.
    ///
    /// # Errors
    /// [`StateError`] when a tensor is of a type that safetensors cannot hold, or cannot be copied to the host.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StateError> {
        let mut tensors: Vec<(&str, &Tensor)> = Vec::new();
        let mut values = BTreeMap::new();
        for (name, value) in &self.values {
            let plain = match value {
                Value::Tensor(tensor) => {
                    tensors.push((name, tensor));
                    continue;
                }
                Value::Whole(value) => Plain::Whole(*value),
                Value::Number(value) => Plain::Number(format!("{:016x}", value.to_bits())),
                Value::Text(text) => Plain::Text(text.clone()),
            };
            values.insert(name.clone(), plain);
        }
        let metadata = Metadata { digest: NO_DIGEST.to_owned(), values };
        let metadata = serde_json::to_string(&metadata).map_err(damaged)?;
        let metadata = HashMap::from([(METADATA_KEY.to_owned(), metadata)]);
        let mut bytes = safetensors::serialize(tensors, Some(metadata)).map_err(damaged)?;
        let digest = digest(&bytes);
        let place = digest_position(&bytes, NO_DIGEST)
            .ok_or_else(|| StateError::Damaged("no place for the digest".to_owned()))?;
        bytes[place..place + digest.len()].copy_from_slice(digest.as_bytes());
        Ok(bytes)
    }

    /// The state that [`State::to_bytes`] made these of, with its tensors on the CPU.
    ///
    /// # Errors
    /// [`StateError::Damaged`] when a single bit of them has changed, or they are something else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let text = header.metadata().as_ref().and_then(|metadata| metadata.get(METADATA_KEY));
        let text = text.ok_or_else(|| {
            StateError::Damaged(format!("its metadata have no key {METADATA_KEY:?}"))
        })?;
        let metadata: Metadata = serde_json::from_str(text).map_err(damaged)?;
        check_digest(bytes, &metadata.digest)?;
        let mut values = BTreeMap::new();
        for (name, plain) in metadata.values {
            values.insert(name, plain.into_value()?);
        }
        for (name, tensor) in candle::safetensors::load_buffer(bytes, &Device::Cpu)? {
            values.insert(name, Value::Tensor(tensor));
        }
        Ok(Self { path: String::new(), values })
    }
}

impl Plain {
    fn into_value(self) -> Result<Value, StateError> {
        Ok(match self {
            Self::Whole(value) => Value::Whole(value),
            Self::Number(bits) => {
                Value::Number(f64::from_bits(u64::from_str_radix(&bits, 16).map_err(damaged)?))
            }
            Self::Text(text) => Value::Text(text),
        })
    }
}

fn damaged(reason: impl fmt::Display) -> StateError {
    StateError::Damaged(reason.to_string())
}

fn digest(bytes: &[u8]) -> String {
    format!("blake3:{}", blake3::hash(bytes).to_hex())
}

/// Where `digest` stands in a file. Its metadata are written first, and in them the digest: so the first occurrence is
/// not a text of the state's own.
fn digest_position(bytes: &[u8], digest: &str) -> Option<usize> {
    bytes.windows(digest.len()).position(|window| window == digest.as_bytes())
}

fn check_digest(bytes: &[u8], expected: &str) -> Result<(), StateError> {
    let place = digest_position(bytes, expected).filter(|_| expected.len() == NO_DIGEST.len());
    let place = place.ok_or_else(|| StateError::Damaged("it has no digest".to_owned()))?;
    let mut without = bytes.to_vec();
    without[place..place + NO_DIGEST.len()].copy_from_slice(NO_DIGEST.as_bytes());
    let found = digest(&without);
    if found == expected {
        return Ok(());
    }
    Err(StateError::Damaged(format!(
        "its bytes have the digest {found}, it was written with {expected}"
    )))
}

#[cfg(test)]
mod tests;
