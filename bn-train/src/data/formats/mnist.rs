//! The two IDX files of a part of MNIST: images and as many labels.

use super::super::ImageShape;
use super::super::error::{At, Flaw};
use super::idx;

/// Shape of every image.
pub const SHAPE: ImageShape = ImageShape { channels: 1, height: 28, width: 28 };
/// Exclusive upper bound of the labels.
pub const CLASSES: usize = 10;

/// The pixels of `count` images.
///
/// # Errors
/// A malformed file, with the byte.
pub fn images(bytes: &[u8], count: usize) -> Result<&[u8], Flaw> {
    numbers(bytes, &[count, SHAPE.height, SHAPE.width])
}

/// The labels of `count` images.
///
/// # Errors
/// A malformed file, with the byte.
pub fn labels(bytes: &[u8], count: usize) -> Result<&[u8], Flaw> {
    let labels = numbers(bytes, &[count])?;
    if let Some(index) = labels.iter().position(|&label| usize::from(label) >= CLASSES) {
        let problem = format!("label {}; expected less than {CLASSES}", labels[index]);
        return Err(Flaw::new(At::Byte(8 + index as u64), problem));
    }
    Ok(labels)
}

fn numbers<'a>(bytes: &'a [u8], sizes: &[usize]) -> Result<&'a [u8], Flaw> {
    let (found, numbers) = idx::parse(bytes)?;
    if found != sizes {
        let problem = format!("dimensions {found:?}; expected {sizes:?}");
        return Err(Flaw::new(At::Byte(4), problem));
    }
    Ok(numbers)
}
