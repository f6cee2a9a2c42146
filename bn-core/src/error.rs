//! The crate's error type: the operation that refused, and why.
//!
//! Methods of this crate return [`Error`]; through candle's `ModuleT` it travels wrapped in a
//! [`candle::Error`], whose message is the same.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// The result of operations in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A refused operation: its message names the operation, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
#[error("{op}: {kind}")]
#[non_exhaustive]
pub struct Error {
    /// The operation that refused: a function's name, or ``batch norm `prefix` `` for a layer.
    pub op: Cow<'static, str>,
    /// Why.
    pub kind: ErrorKind,
}

/// Why an operation was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A tensor does not have the shape that the operation needs.
    #[error("expected `{name}` of shape {expected}, got {got:?}")]
    Shape {
        /// Which tensor.
        name: String,
        /// What was expected, in words.
        expected: String,
        /// What was found.
        got: Vec<usize>,
    },
    /// An axis does not exist, or is listed twice.
    #[error("axis {axis} is not one of the {rank} axes of the input, or is listed twice")]
    Axis {
        /// The axis that was asked for.
        axis: usize,
        /// Number of axes of the input.
        rank: usize,
    },
    /// The operation does not support a tensor's element type.
    #[error("expected `{name}` of type {expected}, got {got:?}")]
    DType {
        /// Which tensor.
        name: String,
        /// The accepted types.
        expected: &'static str,
        /// What was found.
        got: candle::DType,
    },
    /// Two tensors live on different devices.
    #[error("expected `{name}` on {expected}, got it on {got}")]
    Device {
        /// Which tensor.
        name: String,
        /// The layer's device.
        expected: String,
        /// The tensor's device.
        got: String,
    },
    /// A weight is negative, infinite or not a number.
    #[error("weights must be finite and not negative, got {value} at flat index {index}")]
    Weight {
        /// Index into the flattened weights.
        index: usize,
        /// The value there.
        value: f64,
    },
    /// A setting lies outside its range.
    #[error("{name}: expected {expected}, got {got}")]
    Value {
        /// The setting.
        name: &'static str,
        /// The accepted range, in words.
        expected: &'static str,
        /// What was found.
        got: String,
    },
    /// Two settings, or a setting and an argument, contradict each other.
    #[error("{first} and {second} exclude each other: {reason}")]
    Contradiction {
        /// One of them.
        first: &'static str,
        /// The other.
        second: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// The batch, of this shape, has no value per channel.
    #[error("a batch of shape {0:?} has no value per channel")]
    Empty(Vec<usize>),
    /// The batch, of this shape, has one value per channel, and the policy refuses that.
    #[error("shape {0:?} has one value per channel, so its variance is undefined")]
    OneValue(Vec<usize>),
    /// The weights of a batch sum to zero.
    #[error("the weights sum to zero, so there is no weighted mean")]
    ZeroWeight,
    /// A channel, the first such, is constant over the batch, and the policy refuses that.
    #[error("channel {0} is constant over the batch")]
    ConstantChannel(usize),
    /// A required variable is missing.
    #[error("no variable `{name}`; there are: {present}")]
    Missing {
        /// The name that was looked for.
        name: String,
        /// The names that exist, separated by commas.
        present: String,
    },
    /// The variable of this name exists, and `Reuse::Never` forbids sharing it.
    #[error(
        "variable `{0}` exists already, and this layer was asked not to share variables (Reuse::Never)"
    )]
    Exists(String),
    /// The variable of this name does not exist, and `Reuse::Always` requires it.
    #[error(
        "variable `{0}` does not exist, and this layer was asked to share variables (Reuse::Always)"
    )]
    NotThere(String),
    /// Ranks of a collective disagree, or one of them is gone.
    #[error("{0}")]
    Collective(String),
    /// candle refused an operation.
    #[error("tensor operation failed: {0}")]
    Candle(candle::Error),
}

impl From<candle::Error> for Error {
    fn from(source: candle::Error) -> Self {
        ErrorKind::Candle(source).at("candle")
    }
}

impl From<Error> for candle::Error {
    fn from(error: Error) -> Self {
        candle::Error::wrap(error)
    }
}

impl ErrorKind {
    /// The error of an operation.
    pub fn at(self, op: impl Into<Cow<'static, str>>) -> Error {
        Error { op: op.into(), kind: self }
    }
}

impl Error {
    pub(crate) fn value(name: &'static str, expected: &'static str, got: impl ToString) -> Self {
        ErrorKind::Value { name, expected, got: got.to_string() }.at("configuration")
    }

    pub(crate) fn shape(
        op: &'static str,
        name: &str,
        expected: impl ToString,
        got: &[usize],
    ) -> Self {
        let (name, expected) = (name.to_owned(), expected.to_string());
        ErrorKind::Shape { name, expected, got: got.to_vec() }.at(op)
    }

    pub(crate) fn dtype(
        op: &'static str,
        name: &str,
        expected: &'static str,
        got: candle::DType,
    ) -> Self {
        ErrorKind::DType { name: name.to_owned(), expected, got }.at(op)
    }

    /// A tensor that is not among the named ones.
    pub(crate) fn missing(
        op: &'static str,
        name: String,
        among: &BTreeMap<String, candle::Tensor>,
    ) -> Self {
        let present = among.keys().cloned().collect::<Vec<_>>().join(", ");
        ErrorKind::Missing { name, present }.at(op)
    }

    /// Two settings that exclude each other.
    pub(crate) fn contradiction(
        first: &'static str,
        second: &'static str,
        reason: &'static str,
    ) -> Self {
        ErrorKind::Contradiction { first, second, reason }.at("configuration")
    }

    /// The same error of another operation, such as a layer with its [name](layer_name).
    pub(crate) fn at(self, place: impl Into<Cow<'static, str>>) -> Self {
        self.kind.at(place)
    }
}

/// What errors call a layer.
pub(crate) fn layer_name(prefix: &str) -> String {
    if prefix.is_empty() { "batch norm".to_owned() } else { format!("batch norm `{prefix}`") }
}

/// Refuses a value outside a range, so that the rest of the code may rely on it.
pub(crate) fn require(
    holds: bool,
    name: &'static str,
    expected: &'static str,
    got: impl ToString,
) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::value(name, expected, got)) }
}
