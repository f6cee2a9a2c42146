//! How good a network is on a split: one pass over the whole split as one batch, nothing committed.

use crate::model::{Mode, Model};
use candle::{Result, Tensor};

/// What one pass measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Score {
    /// Mean cross-entropy in nats; may be infinite or not a number.
    pub(super) loss: f64,
    /// Share of examples whose own class scored highest.
    pub(super) accuracy: f64,
}

/// Scores `model` on examples that it does not learn from.
pub(super) fn evaluate(
    model: &Model,
    images: &Tensor,
    labels: &Tensor,
    mode: Mode,
) -> Result<Score> {
    let scores = model.forward(images, mode)?.detach();
    let loss = candle_nn::loss::cross_entropy(&scores, labels)?;
    Ok(Score {
        loss: f64::from(loss.to_scalar::<f32>()?),
        accuracy: accuracy(&scores, labels)?,
    })
}

/// Share of rows whose highest score is that of their label. Scores that are not numbers are never right.
pub(super) fn accuracy(scores: &Tensor, labels: &Tensor) -> Result<f64> {
    let (rows, classes) = scores.dims2()?;
    let scores = scores.flatten_all()?.to_vec1::<f32>()?;
    let labels = labels.to_vec1::<u32>()?;
    let is_right = |(row, label): (&[f32], &u32)| {
        let own = row[*label as usize];
        row.iter()
            .enumerate()
            .all(|(class, &score)| class == *label as usize || own > score)
    };
    let right = scores
        .chunks_exact(classes)
        .zip(&labels)
        .filter(|&(row, label)| is_right((row, label)))
        .count();
    Ok(right as f64 / rows as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::Device;

    #[test]
    fn accuracy_counts_rows_whose_label_scores_highest() {
        let scores = [[1.0_f32, 2.0], [3.0, 0.0], [f32::NAN, f32::NAN], [1.0, 1.0]];
        let scores = Tensor::new(&scores, &Device::Cpu).unwrap();
        let labels = Tensor::new(&[1_u32, 1, 0, 0], &Device::Cpu).unwrap();
        assert_eq!(accuracy(&scores, &labels).unwrap(), 0.25);
    }
}
