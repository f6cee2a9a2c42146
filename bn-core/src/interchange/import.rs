//! Import of another system's parameters: all are read and checked before the layer changes.

use super::{Named, constant_decay, convert};
use crate::batch_norm::BatchNorm;
use crate::config::{Names, StoredVariance};
use crate::error::{Error, Result};
use crate::tensors::{values, write};

/// How to read another system's parameters.
#[derive(Clone, Debug, Default)]
pub struct Import {
    /// The part of each name before the last separator.
    pub prefix: String,
    /// The kind of variance in the file. Default: the system's ([`Names::stored_variance`]).
    pub stored_variance: Option<StoredVariance>,
    /// Values per channel (`N·H·W`) of the batches behind the stored variance, to convert it to the layer's kind.
    pub values_per_channel: Option<f64>,
}

/// The result of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The names that were read, in order.
    pub used: Vec<String>,
    /// The names under the prefix that were ignored, in order.
    pub unused: Vec<String>,
    /// The kind of variance that the layer now holds. It differs from the configured kind if the variance had to
    /// be converted but the number of values was not given.
    pub variance: StoredVariance,
}

/// Sets the layer's parameters and statistics from a system's named tensors.
///
/// Tensors may have any shape of `C` elements (Haiku and TensorFlow keep axes of size 1). All are read and
/// checked before the first variable changes. Missing debias and renorm state is set from the moving
/// statistics, with all weight gathered.
/// # Errors
/// [`Missing`](crate::ErrorKind::Missing), with the names that exist; [`Shape`](crate::ErrorKind::Shape) for another number of elements;
/// [`Value`](crate::ErrorKind::Value) for values per channel of 1 or less, a non-finite value or a negative variance. Errors name
/// the layer.
pub fn import(
    bn: &BatchNorm,
    system: Names,
    tensors: &Named,
    options: &Import,
) -> Result<Imported> {
    let prefix = &options.prefix;
    let source = Source { bn, system, tensors, prefix, used: Vec::new() };
    source
        .import(options.stored_variance, options.values_per_channel)
        .map_err(|error| error.at(format!("import into {}", bn.name())))
}

/// Statistics by our names.
type Columns = Vec<(String, Vec<f64>)>;

/// Named tensors being read.
struct Source<'a> {
    bn: &'a BatchNorm,
    system: Names,
    tensors: &'a Named,
    prefix: &'a str,
    used: Vec<String>,
}

impl Source<'_> {
    fn import(mut self, kind: Option<StoredVariance>, values: Option<f64>) -> Result<Imported> {
        let mean = self.per_channel("moving_mean")?;
        let stored = self.per_channel("moving_variance")?;
        let mut affine = Vec::new();
        for (name, var) in self.bn.affine_variables() {
            affine.push((var, self.per_channel(&name)?));
        }
        let own = self.bn.config().stored_variance;
        let of_system = if self.system == Names::Own { own } else { self.system.stored_variance() };
        let (variance, kind) = convert(stored, kind.unwrap_or(of_system), own, values)?;
        let (updates, state) = self.more()?;
        self.bn.set_statistics(&mean, &variance, &state, updates)?;
        for (var, value) in affine {
            write(&var, &value)?;
        }
        let under = |name: &str| {
            let rest = name.strip_prefix(self.prefix);
            self.prefix.is_empty() || rest.is_some_and(|rest| rest.starts_with(['.', '/']))
        };
        let left = |name: &&String| under(name) && !self.used.contains(*name);
        let unused = self.tensors.keys().filter(left).cloned().collect();
        Ok(Imported { unused, used: self.used, variance: kind })
    }

    /// One value, or one for each channel.
    fn optional(&mut self, name: &str, elements: &[usize]) -> Result<Option<Vec<f64>>> {
        let full = self.system.below(self.prefix, name);
        let Some(t) = self.tensors.get(&full) else {
            return Ok(None);
        };
        if !elements.contains(&t.elem_count()) {
            let expected = format!(
                "{} elements",
                elements.iter().map(usize::to_string).collect::<Vec<_>>().join(" or ")
            );
            return Err(Error::shape("import", &full, expected, t.dims()));
        }
        let found = values(t)?;
        if let Some(value) = found.iter().find(|v| !v.is_finite()) {
            let got = format!("{value} in `{full}`");
            return Err(Error::value("imported tensor", "finite values", got));
        }
        self.used.push(full);
        Ok(Some(found))
    }

    fn per_channel(&mut self, name: &str) -> Result<Vec<f64>> {
        let found = self.optional(name, &[self.bn.channels()])?;
        found.ok_or_else(|| {
            Error::missing("import", self.system.below(self.prefix, name), self.tensors)
        })
    }

    /// The count of updates, and what else the layer has a variable for and the system a name.
    fn more(&mut self) -> Result<(Option<f64>, Columns)> {
        let (bn, channels) = (self.bn, self.bn.channels());
        let mut updates = None;
        for name in ["updates", "moving_mean/local_step"] {
            updates = self.optional(name, &[1])?.map(|found| found[0]).or(updates);
        }
        self.optional("var_ema/counter", &[1])?; // the same number as the mean's
        let known: Vec<String> = bn.statistics().into_iter().map(|(name, _)| name).collect();
        let mut state = Vec::new();
        for (name, own) in [
            ("moving_mean/biased", "moving_mean"),
            ("mean_ema/hidden", "moving_mean"),
            ("var_ema/hidden", "moving_variance"),
        ] {
            let (sum, weight) = (format!("{own}_biased"), format!("{own}_weight"));
            let sums = self.optional(name, &[channels])?.filter(|_| known.contains(&sum));
            if let (Some(sums), Some(decay), Some(updates)) = (sums, constant_decay(bn), updates) {
                state.push((sum, sums));
                state.push((weight, vec![1.0 - decay.powf(updates); channels]));
            }
        }
        for name in known {
            if ["moving_mean", "moving_variance", "updates"].contains(&name.as_str()) {
                continue;
            }
            // TensorFlow keeps one weight for all channels.
            let elements = if name.ends_with("_weight") { [1, channels] } else { [channels; 2] };
            if let Some(found) = self.optional(&name, &elements)? {
                let all = if found.len() == 1 { vec![found[0]; channels] } else { found };
                state.push((name, all));
            }
        }
        Ok((updates, state))
    }
}
