//! Population statistics ("PreciseBN"): the moving statistics replaced by those of a pass over data with
//! frozen weights.
//!
//! Every layer normalizes by the batch while its moments are gathered with their exact weights and total
//! variance (the scatter of batch means included), so the result does not depend on how the data are
//! split where a layer's input does not. Nothing changes before the pass has ended well.

use candle::DType;

use crate::batch_norm::BatchNorm;
use crate::config::StoredVariance;
use crate::error::{Error, Result};
use crate::moments::Moments;
use crate::updates::lock;

/// When a pass over the data ends. It also ends with the data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PopulationOptions {
    /// Stop after so many batches. Default none.
    pub max_batches: Option<usize>,
    /// Stop once every channel of every layer is known so well: standard error of the mean in stddevs, and
    /// of the variance as a share of the variance, both from the scatter between batches. Default none.
    pub standard_error: Option<f64>,
    /// Batches before the standard error is believed; at least 2. Default 8.
    pub min_batches: usize,
}

impl Default for PopulationOptions {
    fn default() -> Self {
        Self { max_batches: None, standard_error: None, min_batches: 8 }
    }
}

/// What a pass came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PopulationReport {
    /// Batches that were used.
    pub batches: usize,
    /// The largest standard error over layers and channels, as in [`PopulationOptions::standard_error`]; none
    /// before two batches.
    pub standard_error: Option<f64>,
    /// It ended because the standard error was small enough.
    pub converged: bool,
}

/// Replaces the moving statistics of `layers` by those of the batches.
///
/// `forward` runs the net on one batch, in **evaluation** mode (so that dropout is off): while the pass
/// lasts, the given layers normalize by the batch instead, and record its moments. Weights given in a call
/// count. The stored variance is of the layer's kind, biased or unbiased, over all values together.
/// On an error of `forward` or of the batches, the layers keep the statistics they had.
///
/// ```
/// use bn_core::{BatchNormConfig, PopulationOptions, population_statistics};
/// use candle::{DType, Device, Tensor};
/// use candle_nn::{VarBuilder, VarMap};
/// # let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F64, &Device::Cpu);
/// let bn = BatchNormConfig::keras().build(1, vb)?;
/// let data = [vec![1f64, 2., 3.], vec![6.]]; // batches of unequal size
/// let batches = data.map(|rows| Tensor::from_vec(rows.clone(), (rows.len(), 1), &Device::Cpu));
/// population_statistics(&[&bn], batches, &PopulationOptions::default(), |x| {
///     bn.forward_eval(&x?).map(drop)
/// })?;
/// assert_eq!(bn.moving_mean().to_vec1::<f64>()?, [3.]);
/// assert_eq!(bn.moving_variance().to_vec1::<f64>()?, [3.5]);
/// # Ok::<(), bn_core::Error>(())
/// ```
/// # Errors
/// What `forward` returns; [`Error::Empty`] without any batch; [`Error::Value`] for a layer that was not
/// called, statistics that are not
/// finite, or options out of range.
///
/// Source: Wu & Johnson 2021, section 3; the estimator is fvcore's pooled one, with exact weights.
pub fn population_statistics<B, E: From<Error>>(
    layers: &[&BatchNorm],
    batches: impl IntoIterator<Item = B>,
    options: &PopulationOptions,
    mut forward: impl FnMut(B) -> Result<(), E>,
) -> Result<PopulationReport, E> {
    options.check()?;
    let recording = Recording::start(layers);
    let mut gathered: Vec<Gathered> = layers.iter().map(|_| Gathered::default()).collect();
    let mut report = PopulationReport { batches: 0, standard_error: None, converged: false };
    let most = options.max_batches.unwrap_or(usize::MAX);
    for batch in batches.into_iter().take(most) {
        forward(batch)?;
        for (layer, gathered) in layers.iter().zip(&mut gathered) {
            gathered.add(recording.take(layer)?)?;
        }
        report.batches += 1;
        let errors = gathered.iter().map(Gathered::standard_error);
        report.standard_error =
            errors.collect::<Option<Vec<f64>>>().map(|e| e.into_iter().fold(0.0, f64::max));
        let known = report
            .standard_error
            .zip(options.standard_error)
            .is_some_and(|(now, bound)| now <= bound);
        if known && report.batches >= options.min_batches {
            report.converged = true;
            break;
        }
    }
    drop(recording);
    let mut populations = Vec::new();
    for (i, (layer, gathered)) in layers.iter().zip(&gathered).enumerate() {
        let pooled = gathered.pooled.as_ref().ok_or_else(|| nothing(report.batches, i))?;
        populations.push(layer.population(pooled, i)?);
    }
    // All of them are sound: from here on nothing fails.
    for (layer, population) in layers.iter().zip(&populations) {
        layer.set_statistics(population)?;
    }
    Ok(report)
}

fn nothing(batches: usize, layer: usize) -> Error {
    match batches {
        0 => Error::Empty { op: "population_statistics", shape: vec![0] },
        _ => Error::value(
            "population_statistics",
            "every layer to be called in each forward pass",
            format!("no call of layer {layer}"),
        ),
    }
}

