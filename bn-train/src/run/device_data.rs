//! A data set on the device that trains on it.

use crate::data::{Batch, Dataset};
use crate::experiment::Settings;
use crate::model::Sizes;
use crate::task::Networks;
use bn_report::schema::Split;
use candle::{Device, Tensor};

/// A data set on a device.
#[derive(Clone, Debug)]
pub struct DeviceData {
    device: Device,
    sizes: Sizes,
    train: Batch,
    validation: Batch,
    test: Batch,
}

impl DeviceData {
    /// Copies `data` to `device`.
    ///
    /// # Errors
    /// What candle reports, for instance too little memory on the device.
    pub fn new(data: &Dataset, device: &Device) -> candle::Result<Self> {
        Ok(Self {
            device: device.clone(),
            sizes: Sizes { input: data.train.shape, classes: data.classes },
            train: data.train.to_batch(device)?,
            validation: data.validation.to_batch(device)?,
            test: data.test.to_batch(device)?,
        })
    }

    /// The networks that `settings` describe, for this data.
    ///
    /// # Errors
    /// As [`Networks::build`].
    pub fn networks(&self, settings: &Settings, seed: u64) -> candle::Result<Networks> {
        settings.networks(self.sizes, seed, &self.device)
    }

    /// Training examples.
    pub fn train_len(&self) -> usize {
        self.train.len()
    }

    /// The examples of a split.
    pub(super) fn split(&self, split: Split) -> &Batch {
        match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
            Split::Test => &self.test,
        }
    }

    /// The training examples at `indices`.
    pub(super) fn batch(&self, indices: &[usize]) -> candle::Result<Batch> {
        let indices: Vec<u32> = indices.iter().map(|&index| index as u32).collect();
        let indices = Tensor::new(indices, &self.device)?;
        let Batch { images, labels, .. } = &self.train;
        Ok(Batch::new(images.index_select(&indices, 0)?, labels.index_select(&indices, 0)?))
    }
}
