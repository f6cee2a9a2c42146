//! Another system's parameters into a layer: everything is read and checked before anything changes.

use candle::Tensor;

use super::{Named, System, constant_decay, convert};
use crate::batch_norm::BatchNorm;
use crate::config::StoredVariance;
use crate::error::{Error, Result};
use crate::tensors::{values, write};

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
/// [`Error::Value`] for values per channel of 1 or less, a mean that is not finite, or a variance that is not
/// or is negative. Errors name the layer.
pub fn import(
    bn: &BatchNorm,
    system: System,
    tensors: &Named,
    options: &Import,
) -> Result<Imported> {
    read(bn, system, tensors, options)
        .map_err(|error| error.at(format!("import into {}", bn.name())))
}

fn read(bn: &BatchNorm, system: System, tensors: &Named, options: &Import) -> Result<Imported> {
    let names = system.names();
    let mut source = Source { bn, system, tensors, prefix: &options.prefix, used: Vec::new() };
    let mean = source.per_channel(names.mean)?;
    let stored = source.per_channel(names.variance)?;
    let mut affine = Vec::new();
    for (name, var) in [(names.gamma, &bn.gamma), (names.beta, &bn.beta)] {
        if let Some(var) = var {
            affine.push((var, source.per_channel(name)?));
        }
    }
    let kind = options.stored_variance.unwrap_or(system.stored_variance());
    let own = bn.config.stored_variance;
    let (variance, kind) = convert(stored, kind, own, options.values_per_channel)?;
    let More { steps, state } = source.more()?;
    bn.set_statistics(&mean, &variance, &state, steps)?;
    for (var, value) in affine {
        write(var, &value)?;
    }
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
    fn optional(&mut self, name: &str, elements: usize) -> Result<Option<Vec<f64>>> {
        let full = self.system.full_name(self.prefix, name);
        let Some(t) = self.tensors.get(&full) else {
            return Ok(None);
        };
        if t.elem_count() != elements {
            return Err(Error::shape("import", &full, format!("{elements} elements"), t.dims()));
        }
        let found = finite(&full, t)?;
        self.used.push(full);
        Ok(Some(found))
    }

    fn per_channel(&mut self, name: &str) -> Result<Vec<f64>> {
        let found = self.optional(name, self.bn.channels)?;
        found.ok_or_else(|| Error::Missing {
            op: "import".into(),
            name: self.system.full_name(self.prefix, name),
            present: self.tensors.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    /// Further state: what the layer has a variable for and the system a name.
    fn more(&mut self) -> Result<More> {
        let (bn, channels) = (self.bn, self.bn.channels);
        let known = |name: &str| bn.statistics().iter().any(|(known, _)| known == name);
        let mut steps = None;
        for name in ["num_batches_tracked", "moving_mean/local_step", "mean_ema/counter"] {
            steps = self.optional(name, 1)?.map(|found| found[0]).or(steps);
        }
        let mut state = Vec::new();
        for (name, sum, weight) in [
            ("moving_mean/biased", "moving_mean_biased", "moving_mean_weight"),
            ("mean_ema/hidden", "moving_mean_biased", "moving_mean_weight"),
            ("var_ema/hidden", "moving_variance_biased", "moving_variance_weight"),
        ] {
            let Some(biased) = self.optional(name, channels)? else {
                continue;
            };
            if let (true, Some(decay), Some(steps)) = (known(sum), constant_decay(bn), steps) {
                state.push((sum, biased));
                state.push((weight, vec![1.0 - decay.powf(steps); channels]));
            }
        }
        self.optional("var_ema/counter", 1)?; // the same number as the mean's
        for name in ["renorm_mean", "renorm_stddev", "moving_stddev"] {
            if known(name)
                && let Some(found) = self.optional(name, channels)?
            {
                state.push((name, found));
            }
        }
        for name in ["renorm_mean_weight", "renorm_stddev_weight"] {
            if known(name)
                && let Some(found) = self.one_or_each(name)?
            {
                state.push((name, found));
            }
        }
        Ok(More { steps, state })
    }

    /// TensorFlow keeps one weight for all channels.
    fn one_or_each(&mut self, name: &str) -> Result<Option<Vec<f64>>> {
        let full = self.system.full_name(self.prefix, name);
        let single = self.tensors.get(&full).is_some_and(|t| t.elem_count() == 1);
        let channels = self.bn.channels;
        let found = self.optional(name, if single { 1 } else { channels })?;
        Ok(found.map(|found| if single { vec![found[0]; channels] } else { found }))
    }
}

/// Further state that an import found.
struct More {
    steps: Option<f64>,
    state: Vec<(&'static str, Vec<f64>)>,
}

fn finite(name: &str, t: &Tensor) -> Result<Vec<f64>> {
    let found = values(t)?;
    match found.iter().find(|v| !v.is_finite()) {
        None => Ok(found),
        Some(value) => {
            Err(Error::value("imported tensor", "finite values", format!("{value} in `{name}`")))
        }
    }
}
