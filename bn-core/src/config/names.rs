//! [`Names`]: the systems whose checkpoints are known, and how they name a layer's variables.

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use super::{BatchNormConfig, StoredVariance};

/// A system, and the names that it gives a layer's variables.
///
/// A layer with [`BatchNormConfig::names`] reads and writes a checkpoint in these names through its
/// `VarBuilder`, so a PyTorch model's safetensors file loads without an import per layer. `p` is the builder's
/// prefix. If a checkpoint has the name with `/` in place of `.`, that one is read.
///
/// | names | gamma, beta | statistics | counter |
/// |---|---|---|---|
/// | `Own` | `p.gamma`, `p.beta` | `p.moving_mean`, `p.moving_variance` | `p.updates` |
/// | `Torch` | `p.weight`, `p.bias` | `p.running_mean`, `p.running_var` | `p.num_batches_tracked` |
/// | `Candle` | `p.weight`, `p.bias` | `p.running_mean`, `p.running_var` | `p.updates` |
/// | `TfSlim`, `TfLayers`, `Keras` | `p.gamma`, `p.beta` | `p.moving_mean`, `p.moving_variance` | `p.updates` |
/// | `Flax` | `params.p.scale`, `params.p.bias` | `batch_stats.p.mean`, `batch_stats.p.var` | `batch_stats.p.updates` |
/// | `Haiku` | `p.scale`, `p.offset` | `p/~/mean_ema.average`, `p/~/var_ema.average` | `p/~/mean_ema.counter` |
///
/// State that those systems do not have (zero-debias, renorm) keeps our names. Without it in a
/// checkpoint, it starts from the moving statistics there, taken as fully gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(rename_all = "snake_case"))]
pub enum Names {
    /// This crate's.
    #[default]
    Own,
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
    /// `flax.linen.BatchNorm`, `flax.nnx.BatchNorm`: two trees, flattened.
    Flax,
    /// `haiku.BatchNorm`: the module's parameters, and its averages as modules below it.
    Haiku,
}

impl Names {
    /// The system's defaults as a configuration, in this crate's names.
    pub fn config(self) -> BatchNormConfig {
        match self {
            Names::Own => BatchNormConfig::default(),
            Names::Torch => BatchNormConfig::torch(),
            Names::Candle => BatchNormConfig::candle(),
            Names::TfSlim => BatchNormConfig::tf_slim(),
            Names::TfLayers => BatchNormConfig::tf_layers(),
            Names::Keras => BatchNormConfig::keras(),
            Names::Flax => BatchNormConfig::flax(),
            Names::Haiku => BatchNormConfig::haiku(),
        }
    }

    /// Our decay from the number that the system calls momentum (or decay): `1 − momentum` for PyTorch and
    /// candle, the number itself elsewhere.
    pub fn decay(self, momentum: f64) -> f64 {
        if self.weighs_the_new() { 1.0 - momentum } else { momentum }
    }

    /// The number that the system calls momentum (or decay) from our decay; the inverse of [`Names::decay`].
    pub fn momentum(self, decay: f64) -> f64 {
        self.decay(decay)
    }

    /// The kind of variance that the system's moving variance holds. (TensorFlow's fused path stores the
    /// unbiased one: say so in [`Import::stored_variance`](crate::interchange::Import::stored_variance).)
    pub fn stored_variance(self) -> StoredVariance {
        self.config().stored_variance
    }

    /// PyTorch and candle, which share names and conventions.
    fn weighs_the_new(self) -> bool {
        matches!(self, Names::Torch | Names::Candle)
    }

    /// The system's name of a variable of ours: tree, module below the layer's, and name.
    fn place(self, own: &str) -> [&str; 3] {
        match (self, own) {
            (Names::Torch | Names::Candle, "gamma") => ["", "", "weight"],
            (Names::Torch | Names::Candle, "beta") => ["", "", "bias"],
            (Names::Torch | Names::Candle, "moving_mean") => ["", "", "running_mean"],
            (Names::Torch | Names::Candle, "moving_variance") => ["", "", "running_var"],
            (Names::Torch, "updates") => ["", "", "num_batches_tracked"],
            (Names::Flax, "gamma") => ["params", "", "scale"],
            (Names::Flax, "beta") => ["params", "", "bias"],
            (Names::Flax, "moving_mean") => ["batch_stats", "", "mean"],
            (Names::Flax, "moving_variance") => ["batch_stats", "", "var"],
            (Names::Flax, own) => ["batch_stats", "", own],
            (Names::Haiku, "gamma") => ["", "", "scale"],
            (Names::Haiku, "beta") => ["", "", "offset"],
            (Names::Haiku, "moving_mean") => ["", "mean_ema", "average"],
            (Names::Haiku, "moving_variance") => ["", "var_ema", "average"],
            (Names::Haiku, "updates") => ["", "mean_ema", "counter"],
            (_, own) => ["", "", own],
        }
    }

    /// The full names that a variable of ours may have under `prefix`; the first one is written.
    pub(crate) fn candidates(self, prefix: &str, own: &str) -> Vec<String> {
        let [tree, below, name] = self.place(own);
        let tilde = if below.is_empty() { "" } else { "~" };
        let dotted = joined(&[tree, &joined(&[prefix, tilde, below], "/"), name], ".");
        let slashed = dotted.replace('.', "/");
        if slashed == dotted { vec![dotted] } else { vec![dotted, slashed] }
    }

    /// The name of a variable of ours among one layer's tensors, without tree.
    pub(crate) fn below(self, prefix: &str, own: &str) -> String {
        let [_, below, name] = self.place(own);
        let separator = if self.weighs_the_new() { "." } else { "/" };
        joined(&[prefix, below, name], separator)
    }

    /// The counter's element type and rank where it is not `[1]` in f64.
    pub(crate) fn counts_in_i64(self) -> bool {
        matches!(self, Names::Torch | Names::Haiku)
    }
}

/// The parts that are not empty.
fn joined(parts: &[&str], separator: &str) -> String {
    let parts = parts.iter().filter(|part| !part.is_empty());
    parts.copied().collect::<Vec<_>>().join(separator)
}
