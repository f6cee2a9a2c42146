//! Parameters under other systems' names: export to them, import from them, conventions converted.
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
use crate::config::{BatchNormConfig, StoredVariance};
use crate::error::{Result, require};
use crate::moving_average::decay_from_momentum;

/// Named tensors, in name order.
pub type Named = BTreeMap<String, Tensor>;

/// A system whose parameter names and conventions are known.
///
/// | system | gamma, beta | statistics | more |
/// |---|---|---|---|
/// | `Torch` | `weight`, `bias` | `running_mean`, `running_var` | `num_batches_tracked` |
/// | `Candle` | `weight`, `bias` | `running_mean`, `running_var` | |
/// | `TfSlim`, `TfLayers` | `gamma`, `beta` | `moving_mean`, `moving_variance` | `moving_mean/biased`, `moving_mean/local_step`; `renorm_mean`, `renorm_stddev`, in 2017 with `_weight` |
/// | `Keras` | `gamma`, `beta` | `moving_mean`, `moving_variance` | `moving_stddev`, `renorm_mean`, `renorm_stddev` |
/// | `Flax` | `scale`, `bias` | `mean`, `var` | |
/// | `Haiku` | `scale`, `offset` | `mean_ema/average`, `var_ema/average` | `hidden` and `counter` of both |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// `torch.nn.BatchNorm1d/2d/3d`.
    Torch,
    /// `candle_nn::BatchNorm`.
    Candle,
    /// `tf.contrib.layers.batch_norm`, `tf_slim`.
    TfSlim,
    /// `tf.layers.batch_normalization`.
    TfLayers,
    /// Keras 3 and `tf.keras`.
    Keras,
    /// `flax.linen.BatchNorm`, `flax.nnx.BatchNorm`.
    Flax,
    /// `haiku.BatchNorm`.
    Haiku,
}

/// Names of gamma, beta, moving mean and moving variance.
struct Names {
    gamma: &'static str,
    beta: &'static str,
    mean: &'static str,
    variance: &'static str,
}

impl System {
    /// The system's defaults as a configuration.
    pub fn config(self) -> BatchNormConfig {
        match self {
            System::Torch => BatchNormConfig::torch(),
            System::Candle => BatchNormConfig::candle(),
            System::TfSlim => BatchNormConfig::tf_slim(),
            System::TfLayers => BatchNormConfig::tf_layers(),
            System::Keras => BatchNormConfig::keras(),
            System::Flax => BatchNormConfig::flax(),
            System::Haiku => BatchNormConfig::haiku(),
        }
    }

    /// Our decay from the number that the system calls momentum (or decay): `1 − momentum` for PyTorch and
    /// candle, the number itself elsewhere.
    pub fn decay(self, momentum: f64) -> f64 {
        match self {
            System::Torch | System::Candle => decay_from_momentum(momentum),
            _ => momentum,
        }
    }

    /// The number that the system calls momentum (or decay) from our decay; the inverse of [`System::decay`].
    pub fn momentum(self, decay: f64) -> f64 {
        self.decay(decay)
    }

    /// The kind of variance that the system's moving variance holds. (TensorFlow's fused path stores the
    /// unbiased one: say so in [`Import::stored_variance`].)
    pub fn stored_variance(self) -> StoredVariance {
        self.config().stored_variance
    }

    fn names(self) -> Names {
        let (gamma, beta, mean, variance) = match self {
            System::Torch | System::Candle => ("weight", "bias", "running_mean", "running_var"),
            System::TfSlim | System::TfLayers | System::Keras => {
                ("gamma", "beta", "moving_mean", "moving_variance")
            }
            System::Flax => ("scale", "bias", "mean", "var"),
            System::Haiku => ("scale", "offset", "mean_ema/average", "var_ema/average"),
        };
        Names { gamma, beta, mean, variance }
    }

    fn separator(self) -> char {
        match self {
            System::Torch | System::Candle => '.',
            _ => '/',
        }
    }

    fn full_name(self, prefix: &str, name: &str) -> String {
        match prefix {
            "" => name.to_owned(),
            prefix => format!("{prefix}{}{name}", self.separator()),
        }
    }
}

/// The content of a safetensors file with these tensors; same tensors, same bytes.
pub fn to_bytes(tensors: &Named) -> Result<Vec<u8>> {
    let contiguous = |(name, t): (&String, &Tensor)| Ok((name.clone(), t.contiguous()?));
    let tensors: Vec<(String, Tensor)> = tensors.iter().map(contiguous).collect::<Result<_>>()?;
    let bytes = safetensors::serialize(tensors, None);
    Ok(bytes.map_err(candle::Error::wrap)?)
}

/// The tensors of a safetensors file's content.
pub fn from_bytes(bytes: &[u8], device: &Device) -> Result<Named> {
    let tensors: HashMap<String, Tensor> = candle::safetensors::load_buffer(bytes, device)?;
    Ok(tensors.into_iter().collect())
}

fn constant_decay(bn: &BatchNorm) -> Option<f64> {
    match bn.config.decay {
        Decay::Constant(decay) => Some(decay),
        _ => None,
    }
}

/// A stored variance in another kind, where the number of values says how; and the kind it now is.
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
