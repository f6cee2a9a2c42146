//! A layer's parameters and statistics under another system's names.

use candle::{DType, Tensor};

use super::{Named, constant_decay, convert};
use crate::batch_norm::BatchNorm;
use crate::config::Names;
use crate::error::Result;
use crate::tensors::{values, vector};

/// The layer's parameters and statistics under a system's names, each after `prefix`.
///
/// If `values_per_channel` is given, the moving variance is converted to the system's kind; otherwise it is
/// written unchanged.
/// # Errors
/// [`Value`](crate::ErrorKind::Value) for values per channel of 1 or less.
pub fn export(
    bn: &BatchNorm,
    system: Names,
    prefix: &str,
    values_per_channel: Option<f64>,
) -> Result<Named> {
    let mean = bn.moving_mean()?;
    let dtype = mean.dtype();
    let own = bn.config().stored_variance;
    let stored = values(&bn.moving_variance()?)?;
    let kind = if system == Names::Own { own } else { system.stored_variance() };
    let (variance, _) = convert(stored, own, kind, values_per_channel)?;
    let variance = vector(&variance, dtype, &bn.layer.device)?;
    let mut named = Named::new();
    let mut add = |name: &str, t: Tensor| named.insert(system.below(prefix, name), t);
    for (name, var) in bn.affine_variables() {
        add(&name, var.as_detached_tensor().copy()?);
    }
    match system {
        Names::Torch => drop(add("updates", count(bn, DType::I64)?)),
        Names::Haiku => {
            let filled = match constant_decay(bn) {
                Some(decay) => 1.0 - decay.powf(values(&bn.layer.state.committed)?[0]),
                None => 1.0,
            };
            for (name, value) in [("mean_ema", &mean), ("var_ema", &variance)] {
                // Not the layer's own sum: that is of its kind of variance, and may have gathered less.
                add(&format!("{name}/hidden"), (value * filled)?);
                add(&format!("{name}/counter"), count(bn, DType::I64)?);
            }
        }
        Names::TfSlim | Names::TfLayers if bn.config().zero_debias.of_mean() => {
            drop(add("moving_mean/local_step", count(bn, dtype)?));
        }
        _ => {}
    }
    for (name, var) in bn.statistics() {
        let of_renorm = name.starts_with("renorm_") || name == "moving_stddev";
        let name = match system {
            Names::Own => &name,
            Names::TfSlim | Names::TfLayers | Names::Keras if of_renorm => &name,
            Names::TfSlim | Names::TfLayers if name == "moving_mean_biased" => "moving_mean/biased",
            _ => continue,
        };
        add(name, var.as_detached_tensor().copy()?);
    }
    add("moving_mean", mean);
    add("moving_variance", variance);
    Ok(named)
}

/// Updates that took effect, a scalar.
fn count(bn: &BatchNorm, dtype: DType) -> candle::Result<Tensor> {
    vector(&values(&bn.layer.state.committed)?, dtype, &bn.layer.device)?.reshape(())
}
