//! A layer's variables, made or found through candle's `VarBuilder`, and what starts them.

use candle::{DType, Tensor, Var};
use candle_nn::{Init, VarBuilder};

use crate::error::{Error, Result};
use crate::layout::statistics_dtype;

/// The value that a variable starts with.
#[derive(Clone, Debug, PartialEq)]
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
        let values = match self {
            Initializer::Constant(value) => std::slice::from_ref(value),
            Initializer::Values(values) => values,
        };
        if let Initializer::Values(values) = self
            && values.len() != channels
        {
            let expected = format!("one value for each of {channels} channels");
            return Err(Error::shape(name, "initializer", expected, &[values.len()]));
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

/// Whether a layer may share variables with one that was built on the same prefix before.
///
/// Sharing is what TensorFlow's `reuse` does; it can only be seen on a builder backed by a `VarMap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Reuse {
    /// Share what exists, make the rest (`tf.AUTO_REUSE`).
    #[default]
    Auto,
    /// Everything must exist (`reuse=True`).
    Always,
    /// Nothing may exist (`reuse=False`).
    Never,
}

/// A variable, and whether it was there before this layer asked for it.
pub(crate) struct Found {
    pub(crate) var: Var,
    pub(crate) existed: bool,
}

/// Makes or finds `[C]` variables under one prefix.
pub(crate) struct Variables<'a> {
    vb: VarBuilder<'a>,
    dtype: DType,
    channels: usize,
    reuse: Reuse,
}

impl<'a> Variables<'a> {
    pub(crate) fn new(vb: VarBuilder<'a>, channels: usize, reuse: Reuse) -> Self {
        Self { dtype: statistics_dtype(vb.dtype()), vb, channels, reuse }
    }

    pub(crate) fn vb(&self) -> &VarBuilder<'a> {
        &self.vb
    }

    /// A variable that every layer of this kind has.
    pub(crate) fn required(&self, name: &str, initial: &Initializer) -> Result<Found> {
        let existed = self.vb.contains_tensor(name);
        match self.reuse {
            Reuse::Always if !existed => Err(Error::NotThere { name: self.full_name(name) })?,
            Reuse::Never if existed => Err(Error::Exists { name: self.full_name(name) })?,
            _ => {}
        }
        let tensor = self.get(name, self.channels, self.dtype)?;
        self.start(tensor, existed, initial, self.channels)
    }

    /// A variable that checkpoints of other systems do not have: made where it is missing.
    pub(crate) fn optional(
        &self,
        name: &str,
        len: usize,
        dtype: DType,
        initial: &Initializer,
    ) -> Result<Found> {
        let existed = self.vb.contains_tensor(name);
        match self.get(name, len, dtype) {
            Ok(tensor) => self.start(tensor, existed, initial, len),
            Err(Error::Missing { .. }) => {
                let values = Tensor::new(initial.values(len), self.vb.device())?.to_dtype(dtype)?;
                let var = Var::from_tensor(&values)?;
                Ok(Found { var, existed: false })
            }
            Err(error) => Err(error),
        }
    }

    /// [`Variables::optional`] with a value per channel, in the statistics' type.
    pub(crate) fn optional_per_channel(&self, name: &str, initial: &Initializer) -> Result<Found> {
        self.optional(name, self.channels, self.dtype, initial)
    }

    fn get(&self, name: &str, len: usize, dtype: DType) -> Result<Tensor> {
        let found = self.vb.get_with_hints_dtype(len, name, Init::Const(0.0), dtype);
        found.map_err(|error| match root(&error) {
            candle::Error::CannotFindTensor { .. } => Error::Missing {
                op: "BatchNorm",
                name: self.full_name(name),
                present: "unknown, since a VarBuilder cannot list its names".into(),
            },
            _ => Error::Candle(error),
        })
    }

    fn start(
        &self,
        tensor: Tensor,
        existed: bool,
        initial: &Initializer,
        len: usize,
    ) -> Result<Found> {
        let var = Var::from_tensor(&tensor)?;
        if !existed {
            let values = Tensor::new(initial.values(len), tensor.device())?;
            var.set(&values.to_dtype(tensor.dtype())?)?;
        }
        Ok(Found { var, existed })
    }

    fn full_name(&self, name: &str) -> String {
        match self.vb.prefix().as_str() {
            "" => name.to_owned(),
            prefix => format!("{prefix}.{name}"),
        }
    }
}

/// The error under candle's wrappers of context and backtrace.
fn root(error: &candle::Error) -> &candle::Error {
    match error {
        candle::Error::WithBacktrace { inner, .. }
        | candle::Error::Context { inner, .. }
        | candle::Error::WithPath { inner, .. } => root(inner),
        other => other,
    }
}
