//! The crate's error type. Every variant names the operation, what it expected and what it got.
//!
//! Methods of this crate return [`Error`]; through candle's `ModuleT` it travels wrapped in a
//! [`candle::Error`], whose message is the same.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// The result of operations in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The operation that refused: a function's name, or ``batch norm `prefix` `` for a layer.
pub type Op = Cow<'static, str>;

/// Why an operation was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input has too few dimensions.
    #[error("{op}: expected an input of rank {expected}, got shape {shape:?}")]
    Rank {
        /// The operation.
        op: Op,
        /// The ranks that are accepted, such as `2 or more`.
        expected: String,
        /// Shape of the input.
        shape: Vec<usize>,
    },
    /// An axis does not exist, or is listed twice.
    #[error("{op}: axis {axis} is not one of the {rank} axes of the input, or is listed twice")]
    Axis {
        /// The operation.
        op: Op,
        /// The axis that was asked for.
        axis: usize,
        /// Number of axes of the input.
        rank: usize,
    },
    /// The input has another number of channels than the layer.
    #[error("{op}: expected {expected} channels on axis {axis}, got shape {shape:?}")]
    Channels {
        /// The operation.
        op: Op,
        /// Channels of the layer.
        expected: usize,
        /// The channel axis.
        axis: usize,
        /// Shape of the input.
        shape: Vec<usize>,
    },
    /// A tensor does not have the shape that the operation needs.
    #[error("{op}: expected `{name}` of shape {expected}, got {got:?}")]
    Shape {
        /// The operation.
        op: Op,
        /// Which tensor.
        name: String,
        /// What was expected, in words.
        expected: String,
        /// What was found.
        got: Vec<usize>,
    },
    /// The operation does not support a tensor's element type.
    #[error("{op}: expected `{name}` of type {expected}, got {got:?}")]
    DType {
        /// The operation.
        op: Op,
        /// Which tensor.
        name: String,
        /// The accepted types.
        expected: &'static str,
        /// What was found.
        got: candle::DType,
    },
    /// Two tensors live on different devices.
    #[error("{op}: expected `{name}` on {expected}, got it on {got}")]
    Device {
        /// The operation.
        op: Op,
        /// Which tensor.
        name: String,
        /// The layer's device.
        expected: String,
        /// The tensor's device.
        got: String,
    },
    /// A weight is negative, infinite or not a number.
    #[error("{op}: weights must be finite and not negative, got {value} at flat index {index}")]
    Weight {
        /// The operation.
        op: Op,
        /// Index into the flattened weights.
        index: usize,
        /// The value there.
        value: f64,
    },
    /// A setting lies outside its range.
    #[error("{op}: {name}: expected {expected}, got {got}")]
    Value {
        /// The operation.
        op: Op,
        /// The setting.
        name: &'static str,
        /// The accepted range, in words.
        expected: &'static str,
        /// What was found.
        got: String,
    },
    /// Two settings, or a setting and an argument, contradict each other.
    #[error("{op}: {first} and {second} exclude each other: {reason}")]
    Contradiction {
        /// The operation.
        op: Op,
        /// One of them.
        first: &'static str,
        /// The other.
        second: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// The batch has no value per channel.
    #[error("{op}: a batch of shape {shape:?} has no value per channel")]
    Empty {
        /// The operation.
        op: Op,
        /// Shape of the input.
        shape: Vec<usize>,
    },
    /// The batch has one value per channel, and the policy refuses that.
    #[error("{op}: shape {shape:?} has one value per channel, so its variance is undefined")]
    OneValue {
        /// The operation.
        op: Op,
        /// Shape of the input.
        shape: Vec<usize>,
    },
    /// The weights of a batch sum to zero.
    #[error("{op}: the weights sum to zero, so there is no weighted mean")]
    ZeroWeight {
        /// The operation.
        op: Op,
    },
    /// A channel is constant over the batch, and the policy refuses that.
    #[error("{op}: channel {channel} is constant over the batch")]
    ConstantChannel {
        /// The operation.
        op: Op,
        /// The first constant channel.
        channel: usize,
    },
    /// A required variable is missing.
    #[error("{op}: no variable `{name}`; there are: {present}")]
    Missing {
        /// The operation.
        op: Op,
        /// The name that was looked for.
        name: String,
        /// The names that exist, separated by commas.
        present: String,
    },
    /// A variable exists, and `Reuse::Never` forbids sharing it.
    #[error(
        "variable `{name}` exists already, and this layer was asked not to share variables (Reuse::Never)"
    )]
    Exists {
        /// The full name.
        name: String,
    },
    /// A variable does not exist, and `Reuse::Always` requires it.
    #[error(
        "variable `{name}` does not exist, and this layer was asked to share variables (Reuse::Always)"
    )]
    NotThere {
        /// The full name.
        name: String,
    },
    /// Ranks of a collective disagree, or one of them is gone.
    #[error("{op}: {reason}")]
    Collective {
        /// The operation.
        op: Op,
        /// What went wrong.
        reason: String,
    },
    /// candle refused an operation.
    #[error("{op}: tensor operation failed: {source}")]
    Candle {
        /// The operation.
        op: Op,
        /// What candle said.
        source: candle::Error,
    },
}

