//! The forward pass: check, groups, moments, ranks, policies, formulas, y, and what is to be committed.

use std::sync::Arc;

use candle::{DType, Device, Tensor, Var};

use super::backward::{Attached, Backward, Slot};
use super::input::{Input, Parameters, restored};
use super::ranks::{Exchange, Share};
use super::saved::{Saved, Tail};
use crate::activation::Activation;
use crate::call::{Call, Statistics};
use crate::channel::{Channel, Formulas, Moment, Policy, Reference, Verdict, Weight};
use crate::collective::Collective;
use crate::config::BatchNormConfig;
use crate::engine::{ByGroup, Engine, Implementation, Normalized, engine, widened};
use crate::error::{Error, Result};
use crate::moments::Moments;
use crate::state::State;
use crate::tensors::{Value, from_values, values};

const OP: &str = "batch norm";

/// What a pass needs of a layer.
pub(crate) struct Layer<'a> {
    pub(crate) config: &'a BatchNormConfig,
    pub(crate) channels: usize,
    /// Without a gradient where the layer is not trained.
    pub(crate) gamma: Option<Tensor>,
    pub(crate) beta: Option<Tensor>,
    pub(crate) state: &'a State,
    pub(crate) ranks: Option<&'a Arc<dyn Collective>>,
    pub(crate) device: &'a Device,
    pub(crate) implementation: Implementation,
}

/// What a forward pass comes to; nothing of the layer has changed yet.
pub(crate) struct Forward {
    pub(crate) y: Tensor,
    /// Moments to move the averages by; none where a policy says so, or nobody asked.
    pub(crate) update: Option<Moments>,
    pub(crate) correction: Option<LastCorrection>,
}

/// r and d of a forward pass, as tensors when somebody asks for them.
#[derive(Clone, Debug)]
pub(crate) struct LastCorrection {
    channels: Arc<ByGroup<Channel>>,
    moments: ByGroup<Moment>,
    formulas: Formulas,
}

/// A pass before it is put into a graph.
struct Run {
    y: Value,
    backward: Backward,
    update: Option<Moments>,
    correction: Option<LastCorrection>,
    /// Some rank will go backward through statistics that are shared: all have to.
    forced: bool,
}

/// How a call's batch was normalized.
struct ByBatch {
    normalized: Normalized,
    verdicts: Vec<Verdict>,
    engine: Option<Box<dyn Engine>>,
}

