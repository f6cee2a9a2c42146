//! MNIST and Fashion-MNIST: four IDX files in a folder, optionally gzipped.

use super::bytes::read_file;
use super::error::{At, Flaw};
use super::formats::idx;
use super::selection::Selection;
use super::{DataError, Dataset, Description, Examples, ImageShape, Provider, folder};
use crate::keys::{Key, Keys, Kind, flag};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SHAPE: ImageShape = ImageShape { channels: 1, height: 28, width: 28 };
const CLASSES: usize = 10;
const TRAIN: usize = 60_000;
const TEST: usize = 10_000;

/// `data.name = "mnist"` or `"fashion-mnist"`.
pub(super) fn kind(name: &'static str, about: &'static str) -> Kind<Arc<dyn Provider>> {
    Kind::new(name, about, move |keys: &mut Keys<'_>| {
        let folder = folder::read(keys, name);
        let about = "round pixels to 0 or 1";
        let binary = keys.with_default(Key::new("binary", flag(), about), false);
        let selection = Selection::read(keys, 5000);
        let mnist = Mnist { name, folder: folder?, binary: binary?, selection: selection? };
        Some(Arc::new(mnist) as Arc<dyn Provider>)
    })
}

/// The files of one data set.
#[derive(Debug)]
struct Mnist {
    name: &'static str,
    folder: PathBuf,
    binary: bool,
    selection: Selection,
}

impl Provider for Mnist {
    fn describe(&self) -> Description {
        Description { shape: SHAPE, classes: CLASSES, train: self.selection.train(TRAIN) }
    }

    fn load(&self) -> Result<Dataset, DataError> {
        folder::expect(&self.folder, self.name)?;
        let train = self.examples("train", TRAIN)?;
        let test = self.examples("t10k", TEST)?;
        self.selection.divide(&train, test, CLASSES, self.folder.display())
    }
}

impl Mnist {
    /// Reads images and labels from the files that start with `prefix`.
    fn examples(&self, prefix: &str, count: usize) -> Result<Examples, DataError> {
        let images =
            numbers(&self.folder, &format!("{prefix}-images-idx3-ubyte"), &[count, 28, 28])?;
        let labels_name = format!("{prefix}-labels-idx1-ubyte");
        let labels = numbers(&self.folder, &labels_name, &[count])?;
        if let Some(index) = labels.iter().position(|&label| usize::from(label) >= CLASSES) {
            let problem = format!("label {}; expected less than {CLASSES}", labels[index]);
            let origin = self.folder.join(labels_name);
            return Err(DataError::malformed(
                origin.display(),
                At::Byte(8 + index as u64),
                problem,
            ));
        }
        let pixel = |byte: u8| {
            if self.binary { f32::from(u8::from(byte >= 128)) } else { f32::from(byte) / 255.0 }
        };
        Ok(Examples {
            shape: SHAPE,
            pixels: images.into_iter().map(pixel).collect(),
            labels: labels.into_iter().map(u32::from).collect(),
        })
    }
}

/// Reads an IDX file `NAME` or `NAME.gz` with the given dimensions.
fn numbers(folder: &Path, name: &str, sizes: &[usize]) -> Result<Vec<u8>, DataError> {
    let plain = folder.join(name);
    let path = if plain.exists() { plain } else { folder.join(format!("{name}.gz")) };
    let header = 4 + 4 * sizes.len();
    let bytes = read_file(&path, (header + sizes.iter().product::<usize>()) as u64)?;
    let (found, numbers) = idx::parse(&bytes).map_err(|flaw| flaw.of(path.display()))?;
    if found != sizes {
        let problem = format!("dimensions {found:?}; expected {sizes:?}");
        return Err(Flaw::new(At::Byte(4), problem).of(path.display()));
    }
    Ok(numbers.to_vec())
}
