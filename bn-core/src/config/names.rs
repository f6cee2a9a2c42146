//! [`Names`]: under which names a layer keeps its variables in a checkpoint.

/// The names of a layer's variables, as another system writes them.
///
/// A layer reads and writes a checkpoint in these names through its `VarBuilder`, so a PyTorch model's
/// safetensors file loads without an import per layer. `p` is the builder's prefix; where a checkpoint has
/// the name with `/` in the place of `.`, that one is read.
///
/// | names | gamma, beta | statistics | counter |
/// |---|---|---|---|
/// | `Own` | `p.gamma`, `p.beta` | `p.moving_mean`, `p.moving_variance` | `p.updates` |
/// | `Torch` | `p.weight`, `p.bias` | `p.running_mean`, `p.running_var` | `p.num_batches_tracked` |
/// | `Candle` | `p.weight`, `p.bias` | `p.running_mean`, `p.running_var` | `p.updates` |
/// | `TfSlim`, `Keras` | `p.gamma`, `p.beta` | `p.moving_mean`, `p.moving_variance` | `p.updates` |
/// | `Flax` | `params.p.scale`, `params.p.bias` | `batch_stats.p.mean`, `batch_stats.p.var` | `batch_stats.p.updates` |
/// | `Haiku` | `p.scale`, `p.offset` | `p/~/mean_ema.average`, `p/~/var_ema.average` | `p/~/mean_ema.counter` |
///
/// State that those systems do not have (zero-debias, renorm) keeps our names. Without it in a
/// checkpoint, it starts from the moving statistics there, taken as fully gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
pub enum Names {
    /// This crate's.
    #[default]
    Own,
    /// `torch.nn.BatchNorm1d/2d/3d`.
    Torch,
    /// `candle_nn::BatchNorm`.
    Candle,
    /// `tf.contrib.layers.batch_norm`, `tf.layers`.
    TfSlim,
    /// Keras 3 and `tf.keras`.
    Keras,
    /// `flax.linen.BatchNorm`: two trees, flattened.
    Flax,
    /// `haiku.BatchNorm`: the module's parameters, and its averages as modules below it.
    Haiku,
}

impl Names {
    /// The full names that a variable of ours may have under `prefix`; the first one is written.
    pub(crate) fn candidates(self, prefix: &str, own: &str) -> Vec<String> {
        let (tree, below, name) = match (self, own) {
            (Names::Torch | Names::Candle, "gamma") => ("", "", "weight"),
            (Names::Torch | Names::Candle, "beta") => ("", "", "bias"),
            (Names::Torch | Names::Candle, "moving_mean") => ("", "", "running_mean"),
            (Names::Torch | Names::Candle, "moving_variance") => ("", "", "running_var"),
            (Names::Torch, "updates") => ("", "", "num_batches_tracked"),
            (Names::Flax, "gamma") => ("params", "", "scale"),
            (Names::Flax, "beta") => ("params", "", "bias"),
            (Names::Flax, "moving_mean") => ("batch_stats", "", "mean"),
            (Names::Flax, "moving_variance") => ("batch_stats", "", "var"),
            (Names::Flax, own) => ("batch_stats", "", own),
            (Names::Haiku, "gamma") => ("", "", "scale"),
            (Names::Haiku, "beta") => ("", "", "offset"),
            (Names::Haiku, "moving_mean") => ("", "~/mean_ema", "average"),
            (Names::Haiku, "moving_variance") => ("", "~/var_ema", "average"),
            (Names::Haiku, "updates") => ("", "~/mean_ema", "counter"),
            (_, own) => ("", "", own),
        };
        let module = [prefix, below].map(str::to_owned).into_iter().filter(|s| !s.is_empty());
        let module = module.collect::<Vec<_>>().join("/");
        let path = [tree, &module, name].into_iter().filter(|s| !s.is_empty());
        let dotted = path.collect::<Vec<_>>().join(".");
        let slashed = dotted.replace('.', "/");
        if slashed == dotted { vec![dotted] } else { vec![dotted, slashed] }
    }

    /// The counter's element type and rank where it is not `[1]` in f64.
    pub(crate) fn counts_in_i64(self) -> bool {
        matches!(self, Names::Torch | Names::Haiku)
    }
}
