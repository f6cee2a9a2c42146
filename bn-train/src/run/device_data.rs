//! A data set on a training device.

use crate::data::{Batch, Dataset, Labels, Loader, Prepared, Recipe};
use crate::experiment::Settings;
use crate::model::Sizes;
use crate::task::Networks;
use bn_report::schema::Split;
use candle::{Device, Tensor};
use std::sync::Arc;

/// A data set on a device.
#[derive(Clone, Debug)]
pub struct DeviceData {
    device: Device,
    sizes: Sizes,
    train: Batch,
    validation: Batch,
    test: Batch,
    /// Labels of the training examples, on the CPU.
    labels: Arc<Vec<u32>>,
    selection_weights: Option<Arc<Vec<f32>>>,
}

impl DeviceData {
    /// Copies `data` to `device`.
    ///
    /// # Errors
    /// Candle errors, for example too little memory on the device.
    pub fn new(data: &Dataset, device: &Device) -> candle::Result<Self> {
        Ok(Self {
            device: device.clone(),
            sizes: Sizes { input: data.train.shape, classes: data.classes },
            train: data.train.to_batch(device)?,
            validation: data.validation.to_batch(device)?,
            test: data.test.to_batch(device)?,
            labels: Arc::new(data.train.labels.clone()),
            selection_weights: data.selection_weights.clone().map(Arc::new),
        })
    }

    /// Builds the networks of `settings` for this data.
    ///
    /// # Errors
    /// As [`Networks::build`].
    pub fn networks(&self, settings: &Settings, seed: u64) -> candle::Result<Networks> {
        settings.networks(self.sizes, seed, &self.device)
    }

    /// The examples of a split.
    pub(crate) fn split(&self, split: Split) -> &Batch {
        match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
            Split::Test => &self.test,
        }
    }

    /// Loader of the training batches of a run with these settings.
    ///
    /// # Errors
    /// As [`Loader::new`].
    pub(super) fn loader(&self, settings: &Settings, seed: u64) -> candle::Result<Loader> {
        let recipe = Recipe {
            sampling: &settings.sampling,
            augmentation: settings.augmentation,
            labels: Labels { each: &self.labels, classes: self.sizes.classes },
            selection_weights: self.selection_weights.as_ref().map(|weights| weights.as_slice()),
            batch_size: settings.train.batch_size,
            seed,
        };
        Loader::new(&recipe, || self.train.images.to_device(&Device::Cpu))
    }

    /// Copies a prepared batch to the device.
    pub(super) fn batch(&self, prepared: Prepared) -> candle::Result<Batch> {
        let Prepared { indices, images, norm_weights, loss_weights } = prepared;
        let count = indices.len();
        let indices: Vec<u32> = indices.into_iter().map(|index| index as u32).collect();
        let indices = Tensor::new(indices, &self.device)?;
        let all = &self.train;
        let images = match images {
            None => all.images.index_select(&indices, 0)?,
            Some(images) => {
                let (_, channels, height, width) = all.images.dims4()?;
                Tensor::from_vec(images, (count, channels, height, width), &self.device)?
            }
        };
        let weights = |weights: Option<Vec<f32>>, device: &Device| {
            weights.map(|weights| Tensor::new(weights, device)).transpose()
        };
        Ok(Batch {
            images,
            labels: all.labels.index_select(&indices, 0)?,
            norm_weights: weights(norm_weights, &self.device)?,
            loss_weights: weights(loss_weights, &Device::Cpu)?,
        })
    }
}
