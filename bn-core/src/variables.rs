//! A layer's variables, made or found through candle's `VarBuilder`.

use candle::{DType, Tensor, Var};
use candle_nn::{Init, VarBuilder};

use crate::config::{Initializer, Names, Reuse};
use crate::error::{Error, Result};
use crate::layout::statistics_dtype;

/// A variable, and whether it was there before this layer asked for it.
pub(crate) struct Found {
    pub(crate) var: Var,
    pub(crate) existed: bool,
}

/// Makes or finds a layer's variables under one prefix.
pub(crate) struct Variables<'a> {
    vb: VarBuilder<'a>,
    dtype: DType,
    channels: usize,
    reuse: Reuse,
    names: Names,
}

impl<'a> Variables<'a> {
    pub(crate) fn new(vb: VarBuilder<'a>, channels: usize, reuse: Reuse, names: Names) -> Self {
        Self { dtype: statistics_dtype(vb.dtype()), vb, channels, reuse, names }
    }

    /// A `[C]` variable that every layer of this kind has.
    pub(crate) fn required(&self, name: &str, initial: &Initializer) -> Result<Found> {
        let (full, existed) = self.full_name(name);
        match self.reuse {
            Reuse::Always if !existed => return Err(Error::NotThere { name: full }),
            Reuse::Never if existed => return Err(Error::Exists { name: full }),
            _ => {}
        }
        let tensor = self.get(&full, existed, &[self.channels], self.dtype)?;
        start(tensor, existed, initial)
    }

    /// A `[C]` variable that checkpoints of other systems do not have: made where it is missing.
    pub(crate) fn optional(&self, name: &str, initial: &Initializer) -> Result<Var> {
        Ok(self.get_or_make(name, &[self.channels], self.dtype, initial)?.var)
    }

    /// The number of updates that took effect.
    pub(crate) fn counter(&self) -> Result<Found> {
        let name = "updates";
        if self.names.counts_in_i64() {
            self.get_or_make(name, &[], DType::I64, &Initializer::ZEROS)
        } else {
            self.get_or_make(name, &[1], DType::F64, &Initializer::ZEROS)
        }
    }

    fn get_or_make(
        &self,
        name: &str,
        dims: &[usize],
        dtype: DType,
        initial: &Initializer,
    ) -> Result<Found> {
        let (full, existed) = self.full_name(name);
        let tensor = match self.get(&full, existed, dims, dtype) {
            Err(Error::Missing { .. }) => Tensor::zeros(dims, dtype, self.vb.device())?,
            found => found?,
        };
        start(tensor, existed, initial)
    }

    /// The name that a variable has in the checkpoint, or will have, and whether it is there.
    fn full_name(&self, name: &str) -> (String, bool) {
        let root = self.vb.root();
        let candidates = self.names.candidates(&self.vb.prefix(), name);
        let there = candidates.iter().find(|name| root.contains_tensor(name));
        (there.unwrap_or(&candidates[0]).clone(), there.is_some())
    }

    /// A `VarMap` makes what is not there; the backends of files return errors of many kinds then.
    fn get(&self, full: &str, existed: bool, dims: &[usize], dtype: DType) -> Result<Tensor> {
        match self.vb.root().get_with_hints_dtype(dims, full, Init::Const(0.0), dtype) {
            Ok(tensor) => Ok(tensor),
            Err(error) if existed => Err(error.into()),
            Err(_) => Err(Error::Missing {
                op: "build".into(),
                name: full.to_owned(),
                present: "unknown, since a VarBuilder cannot list its names".into(),
            }),
        }
    }
}

fn start(tensor: Tensor, existed: bool, initial: &Initializer) -> Result<Found> {
    let var = Var::from_tensor(&tensor)?;
    if !existed {
        let values = Tensor::new(initial.values(tensor.elem_count()), tensor.device())?;
        var.set(&values.to_dtype(tensor.dtype())?.reshape(tensor.dims())?)?;
    }
    Ok(Found { var, existed })
}
