//! MNIST and Fashion-MNIST: four IDX files in a folder, optionally gzipped.

use super::bytes::read_file;
use super::formats::mnist::{self, CLASSES, SHAPE};
use super::selection::Selection;
use super::{DataError, Dataset, Description, Examples, Provider, folder};
use crate::keys::{Key, Keys, Kind, flag};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
        let name = format!("{prefix}-images-idx3-ubyte");
        let (path, bytes) = read(&self.folder, &name, 16 + count * SHAPE.pixels())?;
        let images = mnist::images(&bytes, count).map_err(|flaw| flaw.of(path.display()))?;
        let name = format!("{prefix}-labels-idx1-ubyte");
        let (path, bytes) = read(&self.folder, &name, 8 + count)?;
        let labels = mnist::labels(&bytes, count).map_err(|flaw| flaw.of(path.display()))?;
        let pixel = |byte: u8| {
            if self.binary { f32::from(u8::from(byte >= 128)) } else { f32::from(byte) / 255.0 }
        };
        Ok(Examples {
            shape: SHAPE,
            pixels: images.iter().copied().map(pixel).collect(),
            labels: labels.iter().copied().map(u32::from).collect(),
        })
    }
}

/// Reads the file `NAME` or `NAME.gz` of at most `most` bytes. Returns its path too.
fn read(folder: &Path, name: &str, most: usize) -> Result<(PathBuf, Vec<u8>), DataError> {
    let plain = folder.join(name);
    let path = if plain.exists() { plain } else { folder.join(format!("{name}.gz")) };
    let bytes = read_file(&path, most as u64)?;
    Ok((path, bytes))
}
