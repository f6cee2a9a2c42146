//! The layer through the kernels: the fused path, for contiguous (or copied) float tensors on the CPU.
//!
//! It covers every option but collectives and gamma or beta per example; what it does not cover, it leaves
//! to the composed path, whose twin it is: the same checks, policies and results. Order: weights, then for
//! each normalization group policies, moments, (r, d) and y in one go; then the moments of all groups.

mod group;
mod op;
mod saved;
mod span;
mod weights;

use candle::{CpuStorage, DType, Tensor, Var};

use crate::batch_norm::BatchNorm;
use crate::call::{Call, Statistics};
use crate::error::{Error, Result};
use crate::forward::Forward;
use crate::host::{filled, read, with_slice};
use crate::kernel::Element;
use crate::layout::ChannelView;
use crate::renorm::LastCorrection;
use group::{Group, Rules, pooled};
use saved::{Context, Differentiate};
use weights::HostWeights;

pub use saved::{InputGradients, Saved};

/// Which code computes a layer.
///
/// Both give the same results; `Composed` is the reference that the other is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Implementation {
    /// Kernels on the CPU where they cover the call, plain tensor ops elsewhere.
    #[default]
    Fused,
    /// Plain tensor ops in f64, on every device.
    Composed,
}

/// A forward pass by kernels, not yet in the graph.
struct Computed {
    y: CpuStorage,
    back: Box<dyn Differentiate>,
    update: Option<crate::moments::Moments>,
    correction: Option<LastCorrection>,
}

/// The tensors of a call that gradients flow to.
struct Arguments {
    x: Tensor,
    gamma: Option<Tensor>,
    beta: Option<Tensor>,
    residual: Option<Tensor>,
}

impl BatchNorm {
    /// A forward pass; nothing of the layer has changed yet.
    pub(crate) fn compute(&self, x: &Tensor, call: &Call<'_>) -> Result<Forward> {
        if let Some(arguments) = self.arguments(x, call)?
            && let Some(computed) = self.run(&arguments, call)?
        {
            return Ok(Forward {
                y: op::attach(&arguments, computed.y, computed.back)?,
                update: computed.update,
                correction: computed.correction,
            });
        }
        self.compose(x, call)
    }

    /// [`BatchNorm::compute`] outside the graph, with what the gradient needs.
    pub(crate) fn compute_saved(&self, x: &Tensor, call: &Call<'_>) -> Result<(Forward, Saved)> {
        let detached = |t: Option<&Tensor>| t.map(Tensor::detach);
        if let Some(arguments) = self.arguments(&x.detach(), call)?
            && let Some(computed) = self.run(&arguments, call)?
        {
            let y = crate::host::tensor(computed.y, x.dims());
            let saved = Saved::fused(
                arguments.x,
                &y,
                detached(arguments.residual.as_ref()),
                arguments.gamma.as_ref().map(Tensor::dtype),
                arguments.beta.as_ref().map(Tensor::dtype),
                computed.back,
            );
            let forward = Forward { y, update: computed.update, correction: computed.correction };
            return Ok((forward, saved));
        }
        self.compose_saved(x, call)
    }

    /// The call's tensors, if the kernels take a call like this.
    fn arguments(&self, x: &Tensor, call: &Call<'_>) -> Result<Option<Arguments>> {
        let odd = call.update && !matches!(call.statistics, Statistics::Batch);
        if self.implementation == Implementation::Composed
            || !self.device.is_cpu()
            || !x.device().is_cpu()
            || self.ranks.as_ref().is_some_and(|ranks| ranks.size() > 1)
            || x.elem_count() == 0
            || odd
        {
            return Ok(None);
        }
        let per_channel = |given: Option<&Tensor>, own: &Option<Var>| match (given, own) {
            (Some(given), _) => {
                let fits = given.device().is_cpu() && given.dims() == [self.channels];
                fits.then(|| Some(given.clone()))
            }
            (None, Some(own)) => Some(Some(self.parameter(own))),
            (None, None) => Some(None),
        };
        let (Some(gamma), Some(beta)) =
            (per_channel(call.gamma, &self.gamma), per_channel(call.beta, &self.beta))
        else {
            return Ok(None);
        };
        let residual = match call.residual {
            Some(r) if r.device().is_cpu() && r.dims() == x.dims() && r.dtype() == x.dtype() => {
                Some(r.contiguous()?)
            }
            Some(_) => return Ok(None),
            None => None,
        };
        Ok(Some(Arguments { x: x.contiguous()?, gamma, beta, residual }))
    }

