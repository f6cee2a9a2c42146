//! Another system's parameters into a layer: everything is read and checked before anything changes.

use candle::{DType, Tensor, Var};

use super::{Named, System, committed, constant_decay, convert};
use crate::batch_norm::BatchNorm;
use crate::config::StoredVariance;
use crate::error::{Error, Result};
use crate::moments::Moments;
use crate::moving_average::assign;
use crate::renorm::RenormVariant;

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
    let (variance, kind) =
        convert(&stored, kind, bn.config.stored_variance, options.values_per_channel)?;
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
            return Err(Error::shape("import", &full, format!("{elements} elements"), t.dims()));
        }
        self.used.push(full);
        Ok(Some(t.to_device(&self.bn.device)?.to_dtype(DType::F64)?.reshape(elements)?))
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
        let counters = ["num_batches_tracked", "moving_mean/local_step", "mean_ema/counter"];
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
        let mut pairs = vec![("renorm_mean", &renorm.mean), ("renorm_stddev", &renorm.stddev)];
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
        Ok(found.map(|t| t.broadcast_as(self.bn.channels)?.contiguous()).transpose()?)
    }
}
