//! Diagnostics inside the layers: the rows of `layers.csv`.
//!
//! A [`LayerProbe`] observes one training step: the layers' outputs, then the gradients, then the norm layers' health. It
//! only reads existing values, so it does not change the step's results.

use crate::model::{Gradients, Model, MomentsByPath, Observer, norm_layers, parameters};
use crate::ops::buffer::{Numbers, is_plain};
use bn_core::Correction;
use bn_report::schema::LayerRow;
use candle::{DType, Device, Result, Tensor};
use std::cmp::Ordering;

/// Maximum number of output values, evenly spaced, that percentiles are computed from.
const SAMPLE: usize = 4096;
/// The percentiles of Ioffe & Szegedy 2015, figure 1.
const PERCENTILES: [(&str, f64); 3] = [("p15", 0.15), ("p50", 0.5), ("p85", 0.85)];

/// Observes one training step.
#[derive(Debug)]
pub struct LayerProbe {
    step: u64,
    rows: Vec<LayerRow>,
}

impl LayerProbe {
    /// A probe of the update that ends in `step`.
    pub fn new(step: u64) -> Self {
        Self { step, rows: Vec::new() }
    }

    fn push(&mut self, layer: &str, metric: &str, value: f64) {
        self.rows.push(LayerRow {
            step: self.step,
            layer: layer.to_owned(),
            metric: metric.to_owned(),
            value: value.is_finite().then_some(value),
        });
    }

    /// The rows of the step. Call it after the backward pass and before the update.
    ///
    /// # Errors
    /// Candle errors.
    pub fn finish(mut self, model: &Model, gradients: &Gradients) -> Result<Vec<LayerRow>> {
        for parameter in parameters(model.layers()) {
            self.push(&parameter.path, "norm", norm(&parameter.var)?);
            if let Some(gradient) = gradients.get(&parameter.var) {
                self.push(&parameter.path, "gradient_norm", norm(gradient)?);
            }
        }
        for (path, layer) in norm_layers(model.layers()) {
            let health = layer.health()?;
            for (metric, gap) in [
                ("mean_gap", rms(&health.mean_shift)),
                ("log_variance_gap", rms(&health.log_variance_ratio)),
            ] {
                if let Some(gap) = gap {
                    self.push(&path, metric, gap);
                }
            }
            if let Some(correction) = layer.last_correction() {
                self.push_correction(&path, &correction)?;
            }
        }
        Ok(self.rows)
    }

    fn push_correction(&mut self, path: &str, correction: &Correction) -> Result<()> {
        for (name, values) in [("r", correction.r()), ("d", correction.d())] {
            let mut values: Vec<f64> = values.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
            if let Some(values) = quantiles(&mut values, f64::total_cmp, [0.0, 0.5, 1.0]) {
                for (label, value) in ["min", "p50", "max"].into_iter().zip(values) {
                    self.push(path, &format!("{name}_{label}"), value);
                }
            }
        }
        self.push(path, "r_clipped", correction.clipped_r());
        self.push(path, "d_clipped", correction.clipped_d());
        Ok(())
    }
}

/// Differences between the moving and population statistics of `model`'s norm layers after `step` updates.
///
/// Root mean squares over channels: `population_mean_gap` of `(moving mean - mean) / sqrt(variance + epsilon)`,
/// `population_log_variance_gap` of `ln((moving variance + epsilon) / (variance + epsilon))`.
///
/// # Errors
/// Candle errors.
pub fn population_gaps(
    step: u64,
    model: &Model,
    population: &MomentsByPath,
) -> Result<Vec<LayerRow>> {
    let mut probe = LayerProbe::new(step);
    for (path, layer) in norm_layers(model.layers()) {
        let Some(moments) = population.get(&path) else {
            continue;
        };
        let numbers = |values: &Tensor| {
            values.to_dtype(DType::F64)?.to_device(&Device::Cpu)?.to_vec1::<f64>()
        };
        let (mean, variance) = (numbers(&moments.mean())?, numbers(&moments.variance())?);
        let (moving_mean, moving_variance) =
            (numbers(&layer.moving_mean()?)?, numbers(&layer.moving_variance()?)?);
        let epsilon = layer.config().epsilon;
        let channels = 0..mean.len();
        let of_mean = |c: usize| (moving_mean[c] - mean[c]) / (variance[c] + epsilon).sqrt();
        let of_variance =
            |c: usize| ((moving_variance[c] + epsilon) / (variance[c] + epsilon)).ln();
        for (metric, gaps) in [
            ("population_mean_gap", channels.clone().map(of_mean).collect::<Vec<_>>()),
            ("population_log_variance_gap", channels.map(of_variance).collect()),
        ] {
            if let Some(gap) = rms(&gaps) {
                probe.push(&path, metric, gap);
            }
        }
    }
    Ok(probe.rows)
}

