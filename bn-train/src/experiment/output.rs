//! `[layers]`, `[checkpoint]` and `[tensorboard]`: optional outputs of a run. They do not affect its metrics.

use crate::keys::{Key, Keys, flag, span, whole};

/// Outputs of a run besides `metrics.csv` and `timing.csv`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutputSettings {
    /// Interval in steps between rows of `layers.csv`; `None` writes no such file.
    pub layers_every: Option<u64>,
    /// Interval in steps between checkpoints, at least 1. The last step always has one.
    pub checkpoint_every: u64,
    /// Number of recent checkpoints to keep besides the best, at least 1.
    pub checkpoint_keep: usize,
    /// Whether the metrics are also written for TensorBoard.
    pub tensorboard: bool,
}

pub(super) fn read(keys: &mut Keys<'_>) -> Option<OutputSettings> {
    let about = "interval between rows of layers.csv; 0 writes no such file";
    let layers_every = Key::new("every", span(0), about).watches();
    let layers_every = keys.table("layers").steps(layers_every, 50);
    let mut table = keys.table("checkpoint");
    let about = "interval between checkpoints; the last step always has one";
    let every = Key::new("every", span(1), about).also(&["save_every"]).watches();
    let every = table.steps(every, 1000);
    let about = "recent checkpoints to keep, besides the best one";
    let keep = Key::new("keep", whole(1..=1_000_000), about).also(&["keep_last", "max_to_keep"]);
    let keep = table.with_default(keep.watches(), 2);
    let about = "also write the metrics as a TensorBoard event file";
    let write = Key::new("write", flag(), about).also(&["enabled"]).watches();
    let tensorboard = keys.table("tensorboard").with_default(write, false);
    Some(OutputSettings {
        layers_every: layers_every.map(|every| (every > 0).then_some(every))?,
        checkpoint_every: every?,
        checkpoint_keep: keep? as usize,
        tensorboard: tensorboard?,
    })
}
