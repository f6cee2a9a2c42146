//! The engine's passes whose per-channel values never leave the GPU: launches behind launches, or one, and no wait.

use candle::{DType, Tensor};

use super::Cuda;
use crate::channel::Weight;
use crate::engine::resident::{Fields, Kept, KeptGradients, Parameters, Resident};
use crate::error::Result;
use crate::tensors::Value;

impl Resident for Cuda {
    fn weights(&self) -> &[Weight] {
        &self.totals
    }

    fn by_batch(&self, by: &Parameters<'_>) -> Result<Kept> {
        if let Some(kept) = self.in_one_launch(by)? {
            return Ok(kept);
        }
        let (parts, splits) = self.parts()?;
        let (fields, batch) = self.formulas((&parts, splits), by)?;
        Ok(Kept { y: self.normalized(&fields)?, fields, batch })
    }

    fn by_moving(&self, by: &Parameters<'_>) -> Result<(Value, Fields)> {
        let fields = self.moving_formulas(by)?;
        Ok((self.normalized(&fields)?, fields))
    }

    fn gradients(
        &self,
        fields: &Fields,
        dy: &Tensor,
        types: [DType; 2],
        of_input: bool,
    ) -> Result<KeptGradients> {
        if of_input && let Some(found) = self.gradients_in_one_launch(fields, dy, types)? {
            return Ok(found);
        }
        let found = self.terms(fields, dy, types)?;
        let (mut dx, mut dv) = (None, None);
        if of_input {
            let (of_x, of_residual) = self.input_gradients(fields, &found.terms, dy)?;
            (dx, dv) = (Some(of_x), of_residual);
        }
        Ok(KeptGradients { gamma: found.gamma, beta: found.beta, dx, dv })
    }
}
