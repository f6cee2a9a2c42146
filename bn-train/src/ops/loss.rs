//! Softmax and cross-entropy as one operation: the loss, how many examples are right, and the gradient.

use std::mem::MaybeUninit;

use super::buffer::{Numbers, filled, tensor};
use candle::{Result, Tensor};

/// What a batch of scores comes to.
#[derive(Clone, Debug)]
pub struct Loss {
    /// Mean cross-entropy in nats; may be infinite or not a number.
    pub mean: f64,
    /// Share of examples whose own class scored highest.
    pub accuracy: f64,
    /// Of the scores.
    pub gradient: Tensor,
}

/// Mean over rows of `log Σ exp(score) − score of the label`, for f32 scores `[N, classes]` on the CPU and labels `[N]`.
///
/// # Errors
/// For tensors of other types or shapes, and a label that is no class.
pub fn softmax_cross_entropy(scores: &Tensor, labels: &Tensor) -> Result<Loss> {
    let (rows, classes) = scores.dims2()?;
    let labels = labels.to_vec1::<u32>()?;
    if labels.len() != rows || labels.iter().any(|&label| label as usize >= classes) {
        candle::bail!("softmax_cross_entropy: expected {rows} labels below {classes}");
    }
    let numbers = Numbers::of(scores)?;
    let (mut sum, mut right) = (0.0, 0);
    let fill = |gradient: &mut [MaybeUninit<f32>]| {
        let each = numbers.chunks_exact(classes).zip(&labels);
        for ((row, &label), gradient) in each.zip(gradient.chunks_exact_mut(classes)) {
            let own = row[label as usize];
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let total: f32 = row.iter().map(|score| (score - largest).exp()).sum();
            sum += f64::from(total.ln() - (own - largest));
            // A score that is not a number is never right.
            let others = row.iter().enumerate().filter(|(class, _)| *class != label as usize);
            right += usize::from(others.fold(true, |best, (_, score)| best && own > *score));
            for (class, (slot, score)) in gradient.iter_mut().zip(row).enumerate() {
                let target = if class == label as usize { 1.0 } else { 0.0 };
                slot.write(((score - largest).exp() / total - target) / rows as f32);
            }
        }
    };
    // SAFETY: there are as many rows of scores, and as many labels, as rows of the gradient.
    #[allow(unsafe_code)] // see `filled`
    let gradient = unsafe { filled(rows * classes, fill) };
    Ok(Loss {
        mean: sum / rows as f64,
        accuracy: right as f64 / rows as f64,
        gradient: tensor(gradient, (rows, classes))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::{Device, Var};

    #[test]
    fn equals_candles() {
        let scores = [[1.0_f32, 2.0, -3.0], [30.0, 0.5, 0.25], [0.0, 0.0, 0.0], [-1e4, 1e4, 3.0]];
        let scores = Var::new(&scores, &Device::Cpu).unwrap();
        let labels = Tensor::new(&[1_u32, 2, 0, 1], &Device::Cpu).unwrap();
        let loss = softmax_cross_entropy(&scores, &labels).unwrap();
        let theirs = candle_nn::loss::cross_entropy(&scores, &labels).unwrap();
        let want = f64::from(theirs.to_scalar::<f32>().unwrap());
        assert!((loss.mean - want).abs() < 1e-6 * want, "{} {want}", loss.mean);
        assert_eq!(loss.accuracy, 0.5);
        let want = theirs.backward().unwrap().get(&scores).unwrap().clone();
        let difference = (want - loss.gradient).unwrap().abs().unwrap();
        let largest = difference.flatten_all().unwrap().max(0).unwrap();
        assert!(largest.to_scalar::<f32>().unwrap() < 1e-7);
    }

    #[test]
    fn what_is_not_finite_shows() {
        let labels = Tensor::new(&[0_u32], &Device::Cpu).unwrap();
        for scores in
            [[f32::NAN, 1.0], [1.0, f32::NAN], [f32::INFINITY, 1.0], [f32::NEG_INFINITY, 1.0]]
        {
            let is_right = scores[0] > scores[1];
            let scores = Tensor::new(&[scores], &Device::Cpu).unwrap();
            let loss = softmax_cross_entropy(&scores, &labels).unwrap();
            assert!(!loss.mean.is_finite());
            assert_eq!(loss.accuracy, f64::from(u8::from(is_right)));
        }
        let scores = Tensor::new(&[[1.0_f32, 2.0]], &Device::Cpu).unwrap();
        let wrong = Tensor::new(&[2_u32], &Device::Cpu).unwrap();
        assert!(softmax_cross_entropy(&scores, &wrong).is_err());
    }
}
