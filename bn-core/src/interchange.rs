//! Parameters under other systems' names: export to them, import from them, conventions converted.
//!
//! No file is opened here: [`to_bytes`] and [`from_bytes`] turn named tensors into the content of a
//! safetensors file and back.

use std::collections::{BTreeMap, HashMap};

use candle::{DType, Device, Tensor, Var};

use crate::batch_norm::BatchNorm;
use crate::config::{BatchNormConfig, StoredVariance};
use crate::error::{Error, Result, require};
use crate::moments::Moments;
use crate::moving_average::{Decay, assign, decay_from_momentum};
use crate::renorm::RenormVariant;

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
        Names {
            gamma,
            beta,
            mean,
            variance,
        }
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

/// The layer's parameters and statistics under a system's names, `prefix` before each.
///
/// The moving variance is converted to the system's kind when `values_per_channel` is given and the kinds
/// differ; otherwise it is written as it is.
/// # Errors
/// [`Error::Value`] for values per channel of 1 or less.
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
        System::Torch => named.push((
            "num_batches_tracked".into(),
            count(bn, DType::I64)?.reshape(())?,
        )),
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
    bn.state
        .committed
        .as_detached_tensor()
        .to_dtype(dtype)?
        .copy()
}

fn renorm_averages(bn: &BatchNorm) -> Result<Vec<(String, Tensor)>> {
    let named = bn.state.renorm.iter().flat_map(|renorm| renorm.named());
    named
        .map(|(name, var)| Ok((name.to_owned(), var.as_detached_tensor().copy()?)))
        .collect()
}

/// `hidden` and `counter` of Haiku's two averages: `average = hidden / (1 − decay^counter)`.
fn haiku_averages(bn: &BatchNorm, variance: &Tensor) -> Result<Vec<(String, Tensor)>> {
    let filled = match constant_decay(bn) {
        Some(decay) => 1.0 - decay.powf(committed(bn)?),
        None => 1.0,
    };
    let mut named = Vec::new();
    let both = [
        ("mean_ema", &bn.state.mean, bn.moving_mean()),
        ("var_ema", &bn.state.variance, variance.clone()),
    ];
    for (name, average, value) in both {
        let hidden = match &average.debias {
            Some(debias) => debias.biased.as_detached_tensor().copy()?,
            None => (value * filled)?,
        };
        named.push((format!("{name}/hidden"), hidden));
        named.push((
            format!("{name}/counter"),
            count(bn, DType::I64)?.reshape(())?,
        ));
    }
    Ok(named)
}

/// How to read another system's parameters.
#[derive(Clone, Debug, Default)]
pub struct Import {
    /// Before each name, without the separator.
    pub prefix: String,
    /// The kind of variance in the file. Default: the system's ([`System::stored_variance`]).
    pub stored_variance: Option<StoredVariance>,
    /// Values per channel behind each stored variance (`N·H·W`), to convert it to the layer's kind.
    pub values_per_channel: Option<f64>,
}

/// What an import has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Names that were used, in order.
    pub used: Vec<String>,
    /// Names under the prefix that nothing was made of, in order.
    pub unused: Vec<String>,
    /// The kind of variance that the layer now holds. Where this is not the kind of the layer's
    /// configuration, the number of values was not given and the variance is as it was stored.
    pub variance: StoredVariance,
}

/// Sets the layer's parameters and statistics from a system's named tensors.
///
/// Tensors may have any shape of `C` elements (Haiku and TensorFlow keep ones around the channels). Everything
/// is read and checked before the first variable changes. Debias and renorm state that is missing takes over
/// from the moving statistics, as fully gathered.
/// # Errors
/// [`Error::Missing`] with the names that were there; [`Error::Shape`] for another number of elements;
/// [`Error::Value`] for values per channel of 1 or less.
pub fn import(
    bn: &BatchNorm,
    system: System,
    tensors: &Named,
    options: &Import,
) -> Result<Imported> {
    let names = system.names();
    let mut source = Source {
        bn,
        system,
        tensors,
        prefix: &options.prefix,
        used: Vec::new(),
    };
    let mean = source.per_channel(names.mean)?;
    let stored = source.per_channel(names.variance)?;
    let mut affine = Vec::new();
    for (name, var) in [(names.gamma, &bn.gamma), (names.beta, &bn.beta)] {
        if let Some(var) = var {
            affine.push((var, source.per_channel(name)?));
        }
    }
    let kind = options.stored_variance.unwrap_or(system.stored_variance());
    let (variance, kind) = convert(
        &stored,
        kind,
        bn.config.stored_variance,
        options.values_per_channel,
    )?;
    let more = source.more()?;

    bn.set_statistics(&Moments::new(&mean.ones_like()?, &mean, &variance)?)?;
    for (var, value) in affine.into_iter().chain(more) {
        assign(var, &value, None)?;
    }
    let step = committed(bn)?;
    bn.set_step(step as u64);
    let under = |name: &&String| {
        options.prefix.is_empty() || name.starts_with(&system.full_name(&options.prefix, ""))
    };
    let left = |name: &&String| !source.used.contains(*name);
    Ok(Imported {
        unused: tensors.keys().filter(under).filter(left).cloned().collect(),
        used: source.used,
        variance: kind,
    })
}

