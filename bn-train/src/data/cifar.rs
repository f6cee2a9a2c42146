//! The binary versions of CIFAR-10 and CIFAR-100.

use super::bytes::read_plain;
use super::fetch::sums;
use super::formats::cifar::{Labels, Records, SHAPE};
use super::selection::Selection;
use super::{At, DataError, Dataset, Description, Examples, Provider, folder};
use crate::keys::{Key, Keys, Kind, words};
use std::path::PathBuf;
use std::sync::Arc;

const TRAIN: usize = 50_000;

/// The files of one data set.
#[derive(Debug)]
struct Cifar {
    name: &'static str,
    folder: PathBuf,
    train: &'static [&'static str],
    test: &'static str,
    labels: Labels,
    selection: Selection,
}

const TEN: [&str; 5] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
];
const FINE: Labels = Labels { count: 2, taken: 1, classes: 100 };
const COARSE: Labels = Labels { count: 2, taken: 0, classes: 20 };

/// `data.name = "cifar-10"`.
pub(super) fn ten() -> Kind<Arc<dyn Provider>> {
    let about = "60,000 photographs of 3x32x32 pixels in 10 classes (Krizhevsky 2009); `bn-train data fetch cifar-10`";
    Kind::new("cifar-10", about, |keys: &mut Keys<'_>| {
        let (folder, selection) = (folder::read(keys, "cifar-10"), Selection::read(keys, 5000));
        Some(Arc::new(Cifar {
            name: "cifar-10",
            folder: folder?,
            train: &TEN,
            test: "test_batch.bin",
            labels: Labels { count: 1, taken: 0, classes: 10 },
            selection: selection?,
        }) as Arc<dyn Provider>)
    })
}

/// `data.name = "cifar-100"`.
pub(super) fn hundred() -> Kind<Arc<dyn Provider>> {
    let about = "60,000 photographs of 3x32x32 pixels in 100 classes (Krizhevsky 2009); `bn-train data fetch cifar-100`";
    Kind::new("cifar-100", about, |keys: &mut Keys<'_>| {
        let folder = folder::read(keys, "cifar-100");
        let labels = words(&[("fine", FINE, "100 classes"), ("coarse", COARSE, "20 superclasses")]);
        let labels = keys.with_default(Key::new("labels", labels, "which labels to use"), FINE);
        let selection = Selection::read(keys, 5000);
        Some(Arc::new(Cifar {
            name: "cifar-100",
            folder: folder?,
            train: &["train.bin"],
            test: "test.bin",
            labels: labels?,
            selection: selection?,
        }) as Arc<dyn Provider>)
    })
}

impl Provider for Cifar {
    fn describe(&self) -> Description {
        let classes = usize::from(self.labels.classes);
        Description { shape: SHAPE, classes, train: self.selection.train(TRAIN) }
    }

    fn load(&self) -> Result<Dataset, DataError> {
        folder::expect(&self.folder, self.name)?;
        let train = self.examples(self.train, TRAIN)?;
        let test = self.examples(&[self.test], 10_000)?;
        let classes = usize::from(self.labels.classes);
        self.selection.divide(&train, test, classes, self.folder.display())
    }
}

impl Cifar {
    /// Reads `count` examples from the files `names`.
    fn examples(&self, names: &[&str], count: usize) -> Result<Examples, DataError> {
        let size = self.labels.count + SHAPE.pixels();
        let in_each = count / names.len();
        let mut records = Records::default();
        for name in names {
            let path = self.folder.join(name);
            let bytes = read_plain(&path, (in_each * size) as u64)?;
            if bytes.len() != in_each * size {
                let problem = format!("{} bytes; expected {}", bytes.len(), in_each * size);
                return Err(DataError::malformed(path.display(), At::File, problem));
            }
            sums::check(&self.folder, name, &bytes)?;
            records.read(&bytes, self.labels).map_err(|flaw| flaw.of(path.display()))?;
        }
        Ok(Examples {
            shape: SHAPE,
            pixels: records.images.into_iter().map(|byte| f32::from(byte) / 255.0).collect(),
            labels: records.labels.into_iter().map(u32::from).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_that_changed_since_it_was_unpacked_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let cifar = Cifar {
            name: "cifar-100",
            folder: folder.path().to_owned(),
            train: &[],
            test: "test.bin",
            labels: FINE,
            selection: Selection { examples: None, validation: 0, test: None },
        };
        let path = folder.path().join("test.bin");
        let mut bytes = vec![7; 2 * 3074];
        std::fs::write(&path, &bytes).unwrap();
        let line = format!("{}  test.bin\n", sums::of_file(&path).unwrap());
        std::fs::write(folder.path().join("bn-train.sha256"), line).unwrap();
        assert_eq!(cifar.examples(&["test.bin"], 2).unwrap().labels, [7, 7]);
        bytes[5000] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let error = cifar.examples(&["test.bin"], 2).unwrap_err().to_string();
        assert!(error.contains("test.bin: SHA-256 "), "{error}");
    }
}
