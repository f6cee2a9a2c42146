//! Data sets, split once and for all into training, validation and test examples.
//!
//! One file per format; this one has the types they share. Nothing here depends on the seed of a run: the split of a
//! data set is fixed, so that runs of different seeds are judged on the same examples.

mod batch;
mod batches;
mod digits;
mod source;
mod split;

pub use batch::{Batch, in_batches};
pub use batches::Batches;
pub use source::{Provider, Source, sources};
pub use split::{Parts, stratified};

use candle::{Device, Tensor};

/// The size of one image, in the order of a tensor's axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageShape {
    /// Colour planes.
    pub channels: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
}

impl ImageShape {
    /// Pixels of one image, all planes together.
    pub fn pixels(self) -> usize {
        self.channels * self.height * self.width
    }
}

/// What must be known of a data set before it is read: enough to check an experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// Size of one image.
    pub shape: ImageShape,
    /// Labels are `0..classes`.
    pub classes: usize,
    /// Training examples.
    pub train: usize,
}

/// Why data could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The bytes do not unpack.
    #[error("{origin}: cannot be unpacked")]
    Unpack {
        /// The file, or where else the bytes come from.
        origin: &'static str,
        /// What unpacking says.
        source: std::io::Error,
    },
    /// A line is not an example.
    #[error("{origin}, line {line}: {problem}")]
    Line {
        /// The file, or where else the bytes come from.
        origin: &'static str,
        /// Counted from 1.
        line: usize,
        /// What is wrong, and what was expected.
        problem: String,
    },
}

/// Examples in memory: pixels in `0..=1`, image after image, and a label for each.
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
    /// How many there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Those at `indices`, in that order.
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
    /// What candle reports, for instance too little memory on the device.
    pub fn to_batch(&self, device: &Device) -> candle::Result<Batch> {
        let ImageShape { channels, height, width } = self.shape;
        let images =
            Tensor::from_slice(&self.pixels, (self.len(), channels, height, width), device)?;
        Ok(Batch::new(images, Tensor::from_slice(&self.labels, self.len(), device)?))
    }
}

/// A data set, split.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// To learn from.
    pub train: Examples,
    /// To look at while training.
    pub validation: Examples,
    /// To look at once, at the end.
    pub test: Examples,
    /// Labels are `0..classes`.
    pub classes: usize,
    /// BLAKE3 of the file's bytes, or of the examples, as `blake3:<hex>`.
    pub digest: String,
}

impl Dataset {
    /// Splits `examples` with labels `0..classes`, so that each part has each class in proportion; always the same way.
    ///
    /// # Panics
    /// When a part is to hold more examples than there are, or a label is not below `classes`.
    pub fn stratified(examples: &Examples, classes: usize, validation: usize, test: usize) -> Self {
        let parts = stratified(&examples.labels, classes, validation, test, SPLIT_SEED);
        Self {
            train: examples.select(&parts.train),
            validation: examples.select(&parts.validation),
            test: examples.select(&parts.test),
            classes,
            digest: examples.digest(),
        }
    }
}

/// Never changed: results of different versions stay comparable.
const SPLIT_SEED: u64 = 0;