impl Layer<'_> {
    /// A forward pass in candle's graph.
    pub(crate) fn forward(&self, x: &Tensor, call: &Call<'_>) -> Result<Forward> {
        let exchange = self.exchange(call);
        let parameters = self.parameters(x.dims().first().copied().unwrap_or(0), call)?;
        if parameters.per_example() {
            return self.forward_per_example(x, call, &parameters, exchange);
        }
        let input = Input::new(self, x, call)?;
        let of = [
            Some(&input.x),
            parameters.gamma.as_ref(),
            parameters.beta.as_ref(),
            input.residual.as_ref(),
        ];
        let tracked = of.into_iter().flatten().any(Tensor::track_op);
        let run = self.run(&input, &parameters, call, tracked, exchange)?;
        let y = attach(run.y, run.backward, &input, &parameters, run.forced)?;
        let y = restored(y, input.order.as_deref())?;
        Ok(Forward { y, update: run.update, correction: run.correction })
    }

    /// A forward pass outside candle's graph, with what the gradient needs.
    pub(crate) fn forward_saved(&self, x: &Tensor, call: &Call<'_>) -> Result<(Forward, Saved)> {
        let exchange = self.exchange(call);
        let x = &x.detach();
        let parameters = self.parameters(x.dims().first().copied().unwrap_or(0), call)?;
        if parameters.per_example() {
            return self.forward_saved_per_example(x, call, &parameters, exchange);
        }
        let input = Input::new(self, x, call)?;
        let run = self.run(&input, &parameters, call, true, exchange)?;
        let y = run.y.into_tensor();
        let saved = Saved::new(run.backward, &y, &input, &parameters);
        let y = restored(y, input.order.as_deref())?;
        Ok((Forward { y, update: run.update, correction: run.correction }, saved))
    }

    /// gamma or beta per example: x̂ by the engine, the rest in candle's graph.
    fn forward_per_example(
        &self,
        x: &Tensor,
        call: &Call<'_>,
        parameters: &Parameters,
        exchange: Option<Exchange<'_>>,
    ) -> Result<Forward> {
        let config = BatchNormConfig { activation: Activation::None, ..self.config.clone() };
        let plain = self.without_parameters(&config);
        let input = Input::new(&plain, &wide(x)?, &Call { residual: None, ..*call })?;
        let none = Parameters { gamma: None, beta: None };
        let affine = [parameters.gamma.as_ref(), parameters.beta.as_ref(), call.residual];
        let tracked = x.track_op() || affine.into_iter().flatten().any(Tensor::track_op);
        let run = plain.run(&input, &none, call, tracked, exchange)?;
        let x_hat = attach(run.y, run.backward, &input, &none, run.forced)?;
        let x_hat = restored(x_hat, input.order.as_deref())?;
        let residual = self.check_residual(x, call)?;
        let tail = Tail::new(self.config, x.dims(), parameters, residual)?;
        let y = tail.apply(&x_hat)?.to_dtype(x.dtype())?;
        Ok(Forward { y, update: run.update, correction: run.correction })
    }

    fn forward_saved_per_example(
        &self,
        x: &Tensor,
        call: &Call<'_>,
        parameters: &Parameters,
        exchange: Option<Exchange<'_>>,
    ) -> Result<(Forward, Saved)> {
        let config = BatchNormConfig { activation: Activation::None, ..self.config.clone() };
        let plain = self.without_parameters(&config);
        let input = Input::new(&plain, &wide(x)?, &Call { residual: None, ..*call })?;
        let none = Parameters { gamma: None, beta: None };
        let run = plain.run(&input, &none, call, true, exchange)?;
        let x_hat = run.y.into_tensor();
        let saved = Saved::new(run.backward, &x_hat, &input, &none);
        let x_hat = restored(x_hat, input.order.as_deref())?;
        let residual = self.check_residual(x, call)?;
        let tail = Tail::new(self.config, x.dims(), parameters, residual)?.with_variables()?;
        let (y, saved) = saved.with_tail(x.dtype(), tail, &x_hat)?;
        Ok((Forward { y, update: run.update, correction: run.correction }, saved))
    }

    fn without_parameters<'a>(&'a self, config: &'a BatchNormConfig) -> Layer<'a> {
        Layer { config, gamma: None, beta: None, ..*self }
    }

    fn check_residual<'a>(&self, x: &Tensor, call: &Call<'a>) -> Result<Option<&'a Tensor>> {
        match call.residual {
            Some(residual) if residual.dims() != x.dims() => {
                let expected = format!("{:?}", x.dims());
                Err(Error::shape(OP, "residual", expected, residual.dims()))
            }
            residual => Ok(residual),
        }
    }

    /// The exchange of a call whose statistics, or whose update, are of all ranks.
    fn exchange(&self, call: &Call<'_>) -> Option<Exchange<'_>> {
        let ranks = self.ranks.filter(|ranks| ranks.size() > 1)?;
        let together = self.together(call);
        (together || call.update).then(|| Exchange::new(ranks, self.channels))
    }

    /// Batch statistics are of all ranks. Ghost batches stay within their rank.
    fn together(&self, call: &Call<'_>) -> bool {
        matches!(call.statistics, Statistics::Batch) && self.config.normalization_batch.is_none()
    }

    fn run(
        &self,
        input: &Input,
        parameters: &Parameters,
        call: &Call<'_>,
        tracked: bool,
        mut exchange: Option<Exchange<'_>>,
    ) -> Result<Run> {
        let by_batch = matches!(call.statistics, Statistics::Batch);
        let formulas = self.formulas(parameters, call)?;
        let engine = self.engine(input, by_batch)?;
        let mut shared = None;
        let mut forced = false;
        let (by_batch, mut update) = match (&mut exchange, engine) {
            (Some(exchange), engine) if self.together(call) => {
                let (engine, share) = self.share(input, engine, tracked)?;
                let gathered = exchange.gather(share)?;
                forced = gathered.tracked;
                let weight = gathered.merged.common_weight();
                let verdict = self.verdict(weight, gathered.any_values, input)?;
                let moments = gathered.merged.channels();
                let channels = if verdict == Verdict::Moving {
                    formulas.by_fixed()
                } else {
                    self.refuse_constant(weight, moments)?;
                    shared = Some((exchange.ranks().clone(), weight.sum));
                    formulas.by_batch(0, moments)
                };
                let normalized = normalized(input, engine.as_deref(), channels, moments.to_vec())?;
                let by_batch = ByBatch { normalized, verdicts: vec![verdict], engine };
                (by_batch, (verdict == Verdict::Batch).then_some(gathered.merged))
            }
            (_, engine) if by_batch => {
                let by_batch = self.by_own_batch(input, &formulas, engine, exchange.is_some())?;
                let update = pooled(&by_batch);
                (by_batch, update)
            }
            (_, engine) => {
                let channels = formulas.by_fixed();
                let normalized = normalized(input, engine.as_deref(), channels, Vec::new())?;
                let update = match (call.update, &engine) {
                    (true, engine) => {
                        self.update_beside(input, engine.as_deref(), exchange.is_some())?
                    }
                    (false, _) => None,
                };
                (ByBatch { normalized, verdicts: Vec::new(), engine }, update)
            }
        };
        if !call.update {
            update = None;
        } else if let (Some(exchange), None) = (&mut exchange, &shared)
            && !self.together(call)
        {
            update = of_all_ranks(exchange, update)?;
        }
        let ByBatch { normalized: Normalized { y, moments, channels }, engine, .. } = by_batch;
        let channels = Arc::new(channels);
        let corrected = formulas.renorm.is_some() && !moments.is_empty() && !channels.is_empty();
        let correction =
            corrected.then(|| LastCorrection { channels: channels.clone(), moments, formulas });
        let backward = Backward { engine, channels, channel_count: self.channels, shared };
        Ok(Run {
            y,
            backward,
            update,
            correction,
            forced: forced && backward_is_shared(call, self),
        })
    }

    /// None for an input without elements.
    fn engine(&self, input: &Input, by_batch: bool) -> Result<Option<Box<dyn Engine>>> {
        if input.x.elem_count() == 0 {
            return Ok(None);
        }
        engine(input.operands(self.config, by_batch), self.implementation).map(Some)
    }

    fn formulas(&self, parameters: &Parameters, call: &Call<'_>) -> Result<Formulas> {
        let column = |t: &Option<Tensor>| t.as_ref().map(values).transpose();
        let by_batch = matches!(call.statistics, Statistics::Batch);
        let renorm = match &self.config.renorm {
            Some(config) if call.renorm && by_batch => {
                let reference = self.state.renorm()?;
                reference.map(|(averages, step)| Reference {
                    averages,
                    bounds: config.clipping.at(step),
                    epsilon: self.config.epsilon,
                })
            }
            _ => None,
        };
        Ok(Formulas {
            epsilon: self.config.epsilon,
            constant_channel: self.config.degenerate.constant_channel,
            gamma: column(&parameters.gamma)?,
            beta: column(&parameters.beta)?,
            fixed: self.fixed(call)?,
            renorm,
        })
    }

    /// This rank's moments.
    fn share(
        &self,
        input: &Input,
        engine: Option<Box<dyn Engine>>,
        tracked: bool,
    ) -> Result<(Option<Box<dyn Engine>>, Share)> {
        let Some(mut engine) = engine else {
            return Ok((None, Share { weight: Weight::default(), moments: None, tracked }));
        };
        let mut moments = engine.moments()?.concat();
        if too_large(&moments, engine.limit()) {
            engine = widened(input.operands(self.config, true), self.implementation)?;
            moments = engine.moments()?.concat();
        }
        let weight = engine.weights().first().copied().unwrap_or_default();
        Ok((Some(engine), Share { weight, moments: Some(moments), tracked }))
    }

    /// Every group by its own moments, or by the moving statistics where a policy says so.
    fn by_own_batch(
        &self,
        input: &Input,
        formulas: &Formulas,
        engine: Option<Box<dyn Engine>>,
        others: bool,
    ) -> Result<ByBatch> {
        let Some(mut engine) = engine else {
            if !others {
                self.verdict(Weight::default(), false, input)?;
            }
            let normalized = normalized(input, None, formulas.by_fixed(), Vec::new())?;
            return Ok(ByBatch { normalized, verdicts: Vec::new(), engine: None });
        };
        let each = engine.weights().iter().map(|weight| self.verdict(*weight, true, input));
        let verdicts = each.collect::<Result<Vec<_>>>()?;
        let rule = |group: usize, first: usize, moments: &[Moment]| match verdicts[group] {
            Verdict::Moving => formulas.by_fixed()[first..first + moments.len()].to_vec(),
            _ => formulas.by_batch(first, moments),
        };
        let mut normalized = engine.moments_and_normalize(&rule)?;
        if normalized.moments.iter().any(|moments| too_large(moments, engine.limit())) {
            engine = widened(input.operands(self.config, true), self.implementation)?;
            normalized = engine.moments_and_normalize(&rule)?;
        }
        for (moments, weight) in normalized.moments.iter().zip(engine.weights()) {
            self.refuse_constant(*weight, moments)?;
        }
        Ok(ByBatch { normalized, verdicts, engine: Some(engine) })
    }

    /// The moments of a batch that is normalized by other statistics.
    fn update_beside(
        &self,
        input: &Input,
        engine: Option<&dyn Engine>,
        others: bool,
    ) -> Result<Option<Moments>> {
        let Some(engine) = engine else {
            if !others {
                self.verdict(Weight::default(), false, input)?;
            }
            return Ok(None);
        };
        let weight = engine.weights().first().copied().unwrap_or_default();
        if self.verdict(weight, true, input)? == Verdict::Moving {
            return Ok(None);
        }
        let mut moments = engine.moments()?.concat();
        if too_large(&moments, engine.limit()) {
            let wide = widened(input.operands(self.config, false), self.implementation)?;
            moments = wide.moments()?.concat();
        }
        self.refuse_constant(weight, &moments)?;
        Ok(Some(Moments::from_parts(weight, moments)))
    }

    /// What the policies make of a batch of this weight.
    fn verdict(&self, weight: Weight, any_values: bool, input: &Input) -> Result<Verdict> {
        let shape = || input.view.dims().to_vec();
        match self.config.degenerate.verdict(weight, any_values) {
            Verdict::Empty => Err(Error::Empty { op: OP.into(), shape: shape() }),
            Verdict::ZeroWeight => Err(Error::ZeroWeight { op: OP.into() }),
            Verdict::OneValue => Err(Error::OneValue { op: OP.into(), shape: shape() }),
            verdict => Ok(verdict),
        }
    }

    fn refuse_constant(&self, weight: Weight, moments: &[Moment]) -> Result<()> {
        if self.config.degenerate.constant_channel != Policy::Error || weight.is_one_value() {
            return Ok(());
        }
        match moments.iter().position(|moment| moment.variance == 0.0) {
            Some(channel) => Err(Error::ConstantChannel { op: OP.into(), channel }),
            None => Ok(()),
        }
    }
}

