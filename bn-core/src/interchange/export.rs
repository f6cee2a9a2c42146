//! A layer's parameters and statistics under another system's names.

use candle::{DType, Tensor};

use super::{Named, System, constant_decay, convert};
use crate::batch_norm::BatchNorm;
use crate::error::Result;
use crate::tensors::{values, vector};

/// The layer's parameters and statistics under a system's names, `prefix` before each.
///
/// The moving variance is converted to the system's kind when `values_per_channel` is given and the kinds
/// differ; otherwise it is written as it is.
/// # Errors
/// [`Error::Value`](crate::Error::Value) for values per channel of 1 or less.
pub fn export(
    bn: &BatchNorm,
    system: System,
    prefix: &str,
    values_per_channel: Option<f64>,
) -> Result<Named> {
    let names = system.names();
    let mean = bn.moving_mean()?;
    let dtype = mean.dtype();
    let own = bn.config.stored_variance;
    let stored = values(&bn.moving_variance()?)?;
    let (variance, _) = convert(stored, own, system.stored_variance(), values_per_channel)?;
    let variance = vector(&variance, dtype, &bn.device)?;
    let mut named: Vec<(String, Tensor)> = Vec::new();
    for (name, var) in [(names.gamma, &bn.gamma), (names.beta, &bn.beta)] {
        if let Some(var) = var {
            named.push((name.into(), var.as_detached_tensor().copy()?));
        }
    }
    match system {
        System::Torch => named.push(("num_batches_tracked".into(), count(bn, DType::I64)?)),
        System::Haiku => named.extend(haiku_averages(bn, [&mean, &variance])?),
        System::TfSlim | System::TfLayers => {
            if let Some(biased) = bn.state.copy_of("moving_mean_biased")? {
                named.push(("moving_mean/biased".into(), biased));
                named.push(("moving_mean/local_step".into(), count(bn, dtype)?));
            }
            named.extend(renorm_averages(bn)?);
        }
        System::Keras => named.extend(renorm_averages(bn)?),
        System::Candle | System::Flax => {}
    }
    named.extend([(names.mean.into(), mean), (names.variance.into(), variance)]);
    let full = |(name, t): (String, Tensor)| (system.full_name(prefix, &name), t);
    Ok(named.into_iter().map(full).collect())
}

/// Updates that took effect, a scalar.
fn count(bn: &BatchNorm, dtype: DType) -> candle::Result<Tensor> {
    vector(&values(&bn.state.committed)?, dtype, &bn.device)?.reshape(())
}

fn renorm_averages(bn: &BatchNorm) -> Result<Vec<(String, Tensor)>> {
    let names = [
        "renorm_mean",
        "renorm_stddev",
        "renorm_mean_weight",
        "renorm_stddev_weight",
        "moving_stddev",
    ];
    let mut found = Vec::new();
    for name in names {
        found.extend(bn.state.copy_of(name)?.map(|t| (name.to_owned(), t)));
    }
    Ok(found)
}

/// `hidden` and `counter` of Haiku's two averages: `average = hidden / (1 − decay^counter)`.
fn haiku_averages(bn: &BatchNorm, averages: [&Tensor; 2]) -> Result<Vec<(String, Tensor)>> {
    let filled = match constant_decay(bn) {
        Some(decay) => 1.0 - decay.powf(values(&bn.state.committed)?[0]),
        None => 1.0,
    };
    let mut named = Vec::new();
    for (name, value) in ["mean_ema", "var_ema"].into_iter().zip(averages) {
        // Not the layer's own sum: that is of its kind of variance, and may have gathered less.
        named.push((format!("{name}/hidden"), (value * filled)?));
        named.push((format!("{name}/counter"), count(bn, DType::I64)?));
    }
    Ok(named)
}
