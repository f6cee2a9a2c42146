//! The squared kernel distance between the features of generated and real images.
//!
//! `mean k(x, x') + mean k(y, y') − 2 mean k(x, y)` over all pairs of different images: the unbiased estimate of the squared
//! maximum mean discrepancy, with `k(a, b) = (a·b / n + 1)³` for n features. This is the "kernel inception distance" of
//! Bińkowski et al. 2018 (arXiv 1801.01401) with different features, because a network trained on photographs says little
//! about small images. The features are `max(W x, 0)`, with pixels x and a random normal matrix W that is the same for all
//! runs. The expected distance of images from the same distribution is 0, and an estimate may be slightly negative.

use crate::random::{Purpose, Stream};
use candle::{DType, Device, Result, Tensor};
use rayon::prelude::*;

/// Length of a feature vector.
const FEATURES: usize = 64;

/// Computes features of images.
#[derive(Debug)]
pub(super) struct Features {
    /// `[FEATURES, pixels]`.
    weights: Vec<f32>,
    pixels: usize,
}

/// Features of one image.
pub(super) type Feature = [f64; FEATURES];

impl Features {
    /// For images with `pixels` values.
    pub(super) fn of_images(pixels: usize) -> Self {
        let mut stream = Stream::new(0, Purpose::Initialize("features of the distance"));
        let deviation = (pixels as f32).sqrt().recip();
        let weights = (0..FEATURES * pixels).map(|_| stream.normal(0.0, deviation)).collect();
        Self { weights, pixels }
    }

    /// The features of `[N, …]` images.
    pub(super) fn compute(&self, images: &Tensor) -> Result<Vec<Feature>> {
        let images = images.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
        let numbers: Vec<f32> = images.flatten_all()?.to_vec1()?;
        Ok(numbers.par_chunks_exact(self.pixels).map(|image| self.of(image)).collect())
    }

    fn of(&self, image: &[f32]) -> Feature {
        let mut feature = [0.0; FEATURES];
        for (value, weights) in feature.iter_mut().zip(self.weights.chunks_exact(self.pixels)) {
            let sum: f32 = weights.iter().zip(image).map(|(weight, pixel)| weight * pixel).sum();
            *value = f64::from(sum).max(0.0);
            // `max` hides NaN.
            if sum.is_nan() {
                *value = f64::NAN;
            }
        }
        feature
    }

    /// The distance of two sets of images, at least two each.
    pub(super) fn distance(&self, real: &[Feature], generated: &[Feature]) -> f64 {
        within(real) + within(generated) - 2.0 * between(real, generated)
    }
}

fn kernel(a: &Feature, b: &Feature) -> f64 {
    let product: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
    (product / FEATURES as f64 + 1.0).powi(3)
}

/// Mean kernel over all pairs of different images.
fn within(images: &[Feature]) -> f64 {
    let of_row = |row: usize| -> f64 {
        let others = images.iter().enumerate().filter(|(other, _)| *other != row);
        others.map(|(_, other)| kernel(&images[row], other)).sum()
    };
    let rows: Vec<f64> = (0..images.len()).into_par_iter().map(of_row).collect();
    let pairs = images.len() * images.len().saturating_sub(1);
    rows.iter().sum::<f64>() / pairs as f64
}

/// Mean kernel over all pairs of one image from each set.
fn between(left: &[Feature], right: &[Feature]) -> f64 {
    let of_row = |image: &Feature| -> f64 { right.iter().map(|other| kernel(image, other)).sum() };
    let rows: Vec<f64> = left.par_iter().map(of_row).collect();
    rows.iter().sum::<f64>() / (left.len() * right.len()) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(name: &str, count: usize, offset: f32) -> Tensor {
        let mut stream = Stream::new(3, Purpose::Initialize(name));
        let pixels: Vec<f32> = (0..count * 16).map(|_| stream.unit() + offset).collect();
        Tensor::from_vec(pixels, (count, 1, 4, 4), &Device::Cpu).unwrap()
    }

    fn distance(left: &Tensor, right: &Tensor) -> f64 {
        let features = Features::of_images(16);
        features.distance(&features.compute(left).unwrap(), &features.compute(right).unwrap())
    }

    #[test]
    fn same_distribution_is_near_and_another_is_far() {
        let real = images("real", 200, 0.0);
        let near = distance(&real, &images("other", 200, 0.0));
        let far = distance(&real, &images("other", 200, 0.5));
        assert!(near.abs() < 0.02 * far, "{near} {far}");
        assert!(far > distance(&real, &images("other", 200, 0.25)));
    }

    #[test]
    fn distance_is_symmetric_and_keeps_nan() {
        let (left, right) = (images("left", 30, 0.0), images("right", 20, 0.3));
        let difference = distance(&left, &right) - distance(&right, &left);
        assert!(difference.abs() < 1e-12);
        let broken = (images("left", 30, 0.0) * f64::NAN).unwrap();
        assert!(distance(&broken, &right).is_nan());
    }
}
