//! Population statistics ("PreciseBN"): the moving statistics are replaced by those of one pass over data,
//! with frozen weights.
//!
//! During the pass every layer normalizes by the batch. Its moments are merged with their exact weights, the
//! scatter of batch means included, so the split into batches affects the result only through the layer's
//! input. The statistics change only after a pass without errors.

use crate::batch_norm::BatchNorm;
use crate::channel::Moment;
use crate::collective::Exchange;
use crate::config::StoredVariance;
use crate::error::{Error, ErrorKind, Result};
use crate::moments::Moments;
use crate::state::Evaluation;
use crate::tensors::values;

const OP: &str = "population_statistics";

/// When the pass ends, if not with the data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PopulationOptions {
    /// Stop after this many batches. Default none.
    pub max_batches: Option<usize>,
    /// Stop once no channel of any layer has a larger standard error: of its mean, in stddevs, or of its
    /// variance, relative to the variance. Both are estimated from the scatter between batches. Default none.
    pub standard_error: Option<f64>,
    /// Batches before the standard error may end the pass; at least 2. Default 8.
    pub min_batches: usize,
}

impl Default for PopulationOptions {
    fn default() -> Self {
        Self { max_batches: None, standard_error: None, min_batches: 8 }
    }
}

/// The result of a pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PopulationReport {
    /// Batches that were used.
    pub batches: usize,
    /// The largest standard error over layers and channels, as in [`PopulationOptions::standard_error`]; `None`
    /// for fewer than two batches.
    pub standard_error: Option<f64>,
    /// The pass ended because the standard error was small enough.
    pub converged: bool,
}

/// Replaces the moving statistics of `layers` by those of the batches.
///
/// `forward` runs the net on one batch, in **evaluation** mode (so that dropout is off). During the pass the
/// given layers normalize by the batch instead, and record its moments, weighted if the call has weights. The
/// stored variance is biased or unbiased, as the layer is configured, over all values together. If `forward`
/// returns an error, the layers keep their statistics.
///
/// With ranks, layers normalize by their own rank's batches. The moments of all ranks are merged once, at the
/// end, so ranks may have different numbers of batches. Every rank must call this function.
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
/// assert_eq!(bn.moving_mean()?.to_vec1::<f64>()?, [3.]);
/// assert_eq!(bn.moving_variance()?.to_vec1::<f64>()?, [3.5]);
/// # Ok::<(), bn_core::Error>(())
/// ```
/// # Errors
/// The errors of `forward`; [`ErrorKind::Empty`] without batches; [`ErrorKind::Value`] for a layer that was not called,
/// for non-finite statistics, or for options out of range.
///
/// Source: Wu & Johnson 2021, section 3; the estimator is fvcore's, with exact weights.
pub fn population_statistics<B, E: From<Error>>(
    layers: &[&BatchNorm],
    batches: impl IntoIterator<Item = B>,
    options: &PopulationOptions,
    mut forward: impl FnMut(B) -> Result<(), E>,
) -> Result<PopulationReport, E> {
    options.check()?;
    let inner = layers.iter().map(|layer| &layer.layer);
    let exchanges = inner.map(|layer| Exchange::among(layer.ranks.as_ref(), layer.channels));
    let exchanges: Vec<_> = exchanges.collect();
    let (report, pooled) = Pass::start(layers).run(batches.into_iter(), options, &mut forward)?;
    let mut populations = Vec::with_capacity(layers.len());
    for (exchange, own) in exchanges.into_iter().zip(pooled) {
        populations.push(match exchange {
            Some(exchange) => exchange.gather(Some(&own), false)?.merged,
            None => own,
        });
    }
    let statistics = layers.iter().zip(&populations).enumerate();
    let statistics = statistics.map(|(i, (layer, pooled))| {
        if pooled.common_weight().sum == 0.0 && report.batches == 0 {
            return Err(ErrorKind::Empty(vec![0]).at(OP));
        }
        layer.population(pooled, i)
    });
    // All of them are sound before the first is replaced.
    for (layer, [mean, variance]) in layers.iter().zip(statistics.collect::<Result<Vec<_>>>()?) {
        layer.set_statistics(&mean, &variance, &[], None)?;
    }
    Ok(report)
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

/// A pass over the data in progress. While it lives, the layers record their moments; dropping it ends that,
/// also after an error.
struct Pass<'a> {
    layers: &'a [&'a BatchNorm],
    samples: Vec<Sample>,
}

impl<'a> Pass<'a> {
    fn start(layers: &'a [&'a BatchNorm]) -> Self {
        for layer in layers {
            layer.set_evaluation(Evaluation::Batch);
        }
        let samples = layers.iter().map(|layer| Sample::new(layer.channels())).collect();
        Self { layers, samples }
    }

    /// The report, and the moments of each layer.
    fn run<B, E: From<Error>>(
        mut self,
        batches: impl Iterator<Item = B>,
        options: &PopulationOptions,
        forward: &mut impl FnMut(B) -> Result<(), E>,
    ) -> Result<(PopulationReport, Vec<Moments>), E> {
        let mut report = PopulationReport { batches: 0, standard_error: None, converged: false };
        for batch in batches.take(options.max_batches.unwrap_or(usize::MAX)) {
            forward(batch)?;
            for (layer, sample) in self.layers.iter().zip(&mut self.samples) {
                if let Some(batch) = layer.take_recorded()? {
                    sample.add(&batch);
                }
            }
            report.batches += 1;
            let errors: Option<Vec<f64>> =
                self.samples.iter().map(Sample::standard_error).collect();
            report.standard_error = errors.map(|errors| errors.into_iter().fold(0.0, f64::max));
            let bound = report.standard_error.zip(options.standard_error);
            report.converged = report.batches >= options.min_batches
                && bound.is_some_and(|(now, bound)| now <= bound);
            if report.converged {
                break;
            }
        }
        let samples = std::mem::take(&mut self.samples);
        Ok((report, samples.into_iter().map(|sample| sample.pooled).collect()))
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        for layer in self.layers {
            layer.set_evaluation(Evaluation::Moving);
        }
    }
}