/// Whether ranks meet in the backward pass.
fn backward_is_shared(call: &Call<'_>, layer: &Layer<'_>) -> bool {
    layer.together(call)
}

/// One group by these channels; an input without elements has none.
fn normalized(
    input: &Input,
    engine: Option<&dyn Engine>,
    channels: Vec<Channel>,
    moments: Vec<Moment>,
) -> Result<Normalized> {
    let channels = vec![channels];
    let y = match engine {
        Some(engine) => engine.normalize(&channels)?,
        None => Value::of(&input.x.zeros_like()?)?,
    };
    Ok(Normalized { y, moments: vec![moments], channels })
}

/// Whether a finite mean or variance leaves no room for products in the engine's type.
fn too_large(moments: &[Moment], limit: f64) -> bool {
    let large = |m: &Moment| m.variance.is_finite() && (m.variance > limit || m.mean.abs() > limit);
    moments.iter().any(large)
}

/// The moments of all groups that were normalized by their own.
fn pooled(by_batch: &ByBatch) -> Option<Moments> {
    let engine = by_batch.engine.as_ref()?;
    let groups = by_batch.normalized.moments.iter().zip(engine.weights());
    let own = groups.zip(&by_batch.verdicts).filter(|(_, verdict)| **verdict == Verdict::Batch);
    let mut parts = own.map(|((m, weight), _)| Moments::from_parts(*weight, m.clone()));
    let mut all = parts.next()?;
    parts.for_each(|part| all.absorb(&part));
    Some(all)
}