impl Observer for LayerProbe {
    fn output(&mut self, path: &str, y: &Tensor) -> Result<()> {
        let y = y.detach().to_device(&Device::Cpu)?.to_dtype(DType::F32)?.contiguous()?;
        let values = Numbers::of(&y)?;
        let step = values.len().div_ceil(SAMPLE).max(1);
        let mut sample: Vec<f32> = values.iter().copied().step_by(step).collect();
        let shares = PERCENTILES.map(|(_, share)| share);
        if let Some(values) = quantiles(&mut sample, f32::total_cmp, shares) {
            for ((name, _), value) in PERCENTILES.iter().zip(values) {
                self.push(path, name, f64::from(value));
            }
        }
        if let [examples, channels, ..] = *y.dims() {
            self.push(path, "dead_channels", dead_channels(&values, examples, channels));
        }
        Ok(())
    }
}

/// The quantiles at ascending `shares` in [0, 1], by the nearest rank. `None` without values. Selects them in place, since sorting
/// all values would cost more than everything else that is observed.
fn quantiles<T: Copy, const N: usize>(
    values: &mut [T],
    order: impl Fn(&T, &T) -> Ordering + Copy,
    shares: [f64; N],
) -> Option<[T; N]> {
    let last = values.len().checked_sub(1)?;
    let mut selected = 0;
    Some(shares.map(|share| {
        // What was selected stays in its place, with all that is greater behind it.
        let rank = ((share * last as f64).round() as usize).clamp(selected, last);
        let (_, value, _) = values[selected..].select_nth_unstable_by(rank - selected, order);
        selected = rank;
        *value
    }))
}

/// The share of channels that are constant over all examples and positions.
fn dead_channels(values: &[f32], examples: usize, channels: usize) -> f64 {
    let inner = values.len() / (examples * channels).max(1);
    if inner == 0 {
        return 0.0;
    }
    let is_constant = |channel: &usize| {
        let first = values[channel * inner];
        let mut maps = values.chunks_exact(inner).skip(*channel).step_by(channels);
        maps.all(|map| map.iter().all(|value| *value == first))
    };
    (0..channels).filter(is_constant).count() as f64 / channels as f64
}

/// Root mean square; `None` without values.
fn rms(values: &[f64]) -> Option<f64> {
    let squares: f64 = values.iter().map(|value| value * value).sum();
    (!values.is_empty()).then(|| (squares / values.len() as f64).sqrt())
}

