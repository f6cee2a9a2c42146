//! Arrays of examples and labels, in an NPZ or safetensors file.

use super::super::bytes::read_plain;
use super::super::error::Flaw;
use super::super::formats::numbers::Array;
use super::super::formats::{npz as npz_format, tensors};
use super::super::{At, DataError, Dataset, Examples, ImageShape, Provider};
use super::{Shares, path, provider};
use crate::keys::{Key, Keys, Kind, text, words};
use std::path::Path;
use std::sync::Arc;

/// Maximum bytes of a file.
const MOST: u64 = 1 << 31;
/// Maximum number of classes.
const MOST_CLASSES: usize = 10_000;

/// Parses a named array from the bytes of a file.
type ReadArray = fn(&[u8], &str) -> Result<Array, Flaw>;

/// `data.name = "npz"`.
pub(in super::super) fn npz() -> Kind<Arc<dyn Provider>> {
    let about = "your own arrays in an NPZ file (numpy.savez): examples [N, …] and labels [N]";
    kind("npz", about, "mine.npz", npz_format::parse)
}

/// `data.name = "safetensors"`.
pub(in super::super) fn safetensors() -> Kind<Arc<dyn Provider>> {
    let about = "your own arrays in a safetensors file: examples [N, …] and labels [N]";
    kind("safetensors", about, "mine.safetensors", tensors::parse)
}

fn kind(
    name: &'static str,
    about: &str,
    example: &'static str,
    read: ReadArray,
) -> Kind<Arc<dyn Provider>> {
    Kind::new(name, about, move |keys: &mut Keys<'_>| {
        let path = path(keys, "the file, relative to this file", example);
        let about = "array of the examples: [N, features], [N, height, width], or as `layout`; bytes are divided by 255";
        let examples = keys.with_default(Key::new("examples_array", text(), about), "x".to_owned());
        let about = "array of their classes, as whole numbers from 0";
        let labels = keys.with_default(Key::new("labels_array", text(), about), "y".to_owned());
        let about = "array of test examples; if absent, some of the examples are set aside";
        let test = keys.optional(Key::new("test_array", text(), about), "x_test".to_owned());
        let about = "array of the test examples' classes";
        let test_labels =
            keys.optional(Key::new("test_labels_array", text(), about), "y_test".to_owned());
        let layouts = words(&[
            ("channels_first", Layout::ChannelsFirst, "[N, channels, height, width]"),
            ("channels_last", Layout::ChannelsLast, "[N, height, width, channels]"),
        ]);
        let layout = Key::new("layout", layouts, "axes of four-dimensional arrays");
        let layout = keys.with_default(layout, Layout::ChannelsFirst);
        let shares = Shares::read(keys);
        let (test, test_labels) = (test?, test_labels?);
        if test.is_some() != test_labels.is_some() {
            let message = format!(
                "`{}` and `{}` belong together; expected both or neither",
                keys.path("test_array"),
                keys.path("test_labels_array")
            );
            keys.refuse(if test.is_some() { "test_array" } else { "test_labels_array" }, message);
            return None;
        }
        let path = path?;
        let arrays = Arrays {
            examples: examples?,
            labels: labels?,
            test: test.zip(test_labels),
            layout: layout?,
            shares: shares?,
            read,
        };
        provider(keys, &path, &format!("{name} {arrays:?}"), || arrays.load(&path))
    })
}

/// The order of the axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    ChannelsFirst,
    ChannelsLast,
}

/// The arrays to read from a file.
#[derive(Debug)]
struct Arrays {
    examples: String,
    labels: String,
    test: Option<(String, String)>,
    layout: Layout,
    shares: Shares,
    read: ReadArray,
}

impl Arrays {
    fn load(&self, path: &Path) -> Result<Dataset, DataError> {
        self.convert(&read_plain(path, MOST)?, path)
    }

    fn convert(&self, bytes: &[u8], path: &Path) -> Result<Dataset, DataError> {
        let all = self.part(bytes, &self.examples, &self.labels, path)?;
        let test = match &self.test {
            Some((examples, labels)) => Some(self.part(bytes, examples, labels, path)?),
            None => None,
        };
        let parts = [Some(&all), test.as_ref()].into_iter().flatten();
        let highest = parts.flat_map(|part| &part.labels).max().copied().unwrap_or(0);
        if let Some(test) = test.as_ref().filter(|test| test.shape != all.shape) {
            let problem = format!("test examples of {:?}; expected {:?}", test.shape, all.shape);
            return Err(DataError::malformed(path.display(), At::File, problem));
        }
        self.shares.divide(&all, test, highest as usize + 1, path)
    }

