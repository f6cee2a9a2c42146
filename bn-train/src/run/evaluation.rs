//! How good a network is on a split: one pass over the whole split as one batch, nothing committed.

use crate::model::{Mode, Model, accuracy};
use candle::{Result, Tensor};

/// What one pass measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Mean cross-entropy in nats; may be infinite or not a number.
    pub loss: f64,
    /// Share of examples whose own class scored highest.
    pub accuracy: f64,
}

/// Scores `model` on examples that it does not learn from.
pub(super) fn evaluate(
    model: &Model,
    images: &Tensor,
    labels: &Tensor,
    mode: Mode<'_>,
) -> Result<Score> {
    let scores = model.evaluate(images, mode)?;
    let loss = candle_nn::loss::cross_entropy(&scores, labels)?;
    Ok(Score { loss: f64::from(loss.to_scalar::<f32>()?), accuracy: accuracy(&scores, labels)? })
}
