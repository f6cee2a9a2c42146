//! Classification losses, computed together with the accuracy and the gradient: by kernels on the CPU, by one launch on an NVIDIA
//! GPU (`gpu.rs`, `loss.cu`), and by tensor operations (`tensors.rs`) elsewhere.
//!
//! In the kernels, rows are computed in parallel. Sums over rows run in row order, so they do not depend on the number of
//! threads.

#[cfg(feature = "cuda")]
mod gpu;
mod tensors;

use super::buffer::{Numbers, filled, tensor};
use super::parallel;
use candle::{Result, Tensor};
use std::mem::MaybeUninit;

/// A loss of one example's scores and label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossFunction {
    /// `log Σ exp(score) − score of the label`, in nats.
    CrossEntropy,
    /// Mean over classes of `(score − target)²`, with target 1 for the label's class and 0 for the others.
    SquaredError,
}

/// The loss of a batch.
#[derive(Clone, Debug)]
pub struct Loss {
    /// Mean over the examples; may be infinite or NaN.
    pub mean: f64,
    /// Unweighted share of examples whose class has the highest score.
    pub accuracy: f64,
    /// Gradient of the mean by the scores.
    pub gradient: Tensor,
}

/// The loss of one example.
#[derive(Clone, Copy)]
struct Row {
    loss: f64,
    is_right: bool,
    /// The highest score, and below it the sum of `exp(score - highest)`, for the gradient of the cross-entropy.
    highest: f32,
    total: f32,
}

const EMPTY: Row = Row { loss: 0.0, is_right: false, highest: 0.0, total: 0.0 };

/// Up to this many scores, a single thread is faster.
const SMALL: usize = 1 << 12;

impl LossFunction {
    /// The loss of f32 scores `[N, classes]` on the CPU with labels `[N]`: the mean over the examples, or their mean weighted
    /// by non-negative `weights` `[N]`.
    ///
    /// # Errors
    /// Wrong types or shapes, a label outside `0..classes`, or weights whose sum is not positive.
    pub fn loss(self, scores: &Tensor, labels: &Tensor, weights: Option<&Tensor>) -> Result<Loss> {
        let (rows, classes) = scores.dims2()?;
        let labels = labels.to_vec1::<u32>()?;
        if labels.len() != rows || labels.iter().any(|&label| label as usize >= classes) {
            candle::bail!("loss: expected {rows} labels below {classes}");
        }
        let divisors = divisors(weights, rows)?;
        let numbers = Numbers::of(scores)?;
        let per_task = SMALL.div_ceil(classes);
        let mut found = vec![EMPTY; rows];
        parallel::chunks(&mut found, per_task, |task, found| {
            for (index, found) in found.iter_mut().enumerate() {
                let row = task * per_task + index;
                *found = self.row(&numbers[row * classes..][..classes], labels[row] as usize);
            }
        });
        let fill = |gradient: &mut [MaybeUninit<f32>]| {
            parallel::chunks(gradient, per_task * classes, |task, gradient| {
                for (index, slots) in gradient.chunks_exact_mut(classes).enumerate() {
                    let row = task * per_task + index;
                    let divisor = divisors.as_ref().map_or(rows as f32, |all| all[row] as f32);
                    let scores = &numbers[row * classes..][..classes];
                    self.gradient(scores, labels[row] as usize, found[row], divisor, slots);
                }
            });
        };
        // SAFETY: the chunks cover all rows, and scores and labels have as many rows.
        #[allow(unsafe_code)] // see `filled`
        let gradient = unsafe { filled(rows * classes, fill) };
        let mean = match &divisors {
            None => found.iter().map(|row| row.loss).sum::<f64>() / rows as f64,
            Some(divisors) => {
                found.iter().zip(divisors).map(|(row, divisor)| row.loss / divisor).sum()
            }
        };
        let right = found.iter().filter(|row| row.is_right).count();
        Ok(Loss {
            mean,
            accuracy: right as f64 / rows as f64,
            gradient: tensor(gradient, (rows, classes))?,
        })
    }