/// An update of one rank merged with those of the others; none where nobody has one.
fn of_all_ranks(exchange: &mut Exchange<'_>, update: Option<Moments>) -> Result<Option<Moments>> {
    let share = match update {
        Some(update) => Share {
            weight: update.common_weight(),
            moments: Some(update.channels().to_vec()),
            tracked: false,
        },
        None => Share { weight: Weight::default(), moments: None, tracked: false },
    };
    let merged = exchange.gather(share)?.merged;
    Ok((merged.common_weight().sum > 0.0).then_some(merged))
}

/// y as a function of those of the call's tensors that require gradients.
fn attach(
    y: Value,
    backward: Backward,
    input: &Input,
    parameters: &Parameters,
    forced: bool,
) -> Result<Tensor> {
    let mut slots = Vec::with_capacity(4);
    let tracked = |t: Option<&Tensor>| t.filter(|t| t.track_op()).cloned();
    slots.extend(tracked(Some(&input.x)).map(|x| (Slot::X, x)));
    let gamma = tracked(parameters.gamma.as_ref());
    let beta = tracked(parameters.beta.as_ref());
    let residual = tracked(input.residual.as_ref());
    match (gamma, beta) {
        // An op takes three tensors at most.
        (Some(gamma), Some(beta)) if residual.is_some() && !slots.is_empty() => {
            slots.push((Slot::Packed, pack(&gamma, &beta)?));
        }
        (gamma, beta) => {
            slots.extend(gamma.map(|gamma| (Slot::Gamma, gamma)));
            slots.extend(beta.map(|beta| (Slot::Beta, beta)));
        }
    }
    slots.extend(residual.map(|residual| (Slot::Residual, residual)));
    if slots.is_empty() {
        if !forced {
            return Ok(y.into_tensor());
        }
        // The other ranks' gradients go through these statistics: this rank takes part in their backward
        // pass, though nothing of its own requires a gradient.
        let witness = Var::zeros(1, DType::F32, input.x.device())?;
        slots.push((Slot::Witness, witness.into_inner()));
    }
    let (slots, inputs): (Vec<_>, Vec<_>) = slots.into_iter().unzip();
    Ok(y.attach(&inputs, Attached { backward, slots })?)
}