    /// Reads examples and their labels from two arrays.
    fn part(
        &self,
        bytes: &[u8],
        name: &str,
        labels: &str,
        path: &Path,
    ) -> Result<Examples, DataError> {
        let of_file = |flaw: Flaw| flaw.of(path.display());
        let array = (self.read)(bytes, name).map_err(of_file)?;
        let (count, shape) = self.shape(&array.sizes).map_err(|problem| {
            DataError::malformed(path.display(), At::Named(name.to_owned()), problem)
        })?;
        let classes = (self.read)(bytes, labels).map_err(of_file)?;
        let wrong_labels =
            |problem| DataError::malformed(path.display(), At::Named(labels.to_owned()), problem);
        if classes.sizes.iter().product::<usize>() != count {
            let problem = format!("{:?} labels; expected {count}, one per example", classes.sizes);
            return Err(wrong_labels(problem));
        }
        let is_class =
            |number: &f32| number.fract() == 0.0 && (0.0..MOST_CLASSES as f32).contains(number);
        if let Some(index) = classes.numbers.iter().position(|number| !is_class(number)) {
            let problem = format!(
                "label {} of example {index}; expected a whole number from 0 to {}",
                classes.numbers[index],
                MOST_CLASSES - 1
            );
            return Err(wrong_labels(problem));
        }
        let scale = if array.are_bytes { 1.0 / 255.0 } else { 1.0 };
        let pixels = array.numbers.iter().map(|number| number * scale).collect();
        let pixels = match (self.layout, array.sizes.len()) {
            (Layout::ChannelsLast, 4) => channels_first(pixels, shape),
            _ => pixels,
        };
        Ok(Examples {
            shape,
            pixels,
            labels: classes.numbers.iter().map(|&class| class as u32).collect(),
        })
    }

    /// The number of examples and their shape.
    fn shape(&self, sizes: &[usize]) -> Result<(usize, ImageShape), String> {
        let (count, shape) = match *sizes {
            [n, features] => (n, (features, 1, 1)),
            [n, height, width] => (n, (1, height, width)),
            [n, channels, height, width] if self.layout == Layout::ChannelsFirst => {
                (n, (channels, height, width))
            }
            [n, height, width, channels] => (n, (channels, height, width)),
            _ => return Err(format!("{} axes; expected 2, 3 or 4", sizes.len())),
        };
        let (channels, height, width) = shape;
        // The product is not compared with 0, since it overflows if the zero is its last factor.
        if sizes.contains(&0) {
            return Err(format!("the array {sizes:?} is empty; expected examples"));
        }
        Ok((count, ImageShape { channels, height, width }))
    }
}

/// Converts the arrays `x`, `y` and, if `has_test`, `x_test` and `y_test` of a safetensors file. For the fuzz target, because
/// that format has no checksums to stop a mutation.
///
/// # Errors
/// A malformed file.
#[doc(hidden)]
pub fn convert_safetensors(
    bytes: &[u8],
    channels_last: bool,
    has_test: bool,
) -> Result<Dataset, DataError> {
    let arrays = Arrays {
        examples: "x".to_owned(),
        labels: "y".to_owned(),
        test: has_test.then(|| ("x_test".to_owned(), "y_test".to_owned())),
        layout: if channels_last { Layout::ChannelsLast } else { Layout::ChannelsFirst },
        shares: Shares { validation: 0.15, test: 0.15 },
        read: tensors::parse,
    };
    arrays.convert(bytes, Path::new("bytes"))
}

/// Moves the channels from the last axis to the first.
fn channels_first(pixels: Vec<f32>, shape: ImageShape) -> Vec<f32> {
    let ImageShape { channels, height, width } = shape;
    let plane = height * width;
    let mut moved = Vec::with_capacity(pixels.len());
    for image in pixels.chunks_exact(channels * plane) {
        for channel in 0..channels {
            moved.extend((0..plane).map(|pixel| image[pixel * channels + channel]));
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::Dtype;
    use safetensors::tensor::TensorView;

    #[test]
    fn empty_array_with_huge_axes_is_refused() {
        let view = |sizes: &[usize], bytes| TensorView::new(Dtype::U8, sizes.to_vec(), bytes);
        let (x, y) = (view(&[1, 1 << 40, 0, 1 << 40], &[]).unwrap(), view(&[1], &[0]).unwrap());
        let bytes = safetensors::serialize([("x", x), ("y", y)], None).unwrap();
        let error = convert_safetensors(&bytes, true, false).unwrap_err().to_string();
        assert_eq!(
            error,
            "bytes, \"x\": the array [1, 1099511627776, 0, 1099511627776] is empty; expected examples"
        );
    }
}
