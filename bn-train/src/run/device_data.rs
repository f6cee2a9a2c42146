//! A data set on the device that trains on it.

use crate::data::Dataset;
use crate::experiment::Settings;
use crate::model::{Model, Sizes};
use bn_report::schema::Split;
use candle::{Device, Tensor};

/// A data set on a device.
#[derive(Clone, Debug)]
pub struct DeviceData {
    device: Device,
    sizes: Sizes,
    train: (Tensor, Tensor),
    validation: (Tensor, Tensor),
    test: (Tensor, Tensor),
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
            train: data.train.to_tensors(device)?,
            validation: data.validation.to_tensors(device)?,
            test: data.test.to_tensors(device)?,
        })
    }

    /// The network that `settings` describe, for this data.
    ///
    /// # Errors
    /// As [`Model::build`].
    pub fn model(&self, settings: &Settings, seed: u64) -> candle::Result<Model> {
        Model::build(&settings.model, settings.norm.as_ref(), self.sizes, seed, &self.device)
    }

    /// Training examples.
    pub fn train_len(&self) -> usize {
        self.train.1.elem_count()
    }

    /// Images and labels of a split.
    pub(super) fn split(&self, split: Split) -> (&Tensor, &Tensor) {
        let (images, labels) = match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
            Split::Test => &self.test,
        };
        (images, labels)
    }

    /// Images and labels of the training examples at `indices`.
    pub(super) fn batch(&self, indices: &[usize]) -> candle::Result<(Tensor, Tensor)> {
        let indices: Vec<u32> = indices.iter().map(|&index| index as u32).collect();
        let indices = Tensor::new(indices, &self.device)?;
        let (images, labels) = &self.train;
        Ok((images.index_select(&indices, 0)?, labels.index_select(&indices, 0)?))
    }
}
