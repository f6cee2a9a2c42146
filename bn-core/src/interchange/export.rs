//! A layer's parameters and statistics under another system's names.

use candle::{DType, Tensor};

use super::{Named, System, committed, constant_decay, convert};
use crate::batch_norm::BatchNorm;
use crate::error::Result;

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
    let (variance, _) = convert(
        &bn.moving_variance(),
        bn.config.stored_variance,
        system.stored_variance(),
        values_per_channel,
    )?;
    let mut named: Vec<(String, Tensor)> = vec![
        (names.mean.into(), bn.moving_mean().copy()?),
        (names.variance.into(), variance.copy()?),
    ];
    for (name, var) in [(names.gamma, &bn.gamma), (names.beta, &bn.beta)] {
        if let Some(var) = var {
            named.push((name.into(), var.as_detached_tensor().copy()?));
        }
    }
    match system {
        System::Torch => {
            named.push(("num_batches_tracked".into(), count(bn, DType::I64)?.reshape(())?))
        }
        System::Haiku => named.extend(haiku_averages(bn, &variance)?),
        System::TfSlim | System::TfLayers => {
            if let Some(debias) = &bn.state.mean.debias {
                named.push((
                    "moving_mean/biased".into(),
                    debias.biased.as_detached_tensor().copy()?,
                ));
                named.push((
                    "moving_mean/local_step".into(),
                    count(bn, bn.moving_mean().dtype())?.reshape(())?,
                ));
            }
            named.extend(renorm_averages(bn)?);
        }
        System::Keras => named.extend(renorm_averages(bn)?),
        System::Candle | System::Flax => {}
    }
    let full = |(name, t): (String, Tensor)| (system.full_name(prefix, &name), t);
    Ok(named.into_iter().map(full).collect())
}

/// Updates that took effect, `[1]`.
fn count(bn: &BatchNorm, dtype: DType) -> candle::Result<Tensor> {
    bn.state.committed.as_detached_tensor().to_dtype(dtype)?.copy()
}

fn renorm_averages(bn: &BatchNorm) -> Result<Vec<(String, Tensor)>> {
    let named = bn.state.renorm.iter().flat_map(|renorm| renorm.named());
    named.map(|(name, var)| Ok((name.to_owned(), var.as_detached_tensor().copy()?))).collect()
}

/// `hidden` and `counter` of Haiku's two averages: `average = hidden / (1 − decay^counter)`.
fn haiku_averages(bn: &BatchNorm, variance: &Tensor) -> Result<Vec<(String, Tensor)>> {
    let filled = match constant_decay(bn) {
        Some(decay) => 1.0 - decay.powf(committed(bn)?),
        None => 1.0,
    };
    let mut named = Vec::new();
    let both = [("mean_ema", bn.moving_mean()), ("var_ema", variance.clone())];
    for (name, value) in both {
        // Not the layer's own sum: that is of its kind of variance, and may have gathered less.
        named.push((format!("{name}/hidden"), (value * filled)?));
        named.push((format!("{name}/counter"), count(bn, DType::I64)?.reshape(())?));
    }
    Ok(named)
}