/// One layer's moments so far, and sums over the batches that its standard error is computed from: memory
/// does not grow with the batches.
struct Sample {
    pooled: Moments,
    batches: usize,
    scatter: Vec<Scatter>,
}

/// Of one channel: `Σ W² z zᵀ` over batches of weight W, mean m and variance v, with `z = (1, a, v + a²)`,
/// and a the distance of m from the first batch's mean, the pivot.
#[derive(Clone, Copy, Default)]
struct Scatter {
    pivot: f64,
    products: [[f64; 3]; 3],
}

impl Scatter {
    fn add(&mut self, weight: f64, batch: &Moment) {
        let a = batch.mean - self.pivot;
        let z = [1.0, a, batch.variance + a * a];
        for (row, z_i) in self.products.iter_mut().zip(z) {
            for (product, z_j) in row.iter_mut().zip(z) {
                *product += weight * weight * z_i * z_j;
            }
        }
    }

    /// `Σ W² (u · z)²`; rounding may not make it negative.
    fn squares(&self, u: [f64; 3]) -> f64 {
        let rows = self.products.iter().zip(u);
        let sum: f64 = rows
            .map(|(row, u_i)| u_i * row.iter().zip(u).map(|(p, u_j)| p * u_j).sum::<f64>())
            .sum();
        sum.max(0.0)
    }
}

impl Sample {
    fn new(channels: usize) -> Self {
        let pooled = Moments::nothing(channels);
        Self { pooled, batches: 0, scatter: vec![Scatter::default(); channels] }
    }

    fn add(&mut self, batch: &Moments) {
        let weight = batch.common_weight().sum;
        for (scatter, moment) in self.scatter.iter_mut().zip(batch.channels().iter()) {
            if self.batches == 0 {
                scatter.pivot = moment.mean;
            }
            scatter.add(weight, moment);
        }
        self.pooled.absorb(batch);
        self.batches += 1;
    }

    /// The largest standard error over channels; `None` for fewer than two batches.
    ///
    /// With shares `s_b = W_b / W`, the variance of a weighted mean `Σ s_b q_b` over k batches is
    /// estimated by `k/(k − 1) · Σ s_b² (q_b − q)²`; `q_b` is the batch's mean, or its total variance
    /// around the common mean m, `v_b + (m_b − m)² = v_b + a² − 2δa + δ²` with `δ = m − pivot`.
    fn standard_error(&self) -> Option<f64> {
        let total = self.pooled.common_weight().sum;
        if self.batches < 2 || total <= 0.0 {
            return None;
        }
        let k = self.batches as f64;
        let of_channel = |(scatter, pooled): (&Scatter, &Moment)| {
            if pooled.variance <= 0.0 {
                return 0.0; // a constant channel is known exactly
            }
            let delta = pooled.mean - scatter.pivot;
            let error = |u: [f64; 3]| (scatter.squares(u) * k / (k - 1.0)).sqrt() / total;
            let of_mean = error([-delta, 1.0, 0.0]) / pooled.variance.sqrt();
            let of_variance = error([delta * delta - pooled.variance, -2.0 * delta, 1.0]);
            of_mean.max(of_variance / pooled.variance)
        };
        Some(
            self.scatter
                .iter()
                .zip(self.pooled.channels().iter())
                .map(of_channel)
                .fold(0.0, f64::max),
        )
    }
}

impl BatchNorm {
    /// The moving statistics of a population, with the layer's kind of variance; refused if one is not finite
    /// in the layer's type.
    fn population(&self, pooled: &Moments, layer: usize) -> Result<[Vec<f64>; 2]> {
        if pooled.common_weight().sum == 0.0 {
            let expected = "every layer to be called in each forward pass";
            return Err(Error::value(OP, expected, format!("no call of layer {layer}")));
        }
        let variance = match self.layer.config.stored_variance {
            StoredVariance::Biased => pooled.variances(),
            StoredVariance::Unbiased => {
                values(&pooled.unbiased_variance(self.layer.config.weight_kind))?
            }
        };
        let mean = pooled.means();
        let single = self.layer.state.dtype() == candle::DType::F32;
        let holds = |v: &f64| if single { (*v as f32).is_finite() } else { v.is_finite() };
        for (name, of) in [("mean", &mean), ("variance", &variance)] {
            if let Some(value) = of.iter().find(|v| !holds(v)) {
                let got = format!("a {name} of {value} in layer {layer}");
                return Err(Error::value(OP, "batches with finite statistics", got));
            }
        }
        Ok([mean, variance])
    }
}