    fn run(&self, arguments: &Arguments, call: &Call<'_>) -> Result<Option<Computed>> {
        match arguments.x.dtype() {
            DType::F32 => self.run_in::<f32>(arguments, call),
            DType::F64 => self.run_in::<f64>(arguments, call),
            DType::F16 => self.run_in::<half::f16>(arguments, call),
            DType::BF16 => self.run_in::<half::bf16>(arguments, call),
            _ => Ok(None),
        }
    }

    fn run_in<T: Element>(
        &self,
        arguments: &Arguments,
        call: &Call<'_>,
    ) -> Result<Option<Computed>> {
        let dims = arguments.x.dims();
        let Ok(view) = ChannelView::new("BatchNorm", dims, self.config.data_format) else {
            return Ok(None);
        };
        if view.channels != self.channels {
            return Ok(None);
        }
        let weights = match call.weights {
            Some(w) if w.device().is_cpu() => Some(HostWeights::<T::Real>::new(w, &view)?),
            Some(_) => return Ok(None),
            None => None,
        };
        let Some(rules) = self.rules(arguments, call)? else {
            return Ok(None);
        };
        let spans = self.spans(&view, call);
        if matches!(call.statistics, Statistics::Moving) {
            self.note_evaluation()?;
        }
        let run = |x: &[T],
                   residual: Option<&[T]>|
         -> Result<(Vec<T>, Vec<Group>), Option<Error>> {
            filled(x.len(), |mut y| {
                let mut groups = Vec::with_capacity(spans.len());
                for span in &spans {
                    let (part, rest) = y.split_at_mut(span.len());
                    y = rest;
                    let input = span.input(x, residual, weights.as_ref(), self.config.activation);
                    let group =
                        rules.group(span, &input, weights.as_ref(), &view, part).map_err(Some)?;
                    groups.push(group.ok_or(None)?);
                }
                Ok(groups)
            })
        };
        let done = with_slice(&arguments.x, |x: &[T]| match &arguments.residual {
            None => Some(run(x, None)),
            Some(residual) => with_slice(residual, |residual: &[T]| run(x, Some(residual))),
        });
        let (y, mut groups) = match done.flatten() {
            Some(Ok(done)) => done,
            Some(Err(Some(error))) => return Err(error),
            Some(Err(None)) | None => return Ok(None),
        };
        let update = match call.update {
            true => pooled(&groups),
            false => None,
        };
        let rows: Vec<_> = groups
            .iter_mut()
            .map(|group| std::mem::take(&mut group.corrections))
            .filter(|row| !row.is_empty())
            .collect();
        let correction = (!rows.is_empty()).then_some(LastCorrection::Host(rows));
        let context = Context { spans, groups, weights, activation: self.config.activation };
        Ok(Some(Computed {
            y: T::storage(y),
            back: Box::new(context.typed::<T>()),
            update,
            correction,
        }))
    }

    /// What one call makes of a channel's moments.
    fn rules(&self, arguments: &Arguments, call: &Call<'_>) -> Result<Option<Rules>> {
        let optional = |t: &Option<Tensor>| match t {
            Some(t) => read(t).map(Some),
            None => Some(None),
        };
        let (Some(gamma), Some(beta)) = (optional(&arguments.gamma), optional(&arguments.beta))
        else {
            return Ok(None);
        };
        let policies = self.config.degenerate;
        let both = |mean: &Tensor, variance: &Tensor| Some([read(mean)?, read(variance)?]);
        let fixed = match call.statistics {
            Statistics::Batch if !policies.may_use_moving() => None,
            Statistics::Batch | Statistics::Moving => {
                both(&self.moving_mean(), &self.moving_variance())
            }
            Statistics::Given(given) => {
                let fits = |t: &Tensor| t.device().is_cpu() && t.dims() == [self.channels];
                if !(fits(given.mean()) && fits(given.variance())) {
                    return Ok(None);
                }
                both(given.mean(), given.variance())
            }
        };
        let mut rules = Rules {
            epsilon: self.config.epsilon,
            policies,
            gamma,
            beta,
            fixed,
            by_batch: matches!(call.statistics, Statistics::Batch),
            renorm: None,
        };
        if let (Some(renorm), true, true) = (&self.state.renorm, call.renorm, rules.by_batch) {
            let clipping = self.config.renorm.as_ref().map(|renorm| &renorm.clipping);
            let bounds = clipping.map(|clipping| clipping.at(self.step()));
            match renorm.reference(bounds.unwrap_or_default()) {
                Some(reference) => rules.renorm = Some(reference),
                None => return Ok(None),
            }
        }
        Ok(Some(rules))
    }
}