    fn row(self, scores: &[f32], label: usize) -> Row {
        let own = scores[label];
        // With NaN scores, the comparison is false, so the example counts as wrong.
        let others = scores.iter().enumerate().filter(|(class, _)| *class != label);
        let is_right = others.fold(true, |best, (_, score)| best && own > *score);
        match self {
            Self::CrossEntropy => {
                let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let total: f32 = scores.iter().map(|score| (score - highest).exp()).sum();
                let loss = f64::from(total.ln() - (own - highest));
                Row { loss, is_right, highest, total }
            }
            Self::SquaredError => {
                let square = |(class, &score): (usize, &f32)| {
                    (f64::from(score) - target(class, label)).powi(2)
                };
                let sum: f64 = scores.iter().enumerate().map(square).sum();
                Row { loss: sum / scores.len() as f64, is_right, ..EMPTY }
            }
        }
    }

    /// The gradient of the mean by one example's scores: the gradient of its loss divided by `divisor`.
    fn gradient(
        self,
        scores: &[f32],
        label: usize,
        row: Row,
        divisor: f32,
        slots: &mut [MaybeUninit<f32>],
    ) {
        let each = slots.iter_mut().zip(scores).enumerate();
        match self {
            Self::CrossEntropy => {
                for (class, (slot, score)) in each {
                    let probability = (score - row.highest).exp() / row.total;
                    slot.write((probability - target(class, label) as f32) / divisor);
                }
            }
            Self::SquaredError => {
                let divisor = divisor * scores.len() as f32 / 2.0;
                for (class, (slot, score)) in each {
                    slot.write((score - target(class, label) as f32) / divisor);
                }
            }
        }
    }
}

fn target(class: usize, label: usize) -> f64 {
    if class == label { 1.0 } else { 0.0 }
}