/// Named tensors being read.
struct Source<'a> {
    bn: &'a BatchNorm,
    system: System,
    tensors: &'a Named,
    prefix: &'a str,
    used: Vec<String>,
}

impl<'a> Source<'a> {
    fn optional(&mut self, name: &str, elements: usize) -> Result<Option<Tensor>> {
        let full = self.system.full_name(self.prefix, name);
        let Some(t) = self.tensors.get(&full) else {
            return Ok(None);
        };
        if t.elem_count() != elements {
            return Err(Error::shape(
                "import",
                &full,
                format!("{elements} elements"),
                t.dims(),
            ));
        }
        self.used.push(full);
        Ok(Some(
            t.to_device(&self.bn.device)?
                .to_dtype(DType::F64)?
                .reshape(elements)?,
        ))
    }

    fn per_channel(&mut self, name: &str) -> Result<Tensor> {
        let found = self.optional(name, self.bn.channels)?;
        found.ok_or_else(|| Error::Missing {
            op: "import",
            name: self.system.full_name(self.prefix, name),
            present: self.tensors.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    /// State beside the four: what the layer has a variable for, and the system a name.
    fn more(&mut self) -> Result<Vec<(&'a Var, Tensor)>> {
        let (bn, channels) = (self.bn, self.bn.channels);
        let state = &bn.state;
        let mut more = Vec::new();
        let counters = [
            "num_batches_tracked",
            "moving_mean/local_step",
            "mean_ema/counter",
        ];
        let mut steps = None;
        for name in counters {
            steps = self.optional(name, 1)?.or(steps);
        }
        if let Some(steps) = &steps {
            more.push((&state.committed, steps.clone()));
        }
        for (average, name) in [
            (&state.mean, "moving_mean/biased"),
            (&state.mean, "mean_ema/hidden"),
            (&state.variance, "var_ema/hidden"),
        ] {
            let Some(biased) = self.optional(name, channels)? else {
                continue;
            };
            let (Some(debias), Some(decay), Some(steps)) =
                (&average.debias, constant_decay(bn), &steps)
            else {
                continue;
            };
            let step = steps.get(0)?.to_scalar::<f64>()?;
            let weight = Tensor::full(1.0 - decay.powf(step), channels, &bn.device)?;
            more.push((&debias.biased, biased));
            more.push((&debias.weight, weight));
        }
        self.optional("var_ema/counter", 1)?; // the same number as the mean's
        let Some(renorm) = &state.renorm else {
            return Ok(more);
        };
        let mut pairs = vec![
            ("renorm_mean", &renorm.mean),
            ("renorm_stddev", &renorm.stddev),
        ];
        pairs.extend(renorm.moving_stddev.as_ref().map(|v| ("moving_stddev", v)));
        if let (RenormVariant::Tf1, Some((of_mean, of_stddev))) = (renorm.variant, &renorm.weights)
        {
            pairs.push(("renorm_mean_weight", of_mean));
            pairs.push(("renorm_stddev_weight", of_stddev));
        }
        for (name, var) in pairs {
            if name.ends_with("_weight") {
                // TensorFlow keeps one number for all channels.
                if let Some(one) = self.one_or_each(name)? {
                    more.push((var, one));
                }
            } else if let Some(value) = self.optional(name, channels)? {
                more.push((var, value));
            }
        }
        Ok(more)
    }

    fn one_or_each(&mut self, name: &str) -> Result<Option<Tensor>> {
        let full = self.system.full_name(self.prefix, name);
        let single = self.tensors.get(&full).is_some_and(|t| t.elem_count() == 1);
        let found = self.optional(name, if single { 1 } else { self.bn.channels })?;
        Ok(found
            .map(|t| t.broadcast_as(self.bn.channels)?.contiguous())
            .transpose()?)
    }
}

fn constant_decay(bn: &BatchNorm) -> Option<f64> {
    match bn.config.decay {
        Decay::Constant(decay) => Some(decay),
        _ => None,
    }
}

fn committed(bn: &BatchNorm) -> Result<f64> {
    Ok(bn
        .state
        .committed
        .as_detached_tensor()
        .to_dtype(DType::F64)?
        .to_vec1::<f64>()?[0])
}

/// A stored variance in another kind, where the number of values says how; and the kind it now is.
fn convert(
    variance: &Tensor,
    from: StoredVariance,
    to: StoredVariance,
    values: Option<f64>,
) -> Result<(Tensor, StoredVariance)> {
    if let Some(n) = values {
        require(
            n > 1.0 && n.is_finite(),
            "values_per_channel",
            "more than 1",
            n,
        )?;
    }
    Ok(match (from, to, values) {
        (StoredVariance::Biased, StoredVariance::Unbiased, Some(n)) => {
            ((variance * (n / (n - 1.0)))?, to)
        }
        (StoredVariance::Unbiased, StoredVariance::Biased, Some(n)) => {
            ((variance * ((n - 1.0) / n))?, to)
        }
        _ => (variance.clone(), from),
    })
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
