//! One pass over an engine: groups, moments, ranks, policies, formulas, y, and what is to be committed.

use std::sync::Arc;

use super::backward::{Backward, OnHost, Shared};
use super::correction::LastCorrection;
use super::input::Input;
use super::layer::{Layer, Parameters};
use crate::call::{Call, Statistics};
use crate::channel::{Channel, Formulas, Moment, Reference, Verdict, Weight};
use crate::collective::{Exchange, Gathered};
use crate::engine::{ByGroup, Channels, Engine, Normalized, engine};
use crate::error::Result;
use crate::moments::Moments;
use crate::tensors::Value;

/// A pass before it is put into a graph.
pub(super) struct Run {
    pub(super) y: Value,
    pub(super) backward: Backward,
    pub(super) update: Option<Moments>,
    pub(super) correction: Option<LastCorrection>,
    pub(super) reference: Option<Reference>,
    /// Some rank will run a backward pass through shared statistics, so all must.
    pub(super) forced: bool,
}

/// The normalized batch, and its statistics.
struct Passed {
    /// Moments are empty for a group that was not normalized by its own.
    normalized: Normalized,
    /// The moments for an update.
    batch: Option<Moments>,
    shared: Option<Shared>,
    forced: bool,
}

/// `None` for an input without elements.
type Computing = Option<Box<dyn Engine>>;

