//! The one error type of the crate. Every variant names the operation, what it wanted and what it got.
//!
//! Methods of this crate return [`Error`]; through candle's `ModuleT` it travels wrapped in a
//! [`candle::Error`], whose message is the same.

/// What `bn-core` operations return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input has too few dimensions.
    #[error("{op}: expected an input of rank {expected}, got shape {shape:?}")]
    Rank {
        /// The operation.
        op: &'static str,
        /// The ranks that are accepted, such as `2 or more`.
        expected: String,
        /// Shape of the input.
        shape: Vec<usize>,
    },
    /// An axis does not exist, or is given twice.
    #[error("{op}: axis {axis} is not one of the {rank} axes of the input, or is named twice")]
    Axis {
        /// The operation.
        op: &'static str,
        /// The axis that was asked for.
        axis: usize,
        /// Number of axes there are.
        rank: usize,
    },
    /// The channel axis holds another number of channels than the layer.
    #[error("{op}: expected {expected} channels on axis {axis}, got shape {shape:?}")]
    Channels {
        /// The operation.
        op: &'static str,
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
        op: &'static str,
        /// Which tensor.
        name: String,
        /// What was wanted, in words.
        expected: String,
        /// What it was given.
        got: Vec<usize>,
    },
    /// A tensor's element type is not one that the operation computes with.
    #[error("{op}: expected `{name}` of type {expected}, got {got:?}")]
    DType {
        /// The operation.
        op: &'static str,
        /// Which tensor.
        name: String,
        /// The accepted types.
        expected: &'static str,
        /// What it was given.
        got: candle::DType,
    },
    /// Two tensors live on different devices.
    #[error("{op}: expected `{name}` on {expected}, got it on {got}")]
    Device {
        /// The operation.
        op: &'static str,
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
        op: &'static str,
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
        /// What it was given.
        got: String,
    },
    /// Two settings, or a setting and an argument, exclude each other.
    #[error("{first} and {second} exclude each other: {reason}")]
    Contradiction {
        /// One of them.
        first: &'static str,
        /// The other.
        second: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// A channel has no value to take statistics of.
    #[error("{op}: a batch of shape {shape:?} has no value per channel")]
    Empty {
        /// The operation.
        op: &'static str,
        /// Shape of the input.
        shape: Vec<usize>,
    },
    /// A channel has one value only, and the policy is to refuse that.
    #[error("{op}: shape {shape:?} has one value per channel; its variance says nothing")]
    OneValue {
        /// The operation.
        op: &'static str,
        /// Shape of the input.
        shape: Vec<usize>,
    },
    /// The weights of a batch sum to zero.
    #[error("{op}: the weights sum to zero, so there is no weighted mean")]
    ZeroWeight {
        /// The operation.
        op: &'static str,
    },
    /// A channel is constant over the batch, and the policy is to refuse that.
    #[error("{op}: channel {channel} is constant over the batch")]
    ConstantChannel {
        /// The operation.
        op: &'static str,
        /// The first constant channel.
        channel: usize,
    },
    /// A variable that must be there is missing.
    #[error("{op}: no variable `{name}`; there are: {present}")]
    Missing {
        /// The operation.
        op: &'static str,
        /// The name that was looked for.
        name: String,
        /// The names that were there, comma separated.
        present: String,
    },
    /// A variable exists already and must not (`Reuse::Never`).
    #[error(
        "variable `{name}` exists already, and this layer was asked not to share variables (Reuse::Never)"
    )]
    Exists {
        /// The full name.
        name: String,
    },
    /// A variable does not exist and must (`Reuse::Always`).
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
        op: &'static str,
        /// What went wrong.
        reason: String,
    },
    /// candle refused an operation.
    #[error(transparent)]
    Candle(#[from] candle::Error),
}

impl From<Error> for candle::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Candle(error) => error,
            other => candle::Error::wrap(other),
        }
    }
}

impl Error {
    pub(crate) fn value(name: &'static str, expected: &'static str, got: impl ToString) -> Self {
        Error::Value { name, expected, got: got.to_string() }
    }

    pub(crate) fn shape(
        op: &'static str,
        name: &str,
        expected: impl ToString,
        got: &[usize],
    ) -> Self {
        Error::Shape {
            op,
            name: name.to_owned(),
            expected: expected.to_string(),
            got: got.to_vec(),
        }
    }
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
