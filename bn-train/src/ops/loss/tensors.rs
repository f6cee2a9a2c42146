//! The losses by tensor operations, on any device. Nothing waits for the device.

use super::{LossFunction, divisors};
use candle::{D, DType, Device, Result, Tensor};

/// The loss of a batch, on the device of its scores.
#[derive(Clone, Debug)]
pub struct DeviceLoss {
    /// `[2]` in f64: mean and accuracy, as in [`Loss`](super::Loss).
    pub scores: Tensor,
    /// Gradient of the mean by the scores, in f32.
    pub gradient: Tensor,
}

impl LossFunction {
    /// As [`LossFunction::loss`], for scores and labels on any device. `weights` lie on the CPU.
    ///
    /// # Errors
    /// Wrong types or shapes, or weights whose sum is not positive. Labels must be below the number of classes; that is not
    /// checked, since it would wait for the device.
    pub fn loss_on_device(
        self,
        scores: &Tensor,
        labels: &Tensor,
        weights: Option<&Tensor>,
    ) -> Result<DeviceLoss> {
        let scores = scores.detach().to_dtype(DType::F32)?;
        let (rows, classes) = scores.dims2()?;
        let shares = shares(weights, rows, scores.device())?;
        #[cfg(feature = "cuda")]
        if scores.device().is_cuda() {
            let labels = labels.reshape(rows)?.contiguous()?;
            return super::gpu::loss(self, &scores.contiguous()?, &labels, shares.as_ref());
        }
        let labels = labels.reshape((rows, 1))?;
        let each = Tensor::arange(0, classes as u32, scores.device())?;
        let targets = each.reshape((1, classes))?.broadcast_eq(&labels)?.to_dtype(DType::F32)?;
        let own = scores.gather(&labels, D::Minus1)?;
        let (losses, gradients) = match self {
            Self::CrossEntropy => cross_entropy(&scores, &own, &targets)?,
            Self::SquaredError => squared_error(&scores, &targets)?,
        };
        let shares = match shares {
            Some(shares) => shares.reshape((rows, 1))?,
            None => Tensor::full(1.0 / rows as f64, (rows, 1), scores.device())?,
        };
        let mean = (losses * &shares)?.sum_all()?;
        // Against its own score, and where one of both is NaN, the comparison is false.
        let beaten = own.broadcast_gt(&scores)?.to_dtype(DType::F32)?.sum(1)?;
        let right = beaten.eq((classes - 1) as f32)?.to_dtype(DType::F64)?;
        Ok(DeviceLoss {
            scores: Tensor::stack(&[mean, right.mean_all()?], 0)?,
            gradient: gradients.broadcast_mul(&shares.to_dtype(DType::F32)?)?,
        })
    }
}

/// The factor of each example's loss in the weighted mean, `[N]`; `None` without weights.
fn shares(weights: Option<&Tensor>, rows: usize, device: &Device) -> Result<Option<Tensor>> {
    let shares = divisors(weights, rows)?;
    shares.map(|all| Tensor::from_iter(all.into_iter().map(f64::recip), device)).transpose()
}

/// Losses `[N, 1]` in f64, and gradients of each by its scores.
fn cross_entropy(scores: &Tensor, own: &Tensor, targets: &Tensor) -> Result<(Tensor, Tensor)> {
    let highest = scores.max_keepdim(1)?;
    let powers = scores.broadcast_sub(&highest)?.exp()?;
    let total = powers.sum_keepdim(1)?;
    let losses = (total.log()? - (own - highest)?)?.to_dtype(DType::F64)?;
    Ok((losses, (powers.broadcast_div(&total)? - targets)?))
}

/// As [`cross_entropy`].
fn squared_error(scores: &Tensor, targets: &Tensor) -> Result<(Tensor, Tensor)> {
    let classes = scores.dim(1)? as f64;
    let differences = (scores - targets)?;
    let losses = differences.to_dtype(DType::F64)?.sqr()?.mean_keepdim(1)?;
    Ok((losses, (differences * (2.0 / classes))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::of_tests;

    const BOTH: [LossFunction; 2] = [LossFunction::CrossEntropy, LossFunction::SquaredError];

    #[test]
    fn equals_the_kernels() {
        for (rows, classes) in [(1, 2), (7, 3), (64, 10), (33, 100)] {
            let scores: Vec<f32> =
                (0..rows * classes).map(|i| (i as f32 * 0.37).sin() * 5.0).collect();
            let scores = Tensor::from_vec(scores, (rows, classes), &Device::Cpu).unwrap();
            let labels: Vec<u32> = (0..rows as u32).map(|i| i * 7 % classes as u32).collect();
            let labels = Tensor::new(labels, &Device::Cpu).unwrap();
            let weights: Vec<f32> = (0..rows).map(|i| (i % 3) as f32 + 0.5).collect();
            let weights = Tensor::new(weights, &Device::Cpu).unwrap();
            for (function, weights) in BOTH.into_iter().zip([None, Some(&weights)]) {
                let there = [&scores, &labels].map(|t| t.to_device(&of_tests()).unwrap());
                let ours = function.loss_on_device(&there[0], &there[1], weights).unwrap();
                let want = function.loss(&scores, &labels, weights).unwrap();
                let got = ours.scores.to_vec1::<f64>().unwrap();
                assert!((got[0] - want.mean).abs() <= 1e-6 * want.mean, "{got:?} {want:?}");
                assert!((got[1] - want.accuracy).abs() < 1e-12);
                let gradient = ours.gradient.to_device(&Device::Cpu).unwrap();
                let difference = (gradient - &want.gradient).unwrap().abs().unwrap();
                let largest = difference.flatten_all().unwrap().max(0).unwrap();
                assert!(largest.to_scalar::<f32>().unwrap() < 1e-6);
            }
        }
    }

    #[test]
    fn scores_that_are_not_finite_give_such_losses() {
        let labels = Tensor::new(&[0_u32], &of_tests()).unwrap();
        for scores in
            [[f32::NAN, 1.0], [1.0, f32::NAN], [f32::INFINITY, 1.0], [f32::NEG_INFINITY, 1.0]]
        {
            let is_right = scores[0] > scores[1];
            let scores = Tensor::new(&[scores], &of_tests()).unwrap();
            for function in BOTH {
                let loss = function.loss_on_device(&scores, &labels, None).unwrap();
                let loss = loss.scores.to_vec1::<f64>().unwrap();
                assert!(!loss[0].is_finite());
                assert_eq!(loss[1], f64::from(u8::from(is_right)));
            }
        }
    }

    #[test]
    fn example_of_weight_zero_has_no_gradient() {
        let scores = Tensor::new(&[[1.0_f32, 2.0], [3.0, -1.0]], &of_tests()).unwrap();
        let labels = Tensor::new(&[0_u32, 1], &of_tests()).unwrap();
        let weights = Tensor::new(&[0_f32, 2.0], &Device::Cpu).unwrap();
        for function in BOTH {
            let loss = function.loss_on_device(&scores, &labels, Some(&weights)).unwrap();
            assert_eq!(loss.gradient.to_vec2::<f32>().unwrap()[0], [0.0, 0.0]);
            let none = Tensor::zeros(2, DType::F32, &Device::Cpu).unwrap();
            assert!(function.loss_on_device(&scores, &labels, Some(&none)).is_err());
        }
    }
}
