//! `[train]`: how long to train, and when to evaluate.

use crate::data::Description;
use crate::keys::{Key, Keys, RunLength, Span, list, number, span, whole, words};
use crate::model::Precision;

/// How long to train, and when to evaluate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrainSettings {
    /// Optimizer steps, at least 1.
    pub steps: u64,
    /// The same, with the steps of an epoch.
    pub length: RunLength,
    /// Examples per step, from 1 to the number of training examples.
    pub batch_size: usize,
    /// Number of equal parts that a batch is computed in, at least 1.
    pub accumulate: usize,
    /// Interval in steps between evaluations, at least 1. The first and the last step are always evaluated.
    pub evaluate_every: u64,
    /// Additional steps to evaluate at, ascending. Steps past the end are ignored.
    pub evaluate_at: Vec<u64>,
    /// What the networks compute in.
    pub precision: Precision,
}

impl TrainSettings {
    /// Examples per forward and backward pass.
    pub fn pass_size(&self) -> usize {
        self.batch_size / self.accumulate
    }

    /// Whether the network is evaluated after `step` steps.
    pub fn evaluates(&self, step: u64) -> bool {
        step.is_multiple_of(self.evaluate_every)
            || step == self.steps
            || self.evaluate_at.binary_search(&step).is_ok()
    }
}

/// Two keys for the same length in different units; setting one overrides the other.
pub(super) const LENGTHS: [&str; 2] = ["train.steps", "train.epochs"];

pub(super) fn read(keys: &mut Keys<'_>, data: Option<Description>) -> Option<TrainSettings> {
    let about = "number of optimizer steps; no default";
    let steps = Key::new("steps", whole(1..=u64::MAX), about).also(&["iterations", "max_steps"]);
    let steps = keys.required_unless("epochs", steps, 300);
    let about = "passes over the training examples, instead of steps; may be fractional";
    let epochs = Key::new("epochs", number().above(0.0), about).also(&["max_epochs"]);
    let epochs = keys.optional(epochs, 20.0);
    let about = "examples per step; an incomplete last batch of an epoch is dropped";
    let batch_size = Key::new("batch_size", whole(1..=u64::MAX), about).also(&["batch"]);
    let batch_size = keys.with_default(batch_size, 60).map(|size| size as usize);
    let about = "equal parts that a batch is computed in; saves memory, but normalization batches are smaller";
    let accumulate = Key::new("accumulate", whole(1..=u64::MAX), about);
    let accumulate = accumulate.also(&["gradient_accumulation_steps", "accumulate_grad_batches"]);
    let accumulate = keys.with_default(accumulate, 1).map(|parts| parts as usize);
    let about = "interval between evaluations; the first and the last step are always evaluated";
    let every = Key::new("evaluate_every", span(1), about).also(&["eval_every", "log_every"]);
    let evaluate_every = keys.with_default(every, Span::Steps(50));
    let about = "additional steps to evaluate at; those past the end are ignored";
    let at = Key::new("evaluate_at", list("steps", whole(0..=u64::MAX)), about);
    let evaluate_at = keys.with_default(at, Vec::new());
    let about = "what networks compute in; weights, statistics and norm parameters stay f32";
    let precision = words(&[
        ("f32", Precision::F32, "32 bits"),
        ("bf16", Precision::Bf16, "bfloat16, summed in f32; for GPUs, slow on a CPU"),
    ]);
    let precision = Key::new("precision", precision, about).also(&["dtype", "amp"]);
    let precision = keys.with_default(precision, Precision::F32);

    let (batch_size, accumulate, mut evaluate_at) = (batch_size?, accumulate?, evaluate_at?);
    if !batch_size.is_multiple_of(accumulate) {
        let message = format!(
            "`train.accumulate` is {accumulate}; expected a divisor of train.batch_size, which is {batch_size}"
        );
        keys.refuse("accumulate", message);
        return None;
    }
    if let Some(data) = data.filter(|data| batch_size > data.train) {
        let message = format!(
            "`train.batch_size` is {batch_size}; expected at most {}, the number of training examples",
            data.train
        );
        keys.refuse("batch_size", message);
        return None;
    }
    let per_epoch = data.map_or(1, |data| (data.train / batch_size) as u64);
    let mut length = RunLength { per_epoch, ..RunLength::UNKNOWN };
    length.steps = match (steps?, epochs?) {
        (Some(steps), _) => steps,
        (None, epochs) => data.and(epochs.map(|epochs| Span::Epochs(epochs).steps(length)))?,
    };
    evaluate_at.sort_unstable();
    Some(TrainSettings {
        steps: length.steps,
        length,
        batch_size,
        accumulate,
        evaluate_every: evaluate_every?.steps(length),
        evaluate_at,
        precision: precision?,
    })
}