/// `√Σv²`, summed in f64.
fn norm(values: &Tensor) -> Result<f64> {
    if is_plain(values) && values.is_contiguous() {
        let values = Numbers::of(values)?;
        return Ok(values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt());
    }
    let values: Vec<f64> = values.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    Ok(values.iter().map(|v| v * v).sum::<f64>().sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Batch, ImageShape};
    use crate::experiment::Registry;
    use crate::model::Sizes;
    use crate::task::{Networks, Turn};

    fn networks(norm: &str) -> Networks {
        let text = format!(
            "optimizer.learning_rate = 0.1\ntrain.steps = 10\nmodel.hidden = [3, 4]\nnorm = {{ {norm} }}"
        );
        let settings =
            Registry::built_in().settings(&text).unwrap_or_else(|invalid| panic!("{invalid}"));
        let input = ImageShape { channels: 1, height: 2, width: 2 };
        settings.networks(Sizes { input, classes: 2 }, 0, &Device::Cpu).unwrap()
    }

    fn batch() -> Batch {
        let pixels: Vec<f32> = (0..24).map(|i| (i * i % 7) as f32).collect();
        let images = Tensor::from_vec(pixels, (6, 1, 2, 2), &Device::Cpu).unwrap();
        Batch::new(images, Tensor::new(&[0_u32, 1, 1, 0, 1, 0], &Device::Cpu).unwrap())
    }

    fn probed(norm: &str) -> Vec<LayerRow> {
        let networks = networks(norm);
        let mut probe = LayerProbe::new(7);
        let mut turn = Turn { observer: Some(&mut probe), ..Turn::default() };
        let learned = networks.task().learn(0, networks.models(), &batch(), &mut turn).unwrap();
        probe.finish(networks.evaluated(), &learned.gradients).unwrap()
    }

    fn value(rows: &[LayerRow], layer: &str, metric: &str) -> Option<f64> {
        let mut found = rows.iter().filter(|row| row.layer == layer && row.metric == metric);
        let value = found.next()?.value;
        assert!(found.next().is_none(), "{layer} {metric} twice");
        value
    }

    #[test]
    fn every_layer_has_its_rows() {
        let rows = probed("kind = 'batch'");
        assert!(rows.iter().all(|row| row.step == 7));
        for layer in ["hidden1", "hidden1.norm", "hidden2.norm", "output"] {
            let percentiles = ["p15", "p50", "p85"].map(|p| value(&rows, layer, p).unwrap());
            assert!(percentiles.is_sorted(), "{layer}: {percentiles:?}");
        }
        for parameter in ["hidden1.weight", "hidden1.norm.gamma", "output.bias"] {
            assert!(value(&rows, parameter, "gradient_norm").is_some(), "{parameter}");
        }
        assert_eq!(value(&rows, "hidden1.norm.gamma", "norm"), Some(3.0_f64.sqrt()));
        assert!(value(&rows, "hidden2.norm", "mean_gap").unwrap() > 0.0);
        assert!(value(&rows, "hidden2.norm", "r_p50").is_none());
    }

    #[test]
    fn norm_rows_describe_the_input_of_the_activation() {
        let rows = probed("kind = 'batch'");
        // The default activation is ReLU, so only its inputs have negative percentiles.
        assert!(value(&rows, "hidden1.norm", "p15").unwrap() < 0.0);
        assert!(value(&rows, "hidden1.activation", "p15").unwrap() >= 0.0);
        // ReLU keeps the larger values as they are.
        let p85 = |layer| value(&rows, layer, "p85").unwrap();
        assert!((p85("hidden1.norm") - p85("hidden1.activation")).abs() < 1e-6);
        let rows = probed("kind = 'renorm', decay = 0.5, renorm.variant = 'paper'");
        let p85 = |layer| value(&rows, layer, "p85").unwrap();
        assert!((p85("hidden1.norm") - p85("hidden1.activation")).abs() < 1e-5);
    }

    #[test]
    fn gaps_compare_moving_and_population_statistics() {
        let (networks, batch) = (networks("decay = 0.5"), batch());
        let population = networks.population(&batch.images, 6).unwrap();
        let rows = population_gaps(3, networks.evaluated(), &population).unwrap();
        assert!(rows.iter().all(|row| row.step == 3));
        let moments = &population["hidden1.norm"];
        let of = |values: Tensor| values.to_vec1::<f64>().unwrap();
        let gaps = of(moments.mean()).into_iter().zip(of(moments.variance()));
        // Moving statistics start at mean 0 and variance 1.
        let squares = gaps.map(|(mean, variance)| mean * mean / (variance + 1e-3));
        let want = (squares.sum::<f64>() / 3.0).sqrt();
        let got = value(&rows, "hidden1.norm", "population_mean_gap").unwrap();
        assert!((got - want).abs() < 1e-6 * want, "{got} {want}");
        assert!(value(&rows, "hidden2.norm", "population_log_variance_gap").unwrap() > 0.0);
    }

    #[test]
    fn renorm_has_rows_of_r_and_d() {
        let rows = probed("kind = 'renorm', renorm = { r_max = 1.0, r_min = 1.0, d_max = 0.0 }");
        assert_eq!(value(&rows, "hidden1.norm", "r_min"), Some(1.0));
        assert_eq!(value(&rows, "hidden1.norm", "d_max"), Some(0.0));
        assert_eq!(value(&rows, "hidden1.norm", "r_clipped"), Some(1.0));
    }

    #[test]
    fn constant_channel_is_dead() {
        // [examples, channels, 2]: the second channel is constant.
        let values = [1.0, 2.0, 5.0, 5.0, 1.0, 1.0, 5.0, 5.0];
        assert_eq!(dead_channels(&values, 2, 2), 0.5);
        assert_eq!(dead_channels(&[f32::NAN; 2], 2, 1), 0.0);
        assert_eq!(dead_channels(&[], 0, 3), 0.0);
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_values() {
        let shares = [0.0, 0.15, 0.5, 0.5, 0.85, 1.0];
        for count in 1..200_u32 {
            // Every value once, or with many equal ones.
            for step in [1, 7] {
                let mut values: Vec<u32> = (0..count).map(|i| i * 89 % count / step).collect();
                let mut sorted = values.clone();
                sorted.sort_unstable();
                let last = f64::from(count - 1);
                let wanted = shares.map(|share| sorted[(share * last).round() as usize]);
                assert_eq!(
                    quantiles(&mut values, u32::cmp, shares),
                    Some(wanted),
                    "{count} {step}"
                );
            }
        }
        assert_eq!(quantiles(&mut [], u32::cmp, shares), None);
        assert_eq!((rms(&[3.0, -4.0]), rms(&[])), (Some(12.5_f64.sqrt()), None));
    }
}
