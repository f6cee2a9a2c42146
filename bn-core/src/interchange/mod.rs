//! Import and export of parameters under other systems' names, with conversion of conventions.
//!
//! | system | gamma, beta | statistics | more |
//! |---|---|---|---|
//! | `Torch` | `weight`, `bias` | `running_mean`, `running_var` | `num_batches_tracked` |
//! | `Candle` | `weight`, `bias` | `running_mean`, `running_var` | |
//! | `TfSlim`, `TfLayers` | `gamma`, `beta` | `moving_mean`, `moving_variance` | `moving_mean/biased`, `moving_mean/local_step`; `renorm_mean`, `renorm_stddev`, in 2017 with `_weight` |
//! | `Keras` | `gamma`, `beta` | `moving_mean`, `moving_variance` | `moving_stddev`, `renorm_mean`, `renorm_stddev` |
//! | `Flax` | `scale`, `bias` | `mean`, `var` | |
//! | `Haiku` | `scale`, `offset` | `mean_ema/average`, `var_ema/average` | `hidden` and `counter` of both |
//! | `Own` | `gamma`, `beta` | `moving_mean`, `moving_variance` | everything that the layer keeps |
//!
//! No file is opened here: [`to_bytes`] and [`from_bytes`] turn named tensors into the content of a
//! safetensors file and back.

mod export;
mod import;

use std::collections::{BTreeMap, HashMap};

use candle::{Device, Tensor};

pub use export::export;
pub use import::{Import, Imported, import};

use crate::batch_norm::BatchNorm;
use crate::channel::Decay;
use crate::config::StoredVariance;
use crate::error::{Result, require};

/// Named tensors, in name order.
pub type Named = BTreeMap<String, Tensor>;

/// The content of a safetensors file with these tensors. Equal tensors give equal bytes.
/// # Errors
/// [`Candle`](crate::ErrorKind::Candle) if a tensor cannot be read.
pub fn to_bytes(tensors: &Named) -> Result<Vec<u8>> {
    let contiguous = |(name, t): (&String, &Tensor)| Ok((name.clone(), t.contiguous()?));
    let tensors: Vec<(String, Tensor)> = tensors.iter().map(contiguous).collect::<Result<_>>()?;
    let bytes = safetensors::serialize(tensors, None);
    Ok(bytes.map_err(candle::Error::wrap)?)
}

/// The tensors in the content of a safetensors file.
/// # Errors
/// [`Candle`](crate::ErrorKind::Candle) if the content is not such a file.
pub fn from_bytes(bytes: &[u8], device: &Device) -> Result<Named> {
    let tensors: HashMap<String, Tensor> = candle::safetensors::load_buffer(bytes, device)?;
    Ok(tensors.into_iter().collect())
}

fn constant_decay(bn: &BatchNorm) -> Option<f64> {
    match bn.layer.config.decay {
        Decay::Constant(decay) => Some(decay),
        _ => None,
    }
}

/// Converts a stored variance to another kind if the number of values is known; with the resulting kind.
fn convert(
    variance: Vec<f64>,
    from: StoredVariance,
    to: StoredVariance,
    values_per_channel: Option<f64>,
) -> Result<(Vec<f64>, StoredVariance)> {
    let Some(n) = values_per_channel else {
        return Ok((variance, from));
    };
    let several = n > 1.0 && n.is_finite();
    require(several, "values_per_channel", "more than 1", n)?;
    let factor = match (from, to) {
        (StoredVariance::Biased, StoredVariance::Unbiased) => n / (n - 1.0),
        (StoredVariance::Unbiased, StoredVariance::Biased) => (n - 1.0) / n,
        _ => 1.0,
    };
    Ok((variance.into_iter().map(|v| v * factor).collect(), to))
}