/// The divisor of each example's loss in the weighted mean: the sum of weights divided by its weight.
fn divisors(weights: Option<&Tensor>, rows: usize) -> Result<Option<Vec<f64>>> {
    let Some(weights) = weights else {
        return Ok(None);
    };
    let weights = weights.to_vec1::<f32>()?;
    let sum: f64 = weights.iter().copied().map(f64::from).sum();
    if weights.len() != rows || sum.is_nan() || sum <= 0.0 {
        candle::bail!("loss: expected {rows} weights with a sum above 0, got a sum of {sum}");
    }
    // A weight of 0 gives an infinite divisor, which excludes the example.
    Ok(Some(weights.iter().map(|&weight| sum / f64::from(weight)).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::parallel::on_threads;
    use candle::{Device, Var};

    fn example() -> (Var, Tensor) {
        let scores = [[1.0_f32, 2.0, -3.0], [30.0, 0.5, 0.25], [0.0, 0.0, 0.0], [-1e4, 1e4, 3.0]];
        let labels = Tensor::new(&[1_u32, 2, 0, 1], &Device::Cpu).unwrap();
        (Var::new(&scores, &Device::Cpu).unwrap(), labels)
    }

    /// Checks loss and gradient against candle's graph.
    fn check(loss: &Loss, theirs: &Tensor, scores: &Var) {
        let want = f64::from(theirs.to_scalar::<f32>().unwrap());
        assert!((loss.mean - want).abs() < 1e-6 * want, "{} {want}", loss.mean);
        let want = theirs.backward().unwrap().get(scores).unwrap().clone();
        let difference = (&want - &loss.gradient).unwrap().abs().unwrap();
        let largest = difference.flatten_all().unwrap().max(0).unwrap();
        let scale = want.abs().unwrap().flatten_all().unwrap().max(0).unwrap();
        let scale = scale.to_scalar::<f32>().unwrap();
        assert!(largest.to_scalar::<f32>().unwrap() < 1e-6 * scale);
    }

    #[test]
    fn cross_entropy_equals_candles() {
        let (scores, labels) = example();
        let loss = LossFunction::CrossEntropy.loss(&scores, &labels, None).unwrap();
        assert_eq!(loss.accuracy, 0.5);
        check(&loss, &candle_nn::loss::cross_entropy(&scores, &labels).unwrap(), &scores);
    }

    #[test]
    fn squared_error_equals_candles_of_one_hot_targets() {
        let (scores, labels) = example();
        let targets = candle_nn::encoding::one_hot(labels.clone(), 3, 1_f32, 0_f32).unwrap();
        let loss = LossFunction::SquaredError.loss(&scores, &labels, None).unwrap();
        check(&loss, &candle_nn::loss::mse(&scores, &targets).unwrap(), &scores);
    }

    #[test]
    fn weight_of_two_equals_the_example_twice() {
        let (scores, labels) = example();
        let weights = Tensor::new(&[1_f32, 2.0, 0.0, 1.0], &Device::Cpu).unwrap();
        let twice = Tensor::new(&[0_u32, 1, 1, 3], &Device::Cpu).unwrap();
        let repeated = scores.index_select(&twice, 0).unwrap();
        let repeated_labels = labels.index_select(&twice, 0).unwrap();
        for function in [LossFunction::CrossEntropy, LossFunction::SquaredError] {
            let weighted = function.loss(&scores, &labels, Some(&weights)).unwrap();
            let plain = function.loss(&repeated, &repeated_labels, None).unwrap();
            assert!((weighted.mean - plain.mean).abs() < 1e-6 * plain.mean);
            let ours = weighted.gradient.to_vec2::<f32>().unwrap();
            let theirs = plain.gradient.to_vec2::<f32>().unwrap();
            for class in 0..3 {
                let scale = theirs[1][class].abs().max(1e-6);
                assert!((ours[1][class] - 2.0 * theirs[1][class]).abs() < 1e-5 * scale);
                assert_eq!(ours[2][class], 0.0);
            }
        }
        let none = Tensor::zeros(4, candle::DType::F32, &Device::Cpu).unwrap();
        assert!(LossFunction::CrossEntropy.loss(&scores, &labels, Some(&none)).is_err());
    }

    #[test]
    fn results_are_bitwise_equal_for_any_thread_count() {
        let (rows, classes) = (999, 100);
        let scores: Vec<f32> = (0..rows * classes).map(|i| (i as f32 * 0.37).sin() * 5.0).collect();
        let scores = Tensor::from_vec(scores, (rows, classes), &Device::Cpu).unwrap();
        let labels: Vec<u32> = (0..rows as u32).map(|i| i * 7 % 100).collect();
        let labels = Tensor::new(labels, &Device::Cpu).unwrap();
        for function in [LossFunction::CrossEntropy, LossFunction::SquaredError] {
            let on = |threads| {
                let loss = on_threads(threads, || function.loss(&scores, &labels, None)).unwrap();
                let gradient = loss.gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                let bits: Vec<u32> = gradient.into_iter().map(f32::to_bits).collect();
                (loss.mean.to_bits(), loss.accuracy.to_bits(), bits)
            };
            let one = on(1);
            assert!(one == on(2) && one == on(8));
        }
    }

    #[test]
    fn scores_that_are_not_finite_give_such_losses() {
        let labels = Tensor::new(&[0_u32], &Device::Cpu).unwrap();
        for scores in
            [[f32::NAN, 1.0], [1.0, f32::NAN], [f32::INFINITY, 1.0], [f32::NEG_INFINITY, 1.0]]
        {
            let is_right = scores[0] > scores[1];
            let scores = Tensor::new(&[scores], &Device::Cpu).unwrap();
            for function in [LossFunction::CrossEntropy, LossFunction::SquaredError] {
                let loss = function.loss(&scores, &labels, None).unwrap();
                assert!(!loss.mean.is_finite());
                assert_eq!(loss.accuracy, f64::from(u8::from(is_right)));
            }
        }
        let scores = Tensor::new(&[[1.0_f32, 2.0]], &Device::Cpu).unwrap();
        let wrong = Tensor::new(&[2_u32], &Device::Cpu).unwrap();
        assert!(LossFunction::CrossEntropy.loss(&scores, &wrong, None).is_err());
    }
}
