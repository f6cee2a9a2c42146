//! What a pass needs of a layer: its parameters, its formulas and what its policies say.

use std::sync::Arc;

use candle::{Device, Tensor, Var};

use crate::call::{Call, Statistics};
use crate::channel::{Formulas, Moment, Policy, Verdict, Weight};
use crate::collective::Collective;
use crate::config::BatchNormConfig;
use crate::engine::Implementation;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{ChannelView, DataFormat, require_device, require_float};
use crate::state::State;
use crate::tensors::values;

pub(super) const OP: &str = "batch norm";

/// What a pass needs of a layer.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) config: BatchNormConfig,
    pub(crate) channels: usize,
    pub(crate) gamma: Option<Var>,
    pub(crate) beta: Option<Var>,
    pub(crate) state: Arc<State>,
    pub(crate) ranks: Option<Arc<dyn Collective>>,
    pub(crate) device: Device,
    pub(crate) implementation: Implementation,
}

/// gamma and beta of a call: its own, or the layer's; `[C]`, or `[N, C]`.
pub(super) struct Parameters {
    pub(super) gamma: Option<Tensor>,
    pub(super) beta: Option<Tensor>,
}

impl Parameters {
    /// Whether one of them has a value per example.
    pub(super) fn per_example(&self) -> bool {
        [&self.gamma, &self.beta].into_iter().flatten().any(|t| t.rank() == 2)
    }
}

impl Layer {
    /// A parameter for the graph: without a gradient where the layer is not trained.
    pub(crate) fn parameter(&self, var: &Var) -> Tensor {
        if self.config.trainable { var.as_tensor().clone() } else { var.as_detached_tensor() }
    }

    /// The call's gamma and beta.
    pub(super) fn parameters(&self, examples: usize, call: &Call<'_>) -> Result<Parameters> {
        let one = |name: &str, given: Option<&Tensor>, own: &Option<Var>| {
            let Some(given) = given else {
                return Ok(own.as_ref().map(|own| self.parameter(own)));
            };
            require_float(OP, name, given)?;
            require_device(OP, name, given, &self.device)?;
            let per_example = given.dims() == [examples, self.channels]
                && self.config.data_format != DataFormat::Axis(0);
            if given.dims() != [self.channels] && !per_example {
                let expected = format!("[C = {}] or [N = {examples}, C]", self.channels);
                return Err(Error::shape(OP, name, expected, given.dims()));
            }
            Ok(Some(given.clone()))
        };
        Ok(Parameters {
            gamma: one("gamma", call.gamma, &self.gamma)?,
            beta: one("beta", call.beta, &self.beta)?,
        })
    }

    /// The statistics that do not come from the batch.
    fn fixed(&self, call: &Call<'_>) -> Result<Option<[Vec<f64>; 2]>> {
        match call.statistics {
            Statistics::Batch if !self.config.degenerate.may_use_moving() => Ok(None),
            Statistics::Batch => Ok(Some(self.state.moving()?)),
            Statistics::Moving => {
                self.state.note_evaluation()?;
                Ok(Some(self.state.moving()?))
            }
            Statistics::Given(given) => {
                let moments = given.channels();
                if moments.len() != self.channels {
                    let expected = format!("[C = {}]", self.channels);
                    return Err(Error::shape(OP, "given statistics", expected, &[moments.len()]));
                }
                let sound =
                    |m: &Moment| m.mean.is_finite() && m.variance.is_finite() && m.variance >= 0.0;
                if let Some(channel) = moments.iter().position(|m| !sound(m)) {
                    let Moment { mean, variance } = moments[channel];
                    return Err(Error::value(
                        "given statistics",
                        "finite means and variances of 0 or more",
                        format!("mean {mean} and variance {variance} in channel {channel}"),
                    ));
                }
                Ok(Some([given.means(), given.variances()]))
            }
        }
    }

    /// What this call makes of a channel's moments.
    pub(super) fn formulas(&self, parameters: &Parameters, call: &Call<'_>) -> Result<Formulas> {
        let column = |t: &Option<Tensor>| t.as_ref().map(values).transpose();
        let by_batch = matches!(call.statistics, Statistics::Batch);
        let renorm = self.config.renorm.as_ref().filter(|_| call.renorm && by_batch);
        let reference = renorm.map(|renorm| self.state.reference(|step| renorm.clipping.at(step)));
        Ok(Formulas {
            epsilon: self.config.epsilon,
            constant_channel: self.config.degenerate.constant_channel,
            gamma: column(&parameters.gamma)?,
            beta: column(&parameters.beta)?,
            fixed: self.fixed(call)?,
            renorm: reference.transpose()?,
        })
    }

    /// What the policies make of a batch of this weight.
    pub(super) fn verdict(
        &self,
        weight: Weight,
        any_values: bool,
        view: &ChannelView,
    ) -> Result<Verdict> {
        let refused = match self.config.degenerate.verdict(weight, any_values) {
            Verdict::Empty => ErrorKind::Empty(view.dims().to_vec()),
            Verdict::ZeroWeight => ErrorKind::ZeroWeight,
            Verdict::OneValue => ErrorKind::OneValue(view.dims().to_vec()),
            verdict => return Ok(verdict),
        };
        Err(refused.at(OP))
    }

    pub(super) fn refuse_constant(&self, weight: Weight, moments: &[Moment]) -> Result<()> {
        if self.config.degenerate.constant_channel != Policy::Error || weight.is_one_value() {
            return Ok(());
        }
        match moments.iter().position(|moment| moment.variance == 0.0) {
            Some(channel) => Err(ErrorKind::ConstantChannel(channel).at(OP)),
            None => Ok(()),
        }
    }
}
