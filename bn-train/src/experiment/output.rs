//! `[layers]`, `[checkpoint]` and `[tensorboard]`: what a run writes beside its rows. None of it changes a number.

use crate::keys::{Key, Keys, flag, span, whole};

/// What a run writes beside its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutputSettings {
    /// Steps between two that `layers.csv` has rows of; none for no such file.
    pub layers_every: Option<u64>,
    /// Steps between two checkpoints, at least 1. The last step always has one.
    pub checkpoint_every: u64,
    /// Checkpoints that are kept, apart from the best; at least 1.
    pub checkpoint_keep: usize,
    /// Whether the rows are written for TensorBoard too.
    pub tensorboard: bool,
}

pub(super) fn read(keys: &mut Keys<'_>) -> Option<OutputSettings> {
    let about = "from one step that layers.csv has rows of to the next; 0 for no such file";
    let layers_every = Key::new("every", span(0), about).watches();
    let layers_every = keys.table("layers").steps(layers_every, 50);
    let mut table = keys.table("checkpoint");
    let about = "from one checkpoint to the next; the last step always has one";
    let every = Key::new("every", span(1), about).also(&["save_every"]).watches();
    let every = table.steps(every, 1000);
    let about = "checkpoints that are kept, apart from the best one";
    let keep = Key::new("keep", whole(1..=1_000_000), about).also(&["keep_last", "max_to_keep"]);
    let keep = table.with_default(keep.watches(), 2);
    let about = "write the rows as TensorBoard's event files too";
    let write = Key::new("write", flag(), about).also(&["enabled"]).watches();
    let tensorboard = keys.table("tensorboard").with_default(write, false);
    Some(OutputSettings {
        layers_every: layers_every.map(|every| (every > 0).then_some(every))?,
        checkpoint_every: every?,
        checkpoint_keep: keep? as usize,
        tensorboard: tensorboard?,
    })
}
