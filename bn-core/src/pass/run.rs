//! One pass over an engine: groups, moments, ranks, policies, formulas, y, and what is to be committed.

use std::sync::Arc;

use super::backward::{Backward, Shared};
use super::correction::LastCorrection;
use super::input::Input;
use super::layer::{Layer, Parameters};
use crate::call::{Call, Statistics};
use crate::channel::{Channel, Formulas, Moment, Verdict, Weight};
use crate::collective::{Exchange, Gathered, Share};
use crate::engine::{Engine, Normalized, engine, widened};
use crate::error::Result;
use crate::moments::Moments;
use crate::tensors::Value;

/// A pass before it is put into a graph.
pub(super) struct Run {
    pub(super) y: Value,
    pub(super) backward: Backward,
    pub(super) update: Option<Moments>,
    pub(super) correction: Option<LastCorrection>,
    /// Some rank will go backward through statistics that are shared: all have to.
    pub(super) forced: bool,
}

/// What was normalized, and by what.
struct Passed {
    /// Moments are empty for a group that was not normalized by its own.
    normalized: Normalized,
    engine: Option<Box<dyn Engine>>,
    /// The moments of the batch, for an update.
    batch: Option<Moments>,
    shared: Option<Shared>,
    forced: bool,
}

impl Layer<'_> {
    /// The exchange of a call whose statistics, or whose update, are of all ranks.
    pub(super) fn exchange(&self, call: &Call<'_>) -> Option<Exchange<'_>> {
        let needed = self.together(call) || call.update;
        Exchange::among(self.ranks.filter(|_| needed), self.channels)
    }

    /// Batch statistics are of all ranks. Ghost batches stay within their rank.
    fn together(&self, call: &Call<'_>) -> bool {
        matches!(call.statistics, Statistics::Batch) && self.config.normalization_batch.is_none()
    }

    pub(super) fn run(
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
        let others = exchange.is_some();
        let passed = match &mut exchange {
            Some(exchange) if self.together(call) => {
                self.by_all_ranks(input, &formulas, engine, tracked, exchange)?
            }
            _ if by_batch => self.by_own_batch(input, &formulas, engine, others)?,
            _ => self.by_fixed(input, &formulas, engine, call.update.then_some(others))?,
        };
        let Passed { normalized: Normalized { y, moments, channels }, engine, .. } = passed;
        let update = match exchange {
            _ if !call.update => None,
            Some(mut exchange) if !self.together(call) => {
                of_all_ranks(&mut exchange, passed.batch)?
            }
            _ => passed.batch,
        };
        let channels = Arc::new(channels);
        let corrected = formulas.renorm.is_some() && moments.iter().any(|m| !m.is_empty());
        let correction =
            corrected.then(|| LastCorrection { channels: channels.clone(), moments, formulas });
        let Passed { shared, forced, .. } = passed;
        let backward = Backward { engine, channels, channel_count: self.channels, shared };
        Ok(Run { y, backward, update, correction, forced })
    }

    /// By the moments of all ranks together.
    fn by_all_ranks(
        &self,
        input: &Input,
        formulas: &Formulas,
        engine: Option<Box<dyn Engine>>,
        tracked: bool,
        exchange: &mut Exchange<'_>,
    ) -> Result<Passed> {
        let (engine, share) = self.share(input, engine, tracked)?;
        let Gathered { merged, any_values, tracked: forced } = exchange.gather(share)?;
        let weight = merged.common_weight();
        if self.verdict(weight, any_values, &input.view)? == Verdict::Moving {
            let normalized = normalized(input, engine.as_deref(), formulas.by_fixed(), Vec::new())?;
            return Ok(Passed { normalized, engine, batch: None, shared: None, forced });
        }
        let moments = merged.channels();
        self.refuse_constant(weight, moments)?;
        let channels = formulas.by_batch(0, moments);
        let normalized = normalized(input, engine.as_deref(), channels, moments.to_vec())?;
        let shared = Some((exchange.ranks().clone(), weight.sum));
        Ok(Passed { normalized, engine, batch: Some(merged), shared, forced })
    }

    /// None for an input without elements.
    fn engine(&self, input: &Input, by_batch: bool) -> Result<Option<Box<dyn Engine>>> {
        if input.x.elem_count() == 0 {
            return Ok(None);
        }
        engine(input.operands(self.config, by_batch), self.implementation).map(Some)
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

    /// Every group by its own moments, or by the moving statistics where a policy says so. `others`: an
    /// update is of several ranks.
    fn by_own_batch(
        &self,
        input: &Input,
        formulas: &Formulas,
        engine: Option<Box<dyn Engine>>,
        others: bool,
    ) -> Result<Passed> {
        let Some(mut engine) = engine else {
            if !others {
                self.verdict(Weight::default(), false, &input.view)?;
            }
            let normalized = normalized(input, None, formulas.by_fixed(), Vec::new())?;
            return Ok(Passed::local(normalized, None, None));
        };
        let each = engine.weights().iter().map(|weight| self.verdict(*weight, true, &input.view));
        let verdicts = each.collect::<Result<Vec<_>>>()?;
        let any_moving = verdicts.contains(&Verdict::Moving);
        let moving = if any_moving { formulas.by_fixed() } else { Vec::new() };
        let rule = |group: usize, first: usize, moments: &[Moment]| match verdicts[group] {
            Verdict::Moving => moving[first..first + moments.len()].to_vec(),
            _ => formulas.by_batch(first, moments),
        };
        let mut normalized = engine.moments_and_normalize(&rule)?;
        if normalized.moments.iter().any(|moments| too_large(moments, engine.limit())) {
            engine = widened(input.operands(self.config, true), self.implementation)?;
            normalized = engine.moments_and_normalize(&rule)?;
        }
        let mut batch: Option<Moments> = None;
        let groups = normalized.moments.iter_mut().zip(engine.weights()).zip(&verdicts);
        for ((moments, weight), verdict) in groups {
            if *verdict == Verdict::Moving {
                moments.clear();
                continue;
            }
            self.refuse_constant(*weight, moments)?;
            let group = Moments::from_parts(*weight, moments.clone());
            match &mut batch {
                Some(all) => all.absorb(&group),
                None => batch = Some(group),
            }
        }
        Ok(Passed::local(normalized, Some(engine), batch))
    }

    /// By moving or given statistics. With an update, whether that is of several ranks.
    fn by_fixed(
        &self,
        input: &Input,
        formulas: &Formulas,
        engine: Option<Box<dyn Engine>>,
        update: Option<bool>,
    ) -> Result<Passed> {
        let normalized = normalized(input, engine.as_deref(), formulas.by_fixed(), Vec::new())?;
        let batch = match update {
            Some(others) => self.update_beside(input, engine.as_deref(), others)?,
            None => None,
        };
        Ok(Passed::local(normalized, engine, batch))
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
                self.verdict(Weight::default(), false, &input.view)?;
            }
            return Ok(None);
        };
        let weight = engine.weights().first().copied().unwrap_or_default();
        if self.verdict(weight, true, &input.view)? == Verdict::Moving {
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
}

impl Passed {
    /// Normalized without other ranks.
    fn local(
        normalized: Normalized,
        engine: Option<Box<dyn Engine>>,
        batch: Option<Moments>,
    ) -> Self {
        Self { normalized, engine, batch, shared: None, forced: false }
    }
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

/// Merges one rank's update with those of the others; `None` if no rank has one.
fn of_all_ranks(exchange: &mut Exchange<'_>, update: Option<Moments>) -> Result<Option<Moments>> {
    let merged = exchange.gather(Share::of(update))?.merged;
    Ok((merged.common_weight().sum > 0.0).then_some(merged))
}