impl Layer {
    /// The exchange of a call whose statistics or update cover all ranks.
    pub(crate) fn exchange(&self, call: &Call<'_>) -> Option<Exchange<'_>> {
        let needed = self.together(call) || call.update;
        Exchange::among(self.ranks.as_ref().filter(|_| needed), self.channels)
    }

    /// Whether the statistics are those of all ranks. Ghost batches stay within their rank.
    fn together(&self, call: &Call<'_>) -> bool {
        matches!(call.statistics, Statistics::Batch) && self.config.normalization_batch.is_none()
    }

    pub(super) fn run(
        &self,
        input: &mut Input,
        parameters: &Parameters,
        call: &Call<'_>,
        tracked: bool,
        exchange: Option<Exchange<'_>>,
    ) -> Result<Run> {
        if exchange.is_none()
            && let Some(run) = self.on_device(input, parameters, call)?
        {
            return Ok(run);
        }
        let formulas = self.formulas(parameters, call)?;
        let mut engine = match input.x.elem_count() {
            0 => None,
            _ => Some(engine(input.operands(), self.implementation)?),
        };
        let own_batch = matches!(call.statistics, Statistics::Batch)
            && !(exchange.is_some() && self.together(call));
        let passed = if own_batch {
            self.by_own_batch(input, &mut engine, &formulas, exchange)?
        } else {
            self.step_by_step(input, &mut engine, &formulas, call, tracked, exchange)?
        };
        let Passed { normalized: Normalized { y, moments, channels }, batch, shared, forced } =
            passed;
        let channels = Arc::new(channels);
        let reference = formulas.renorm;
        let corrected: Vec<bool> =
            moments.iter().map(|m| reference.is_some() && !m.is_empty()).collect();
        let correction = corrected
            .contains(&true)
            .then(|| LastCorrection { channels: Channels::Host(channels.clone()), corrected });
        let backward =
            Backward::Host(OnHost { engine, channels, channel_count: self.channels, shared });
        let update = batch.filter(|_| call.update);
        Ok(Run { y, backward, update, correction, reference, forced })
    }

    /// Normalizes every group by its own moments, or by the moving statistics under a policy, in one call of the
    /// engine. With an exchange, the update covers all ranks.
    fn by_own_batch(
        &self,
        input: &mut Input,
        engine: &mut Computing,
        formulas: &Formulas,
        exchange: Option<Exchange<'_>>,
    ) -> Result<Passed> {
        let mut batch: Option<Moments> = None;
        let normalized = if let Some(engine) = engine {
            let weights = engine.weights().to_vec();
            let each = weights.iter().map(|weight| self.verdict(*weight, true, &input.view));
            let verdicts = each.collect::<Result<Vec<_>>>()?;
            let any_moving = verdicts.contains(&Verdict::Moving);
            let moving = if any_moving { formulas.by_fixed() } else { Vec::new() };
            let rule = |group: usize, first: usize, moments: &[Moment]| match verdicts[group] {
                Verdict::Moving => moving[first..first + moments.len()].to_vec(),
                _ => formulas.by_batch(first, moments),
            };
            let compute = |engine: &dyn Engine| engine.moments_and_normalize(&rule);
            let mut normalized = self.within_limit(input, engine, compute, |done| &done.moments)?;
            let groups = normalized.moments.iter_mut().zip(weights).zip(verdicts);
            for ((moments, weight), verdict) in groups {
                if verdict == Verdict::Moving {
                    moments.clear();
                    continue;
                }
                self.refuse_constant(weight, moments)?;
                let group = Moments::from_parts(weight, moments.clone());
                match &mut batch {
                    Some(all) => all.absorb(&group),
                    None => batch = Some(group),
                }
            }
            normalized
        } else {
            if exchange.is_none() {
                self.verdict(Weight::default(), false, &input.view)?;
            }
            one_group(input, engine, formulas.by_fixed(), Vec::new())?
        };
        if let Some(exchange) = exchange {
            let merged = exchange.gather(batch.as_ref(), false)?.merged;
            batch = (merged.common_weight().sum > 0.0).then_some(merged);
        }
        Ok(Passed { normalized, batch, shared: None, forced: false })
    }

    /// Normalizes by the moments of all ranks, or by moving or given statistics: first the moments, if they are
    /// needed, then y.
    fn step_by_step(
        &self,
        input: &mut Input,
        engine: &mut Computing,
        formulas: &Formulas,
        call: &Call<'_>,
        tracked: bool,
        exchange: Option<Exchange<'_>>,
    ) -> Result<Passed> {
        let together = self.together(call);
        let ranks = exchange.as_ref().map(|exchange| exchange.ranks.clone());
        let (mut batch, mut forced) = (None, false);
        if together || call.update {
            let own = match engine {
                Some(engine) => {
                    let compute = |engine: &dyn Engine| engine.moments();
                    let moments = self.within_limit(input, engine, compute, |all| all)?;
                    let weight = engine.weights().first().copied().unwrap_or_default();
                    Some(Moments::from_parts(weight, moments.concat()))
                }
                None => None,
            };
            let gathered = match exchange {
                Some(exchange) => exchange.gather(own.as_ref(), tracked)?,
                None => Gathered::alone(own, self.channels),
            };
            forced = together && gathered.tracked;
            let weight = gathered.merged.common_weight();
            if self.verdict(weight, gathered.any_values, &input.view)? == Verdict::Batch {
                self.refuse_constant(weight, &gathered.merged.channels())?;
                batch = Some(gathered.merged);
            }
        }
        let Some(statistics) = batch.as_ref().filter(|_| together) else {
            let normalized = one_group(input, engine, formulas.by_fixed(), Vec::new())?;
            return Ok(Passed { normalized, batch, shared: None, forced });
        };
        let moments = statistics.channels().to_vec();
        let normalized = one_group(input, engine, formulas.by_batch(0, &moments), moments)?;
        let shared = ranks.map(|ranks| (ranks, statistics.common_weight().sum));
        Ok(Passed { normalized, batch, shared, forced })
    }

    /// Computes, and again in f64 if the moments leave no room for products in the engine's own type.
    fn within_limit<R>(
        &self,
        input: &mut Input,
        by: &mut Box<dyn Engine>,
        compute: impl Fn(&dyn Engine) -> Result<R>,
        moments: impl Fn(&R) -> &ByGroup<Moment>,
    ) -> Result<R> {
        let done = compute(by.as_ref())?;
        let limit = by.limit();
        let too_large =
            |m: &Moment| m.variance.is_finite() && (m.variance > limit || m.mean.abs() > limit);
        if !moments(&done).iter().flatten().any(too_large) {
            return Ok(done);
        }
        input.widen()?;
        *by = engine(input.operands(), self.implementation)?;
        compute(by.as_ref())
    }
}

/// One group by these channels.
fn one_group(
    input: &Input,
    engine: &Computing,
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
