//! Scores of a training pass: known, or still being computed on a device.

use candle::{DType, Device, Result, Tensor};

/// Values of a network's training metrics on one batch.
#[derive(Clone, Debug)]
pub enum Scores {
    /// The values.
    Known(Vec<f64>),
    /// `[metrics]` in f64, on a device that may still compute them. Reading them waits for it.
    OnDevice(Tensor),
}

impl Scores {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Known(values) => values.len(),
            Self::OnDevice(values) => values.elem_count(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values. Waits for the device.
    ///
    /// # Errors
    /// Errors of candle.
    pub fn values(&self) -> Result<Vec<f64>> {
        match self {
            Self::Known(values) => Ok(values.clone()),
            Self::OnDevice(values) => values.to_vec1(),
        }
    }

    /// Known values that are not all finite. False for those on a device, which are not waited for.
    pub fn are_known_to_diverge(&self) -> bool {
        matches!(self, Self::Known(values) if values.iter().any(|value| !value.is_finite()))
    }

    /// `Σ shares · values` over the parts of a batch, with a share for each value. On a device if any part is.
    ///
    /// # Errors
    /// Errors of candle; parts of different lengths.
    pub fn weighted_sum(parts: &[(Self, Vec<f64>)]) -> Result<Self> {
        let on_device = parts.iter().find_map(|(scores, _)| match scores {
            Self::OnDevice(values) => Some(values.device().clone()),
            Self::Known(_) => None,
        });
        let Some(device) = on_device else {
            let mut sum = vec![0.0; parts.first().map_or(0, |(scores, _)| scores.len())];
            for (scores, shares) in parts {
                for ((sum, value), share) in sum.iter_mut().zip(scores.values()?).zip(shares) {
                    *sum += share * value;
                }
            }
            return Ok(Self::Known(sum));
        };
        let mut sum: Option<Tensor> = None;
        for (scores, shares) in parts {
            let term = (scores.on(&device)? * Tensor::new(shares.as_slice(), &device)?)?;
            sum = Some(match sum {
                None => term,
                Some(before) => (before + term)?,
            });
        }
        Ok(sum.map_or(Self::Known(Vec::new()), Self::OnDevice))
    }

    /// The values as a tensor, `[metrics]` in f64.
    ///
    /// # Errors
    /// Errors of candle.
    pub fn on(&self, device: &Device) -> Result<Tensor> {
        match self {
            Self::Known(values) => Tensor::new(values.as_slice(), device),
            Self::OnDevice(values) => values.to_device(device)?.to_dtype(DType::F64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weighted_sums_are_the_same_on_a_device() {
        let parts = [(vec![1.0, 0.5], vec![0.25, 0.5]), (vec![3.0, 1.0], vec![0.75, 0.5])];
        let known = parts.clone().map(|(values, shares)| (Scores::Known(values), shares));
        let tensor = |values: Vec<f64>| Tensor::new(values, &Device::Cpu).unwrap();
        let mixed = parts.map(|(values, shares)| (Scores::OnDevice(tensor(values)), shares));
        let mixed = [mixed[0].clone(), known[1].clone()];
        let (known, mixed) =
            (Scores::weighted_sum(&known).unwrap(), Scores::weighted_sum(&mixed).unwrap());
        assert_eq!(known.values().unwrap(), [2.5, 0.75]);
        assert_eq!(mixed.values().unwrap(), [2.5, 0.75]);
        assert!(matches!(mixed, Scores::OnDevice(_)));
    }
}
