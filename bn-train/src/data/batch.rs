//! Batches of examples on a device.

use candle::{Result, Tensor};
use std::ops::Range;

/// Examples on a device.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Images `[N, channels, height, width]`.
    pub images: Tensor,
    /// Labels `[N]`, in u32.
    pub labels: Tensor,
    /// Weights of the examples in batch statistics, `[N]`; `None` for equal weights.
    pub norm_weights: Option<Tensor>,
    /// Weights of the examples in the loss, `[N]` on the CPU; `None` for equal weights.
    pub loss_weights: Option<Tensor>,
}

impl Batch {
    /// Examples with equal weights.
    pub fn new(images: Tensor, labels: Tensor) -> Self {
        Self { images, labels, norm_weights: None, loss_weights: None }
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.labels.elem_count()
    }

    /// Whether there are no examples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The examples in a range.
    ///
    /// # Errors
    /// The range is out of bounds.
    pub fn narrow(&self, range: Range<usize>) -> Result<Self> {
        self.map(|tensor| tensor.narrow(0, range.start, range.len()))
    }

    /// The sum of the loss weights; the number of examples if there are none.
    ///
    /// # Errors
    /// Errors from candle.
    pub fn loss_weight(&self) -> Result<f64> {
        match &self.loss_weights {
            None => Ok(self.len() as f64),
            Some(weights) => Ok(weights.to_vec1::<f32>()?.into_iter().map(f64::from).sum()),
        }
    }

    /// At most `count` examples, evenly spread because a data set may be sorted.
    ///
    /// # Errors
    /// Errors of candle.
    pub fn spread(&self, count: usize) -> Result<Self> {
        let all = self.len();
        if count >= all {
            return Ok(self.clone());
        }
        let indices: Vec<u32> = (0..count).map(|index| (index * all / count) as u32).collect();
        self.map(|tensor| {
            tensor.index_select(&Tensor::new(indices.as_slice(), tensor.device())?, 0)
        })
    }

    fn map(&self, part: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(Self {
            images: part(&self.images)?,
            labels: part(&self.labels)?,
            norm_weights: self.norm_weights.as_ref().map(&part).transpose()?,
            loss_weights: self.loss_weights.as_ref().map(&part).transpose()?,
        })
    }
}

/// Divides examples into as few batches as `batch_size` allows. Sizes differ by at most one, since a small last batch
/// would have poor statistics.
///
/// # Panics
/// There are no examples, or `batch_size` is 0.
pub fn in_batches(examples: usize, batch_size: usize) -> impl Iterator<Item = Range<usize>> {
    assert!(examples > 0 && batch_size > 0, "batches of {batch_size} out of {examples} examples");
    let count = examples.div_ceil(batch_size);
    (0..count).map(move |index| index * examples / count..(index + 1) * examples / count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::{DType, Device};

    #[test]
    fn batches_cover_all_examples_once_in_equal_sizes() {
        for (examples, size) in [(1, 1), (10, 3), (1001, 500), (500, 500), (7, 100), (270, 7)] {
            let all: Vec<_> = in_batches(examples, size).collect();
            assert_eq!(
                all.iter().cloned().flatten().collect::<Vec<_>>(),
                (0..examples).collect::<Vec<_>>()
            );
            let sizes: Vec<usize> = all.iter().map(ExactSizeIterator::len).collect();
            let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            assert!(*most <= size && most - least <= 1, "{sizes:?}");
        }
    }

    #[test]
    fn spread_covers_all_examples_evenly() {
        let images = Tensor::zeros((10, 1, 1, 1), DType::F32, &Device::Cpu).unwrap();
        let all = Batch::new(images, Tensor::arange(0_u32, 10, &Device::Cpu).unwrap());
        assert_eq!(all.spread(4).unwrap().labels.to_vec1::<u32>().unwrap(), [0, 2, 5, 7]);
        assert_eq!(all.spread(99).unwrap().len(), 10);
    }
}