impl PopulationOptions {
    fn check(&self) -> Result<()> {
        if self.min_batches < 2 {
            return Err(Error::value("min_batches", "2 or more", self.min_batches));
        }
        if self.max_batches == Some(0) {
            return Err(Error::value("max_batches", "1 or more", 0));
        }
        match self.standard_error {
            Some(bound) if bound.is_nan() || bound <= 0.0 => {
                Err(Error::value("standard_error", "a bound above 0", bound))
            }
            _ => Ok(()),
        }
    }
}

/// While this lives, the layers record their moments; dropping it ends that, whatever happened.
struct Recording<'a> {
    layers: &'a [&'a BatchNorm],
}

impl<'a> Recording<'a> {
    fn start(layers: &'a [&'a BatchNorm]) -> Self {
        for layer in layers {
            *lock(&layer.state.recorded) = Some(Vec::new());
        }
        Self { layers }
    }

    /// What a layer has recorded since the last batch, merged over its calls.
    fn take(&self, layer: &BatchNorm) -> Result<Option<Moments>> {
        let calls = lock(&layer.state.recorded).replace(Vec::new()).unwrap_or_default();
        Moments::merge_all(&calls)
    }
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        for layer in self.layers {
            *lock(&layer.state.recorded) = None;
        }
    }
}

/// One layer's moments so far, pooled and by batch.
#[derive(Default)]
struct Gathered {
    pooled: Option<Moments>,
    batches: Vec<BatchMoments>,
}

struct BatchMoments {
    weight: f64,
    mean: Vec<f64>,
    variance: Vec<f64>,
}

impl Gathered {
    fn add(&mut self, batch: Option<Moments>) -> Result<()> {
        let Some(batch) = batch else { return Ok(()) };
        let host = |t: &candle::Tensor| t.to_dtype(DType::F64)?.to_vec1::<f64>();
        self.batches.push(BatchMoments {
            weight: host(batch.weight())?.first().copied().unwrap_or(0.0),
            mean: host(batch.mean())?,
            variance: host(batch.variance())?,
        });
        self.pooled = Some(match self.pooled.take() {
            Some(pooled) => pooled.merge(&batch)?,
            None => batch,
        });
        Ok(())
    }

    /// The largest over channels; none before two batches.
    ///
    /// With shares `s_b = W_b / W`, the variance of a weighted mean `Σ s_b q_b` over k batches is
    /// estimated by `k/(k − 1) · Σ s_b² (q_b − q)²`; `q_b` is the batch's mean, or its total variance
    /// around the common mean.
    fn standard_error(&self) -> Option<f64> {
        let count = self.batches.len();
        let total: f64 = self.batches.iter().map(|b| b.weight).sum();
        if count < 2 || total <= 0.0 {
            return None;
        }
        let channels = self.batches[0].mean.len();
        let of_channel = |c: usize| {
            let share = |b: &BatchMoments| b.weight / total;
            let mean: f64 = self.batches.iter().map(|b| share(b) * b.mean[c]).sum();
            let around = |b: &BatchMoments| b.variance[c] + (b.mean[c] - mean).powi(2);
            let variance: f64 = self.batches.iter().map(|b| share(b) * around(b)).sum();
            if variance <= 0.0 {
                return 0.0; // a constant channel is known exactly
            }
            let error = |q: &dyn Fn(&BatchMoments) -> f64, centre: f64| {
                let scatter: f64 =
                    self.batches.iter().map(|b| (share(b) * (q(b) - centre)).powi(2)).sum();
                (scatter * count as f64 / (count - 1) as f64).sqrt()
            };
            let of_mean = error(&|b| b.mean[c], mean) / variance.sqrt();
            let of_variance = error(&around, variance) / variance;
            of_mean.max(of_variance)
        };
        Some((0..channels).map(of_channel).fold(0.0, f64::max))
    }
}

impl BatchNorm {
    /// The moving statistics of a population, in the layer's own kind of variance; refused where they are
    /// not finite in the layer's type.
    fn population(&self, pooled: &Moments, layer: usize) -> Result<Moments> {
        let variance = match self.config.stored_variance {
            StoredVariance::Biased => pooled.variance().clone(),
            StoredVariance::Unbiased => pooled.unbiased_variance(self.config.weight_kind)?,
        };
        for (name, t) in [("mean", pooled.mean()), ("variance", &variance)] {
            let held = t.to_dtype(self.moving_mean().dtype())?;
            let held = held.to_dtype(DType::F64)?.to_vec1::<f64>()?;
            if let Some(value) = held.iter().find(|value| !value.is_finite()) {
                return Err(Error::value(
                    "population_statistics",
                    "batches with finite statistics",
                    format!("a {name} of {value} in layer {layer}"),
                ));
            }
        }
        Moments::new(pooled.weight(), pooled.mean(), &variance)
    }
}
