//! One pass over an engine that keeps per-channel values on its device: nothing waits for the device, and nothing of the
//! layer is read.

use candle::{DType, Tensor};

use super::backward::Backward;
use super::correction::LastCorrection;
use super::input::Input;
use super::layer::{Layer, Parameters};
use super::run::Run;
use crate::call::{Call, Statistics};
use crate::channel::{Policy, Verdict, Weight};
use crate::engine::{self, Channels, Kept, resident};
use crate::error::Result;
use crate::moments::Moments;

impl Layer {
    /// The pass, for a call whose batch no policy has to look at; else `None`. The call has no ranks.
    pub(super) fn on_device(
        &self,
        input: &Input,
        parameters: &Parameters,
        call: &Call<'_>,
    ) -> Result<Option<Run>> {
        let policies = &self.config.degenerate;
        let possible = match call.statistics {
            // What is known of a batch without its values: how many there are.
            Statistics::Batch => {
                !policies.may_use_moving() && policies.constant_channel != Policy::Error
            }
            Statistics::Moving => !call.update,
            Statistics::Given(_) => false,
        };
        if !possible || !input.x.device().is_cuda() || input.x.elem_count() == 0 {
            return Ok(None);
        }
        let Some(engine) = resident(&input.operands(), self.implementation)? else {
            return Ok(None);
        };
        let by_batch = matches!(call.statistics, Statistics::Batch);
        let weights = engine.weights();
        if by_batch {
            for weight in weights {
                let verdict = self.verdict(*weight, true, &input.view)?;
                debug_assert_eq!(verdict, Verdict::Batch, "nothing else is left");
            }
        } else {
            self.state.note_evaluation()?;
        }
        let renorm = self.config.renorm.as_ref().filter(|_| call.renorm && by_batch);
        let detached = |t: &Option<Tensor>| t.as_ref().map(Tensor::detach);
        let (gamma, beta) = (detached(&parameters.gamma), detached(&parameters.beta));
        let ledger = self.state.ledger(); // the device reads statistics of one update
        let bounds = match renorm {
            Some(renorm) => Some(renorm.clipping.at(self.state.step(&ledger)?)),
            None => None,
        };
        let by = engine::Parameters {
            gamma: gamma.as_ref(),
            beta: beta.as_ref(),
            averages: &self.state.tensors(),
            epsilon: self.config.epsilon,
            bounds,
        };
        let (y, fields, update) = if by_batch {
            let Kept { y, fields, batch } = engine.by_batch(&by)?;
            let weight = weights.iter().fold(Weight::default(), |sum, weight| sum.plus(*weight));
            (y, fields, Some(Moments::on_device(weight, batch)))
        } else {
            let (y, fields) = engine.by_moving(&by)?;
            (y, fields, None)
        };
        drop(ledger);
        let corrected = vec![true; weights.len()];
        let correction = renorm
            .map(|_| LastCorrection { channels: Channels::Device(fields.clone()), corrected });
        let dtype = |t: &Option<Tensor>| t.as_ref().map_or(DType::F32, Tensor::dtype);
        let types = [dtype(&gamma), dtype(&beta)];
        Ok(Some(Run {
            y,
            backward: Backward::Device(engine, fields, types),
            update: update.filter(|_| call.update),
            correction,
            reference: None,
            forced: false,
        }))
    }
}
