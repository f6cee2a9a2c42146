//! Examples in memory, and data sets with their three parts.

use super::split::stratified;
use super::{Batch, ImageShape};
use candle::{Device, Tensor};

/// Examples in memory: images with pixels in `0..=1`, and a label for each.
#[derive(Clone, Debug)]
pub struct Examples {
    /// Size of one image.
    pub shape: ImageShape,
    /// Pixels, `shape.pixels()` per image.
    pub pixels: Vec<f32>,
    /// One label per image.
    pub labels: Vec<u32>,
}

impl Examples {
    /// Number of examples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no examples.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The examples at `indices`, in that order.
    pub fn select(&self, indices: &[usize]) -> Self {
        let size = self.shape.pixels();
        Self {
            shape: self.shape,
            pixels: indices
                .iter()
                .flat_map(|&index| &self.pixels[index * size..(index + 1) * size])
                .copied()
                .collect(),
            labels: indices.iter().map(|&index| self.labels[index]).collect(),
        }
    }

    /// Number of examples of each class `0..classes`.
    pub fn class_counts(&self, classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        for &label in &self.labels {
            counts[label as usize] += 1;
        }
        counts
    }

    /// BLAKE3 of shape, pixels and labels, as `blake3:<hex>`.
    pub fn digest(&self) -> String {
        let ImageShape { channels, height, width } = self.shape;
        let mut hasher = blake3::Hasher::new();
        for size in [channels, height, width, self.len()] {
            hasher.update(&(size as u64).to_le_bytes());
        }
        for pixel in &self.pixels {
            hasher.update(&pixel.to_le_bytes());
        }
        for label in &self.labels {
            hasher.update(&label.to_le_bytes());
        }
        format!("blake3:{}", hasher.finalize().to_hex())
    }

    /// The images as `[N, channels, height, width]` in f32, the labels as `[N]` in u32.
    ///
    /// # Errors
    /// Errors of candle, for example too little memory on the device.
    pub fn to_batch(&self, device: &Device) -> candle::Result<Batch> {
        let ImageShape { channels, height, width } = self.shape;
        let images =
            Tensor::from_slice(&self.pixels, (self.len(), channels, height, width), device)?;
        Ok(Batch::new(images, Tensor::from_slice(&self.labels, self.len(), device)?))
    }
}

/// A data set, split into three parts.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Training examples.
    pub train: Examples,
    /// Validation examples, for evaluations during training.
    pub validation: Examples,
    /// Test examples, evaluated once at the end.
    pub test: Examples,
    /// Labels are `0..classes`.
    pub classes: usize,
    /// Weights of training examples that were selected with a known bias: the class's share among all examples divided by
    /// its share among the selected ones. Their mean is 1. `None` without a bias.
    pub selection_weights: Option<Vec<f32>>,
    /// BLAKE3 of the file or of the examples, as `blake3:<hex>`.
    pub digest: String,
}

impl Dataset {
    /// A data set of three parts with labels `0..classes`.
    pub fn new(train: Examples, validation: Examples, test: Examples, classes: usize) -> Self {
        let parts = [&train, &validation, &test].map(Examples::digest).join(" ");
        let digest = format!("blake3:{}", blake3::hash(parts.as_bytes()).to_hex());
        Self { train, validation, test, classes, selection_weights: None, digest }
    }

    /// Splits `examples` with labels `0..classes`, stratified by class. The split is deterministic.
    ///
    /// # Panics
    /// There are too few examples, or a label is not below `classes`.
    pub fn stratified(examples: &Examples, classes: usize, validation: usize, test: usize) -> Self {
        let parts = stratified(&examples.labels, classes, validation, test, SPLIT_SEED);
        Self {
            train: examples.select(&parts.train),
            validation: examples.select(&parts.validation),
            test: examples.select(&parts.test),
            classes,
            selection_weights: None,
            digest: examples.digest(),
        }
    }
}

/// Never change this, so that results of different versions stay comparable.
pub(super) const SPLIT_SEED: u64 = 0;
