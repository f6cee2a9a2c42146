//! A layer's variables, made or found through candle's `VarBuilder`.

use candle::{DType, Tensor, Var};
use candle_nn::{Init, VarBuilder};

use crate::config::{Initializer, Names, Reuse};
use crate::error::{ErrorKind, Result};
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
        self.get(name, &[self.channels], self.dtype, initial, true)
    }

    /// A `[C]` variable that checkpoints of other systems do not have: made where it is missing.
    pub(crate) fn optional(&self, name: &str, initial: &Initializer) -> Result<Var> {
        Ok(self.get(name, &[self.channels], self.dtype, initial, false)?.var)
    }

    /// The number of updates that took effect.
    pub(crate) fn counter(&self) -> Result<Found> {
        let in_i64 = self.names.counts_in_i64();
        let (dims, dtype): (&[usize], _) =
            if in_i64 { (&[], DType::I64) } else { (&[1], DType::F64) };
        self.get("updates", dims, dtype, &Initializer::ZEROS, false)
    }

    fn get(
        &self,
        name: &str,
        dims: &[usize],
        dtype: DType,
        initial: &Initializer,
        required: bool,
    ) -> Result<Found> {
        let root = self.vb.root();
        let mut names = self.names.candidates(&self.vb.prefix(), name);
        let present = names.iter().position(|name| root.contains_tensor(name));
        let (name, existed) = (names.swap_remove(present.unwrap_or(0)), present.is_some());
        match self.reuse {
            Reuse::Always if required && !existed => {
                return Err(ErrorKind::NotThere(name).at("build"));
            }
            Reuse::Never if required && existed => return Err(ErrorKind::Exists(name).at("build")),
            _ => {}
        }
        // A `VarMap` makes what is not there; the backends of files return errors of many kinds then.
        let var = match root.get_with_hints_dtype(dims, &name, Init::Const(0.0), dtype) {
            Ok(tensor) => Var::from_tensor(&tensor)?,
            Err(error) if existed => return Err(error.into()),
            Err(_) if required => {
                let present = "unknown, since a VarBuilder cannot list its names".into();
                return Err(ErrorKind::Missing { name, present }.at("build"));
            }
            Err(_) => Var::zeros(dims, dtype, self.vb.device())?,
        };
        if !existed {
            let values = Tensor::new(initial.values(var.elem_count()), var.device())?;
            var.set(&values.to_dtype(dtype)?.reshape(dims)?)?;
        }
        Ok(Found { var, existed })
    }
}