impl From<candle::Error> for Error {
    fn from(source: candle::Error) -> Self {
        Error::Candle { op: "candle".into(), source }
    }
}

impl From<Error> for candle::Error {
    fn from(error: Error) -> Self {
        candle::Error::wrap(error)
    }
}

impl Error {
    pub(crate) fn value(name: &'static str, expected: &'static str, got: impl ToString) -> Self {
        Error::Value { op: "configuration".into(), name, expected, got: got.to_string() }
    }

    pub(crate) fn shape(
        op: impl Into<Op>,
        name: &str,
        expected: impl ToString,
        got: &[usize],
    ) -> Self {
        Error::Shape {
            op: op.into(),
            name: name.to_owned(),
            expected: expected.to_string(),
            got: got.to_vec(),
        }
    }

    pub(crate) fn dtype(
        op: &'static str,
        name: &str,
        expected: &'static str,
        got: candle::DType,
    ) -> Self {
        Error::DType { op: op.into(), name: name.to_owned(), expected, got }
    }

    /// A tensor that is not among the named ones.
    pub(crate) fn missing(
        op: impl Into<Op>,
        name: String,
        among: &BTreeMap<String, candle::Tensor>,
    ) -> Self {
        let present = among.keys().cloned().collect::<Vec<_>>().join(", ");
        Error::Missing { op: op.into(), name, present }
    }

    /// Two settings that exclude each other.
    pub(crate) fn contradiction(
        first: &'static str,
        second: &'static str,
        reason: &'static str,
    ) -> Self {
        Error::Contradiction { op: "configuration".into(), first, second, reason }
    }

    /// The same error of another operation, such as a layer with its [name](layer_name).
    pub(crate) fn at(mut self, place: String) -> Self {
        match &mut self {
            Error::Rank { op, .. }
            | Error::Axis { op, .. }
            | Error::Channels { op, .. }
            | Error::Shape { op, .. }
            | Error::DType { op, .. }
            | Error::Device { op, .. }
            | Error::Weight { op, .. }
            | Error::Value { op, .. }
            | Error::Contradiction { op, .. }
            | Error::Empty { op, .. }
            | Error::OneValue { op, .. }
            | Error::ZeroWeight { op }
            | Error::ConstantChannel { op, .. }
            | Error::Missing { op, .. }
            | Error::Collective { op, .. }
            | Error::Candle { op, .. } => *op = place.into(),
            Error::Exists { .. } | Error::NotThere { .. } => {} // the variable's name has the prefix
        }
        self
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