/// `[2, C]`, in f64 where the two differ in type.
fn pack(gamma: &Tensor, beta: &Tensor) -> candle::Result<Tensor> {
    if gamma.dtype() == beta.dtype() {
        return Tensor::stack(&[gamma, beta], 0);
    }
    let wide = |t: &Tensor| t.to_dtype(DType::F64);
    Tensor::stack(&[wide(gamma)?, wide(beta)?], 0)
}

/// f32 for half floats, whose products with gamma would be rounded twice.
fn wide(x: &Tensor) -> candle::Result<Tensor> {
    x.to_dtype(crate::layout::statistics_dtype(x.dtype()))
}

impl LastCorrection {
    /// r, d, and the two before clipping: `[groups, C]` each.
    pub(crate) fn to_tensors(&self) -> [Tensor; 4] {
        let groups = self.moments.len();
        let shape = (groups, self.moments.first().map_or(0, Vec::len));
        let of = |value: fn(&Channel) -> f64| {
            from_values(self.channels.iter().flatten().map(value).collect::<Vec<f64>>(), shape)
        };
        let unclipped = self.moments.iter().map(|m| self.formulas.unclipped(0, m).into());
        let (rs, ds): (Vec<_>, Vec<_>) = unclipped.unzip();
        let row = |rows: Vec<Vec<f64>>| from_values(rows.concat(), shape);
        [of(|c| c.r), of(|c| c.d), row(rs), row(ds)]
    }
}
