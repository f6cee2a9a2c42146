//! A folder with a subfolder of images per class.

use super::super::bytes::read_plain;
use super::super::formats::image::{self, Image};
use super::super::{At, DataError, Dataset, Examples, ImageShape, Provider};
use super::{Shares, path, provider};
use crate::keys::{Keys, Kind};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Maximum bytes of an image file.
const MOST: u64 = 1 << 26;
/// Maximum number of values of all images: 2 GiB.
const MOST_PIXELS: usize = 1 << 29;
const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];

/// `data.name = "images"`.
pub(in super::super) fn kind() -> Kind<Arc<dyn Provider>> {
    let about = "your own images, all of the same size: a folder of PNG or JPEG files per class";
    Kind::new("images", about, |keys: &mut Keys<'_>| {
        let about = "the folder, relative to this file; it contains a folder per class, or folders train and test with one per class";
        let path = path(keys, about, "my-images");
        let shares = Shares::read(keys);
        let (path, shares) = (path?, shares?);
        provider(keys, &path, &format!("images {shares:?}"), || load(&path, shares))
    })
}

fn load(path: &Path, shares: Shares) -> Result<Dataset, DataError> {
    let (train, test) = (path.join("train"), path.join("test"));
    let (root, test) =
        if train.is_dir() && test.is_dir() { (train, Some(test)) } else { (path.to_owned(), None) };
    let classes = names(&root)?;
    if classes.len() < 2 {
        let problem = format!("{} folders; expected at least two, one per class", classes.len());
        return Err(DataError::malformed(root.display(), At::File, problem));
    }
    let mut reading = Reading::default();
    let all = reading.examples(&root, &classes)?;
    let test = test.map(|test| reading.examples(&test, &classes)).transpose()?;
    shares.divide(&all, test, classes.len(), path)
}

/// Names of the folders in `folder`, sorted.
fn names(folder: &Path) -> Result<Vec<String>, DataError> {
    let inside = inside(folder)?;
    let folders = inside.iter().filter(|path| path.is_dir());
    Ok(folders.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
}

fn inside(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut inside = Vec::new();
    for entry in fs::read_dir(folder).map_err(DataError::read(folder))? {
        inside.push(entry.map_err(DataError::read(folder))?.path());
    }
    inside.sort();
    Ok(inside)
}

/// The state of reading: the first image fixes the shape of all others.
#[derive(Default)]
struct Reading {
    first: Option<(ImageShape, PathBuf)>,
    pixels: usize,
}

impl Reading {
    fn examples(&mut self, root: &Path, classes: &[String]) -> Result<Examples, DataError> {
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for (label, class) in classes.iter().enumerate() {
            for path in inside(&root.join(class))?.into_iter().filter(|path| is_image(path)) {
                let image = self.image(&path)?;
                pixels.extend(image.bytes.into_iter().map(|byte| f32::from(byte) / 255.0));
                labels.push(label as u32);
            }
        }
        match &self.first {
            Some((shape, _)) if !labels.is_empty() => {
                Ok(Examples { shape: *shape, pixels, labels })
            }
            _ => {
                let problem =
                    format!("no images; expected files that end with {}", ENDINGS.join(", "));
                Err(DataError::malformed(root.display(), At::File, problem))
            }
        }
    }

    fn image(&mut self, path: &Path) -> Result<Image, DataError> {
        let bytes = read_plain(path, MOST)?;
        let image = image::parse(&bytes).map_err(|flaw| flaw.of(path.display()))?;
        let (shape, first) = self.first.get_or_insert_with(|| (image.shape, path.to_owned()));
        let wrong = |problem| Err(DataError::malformed(path.display(), At::File, problem));
        if image.shape != *shape {
            let [found, wanted] =
                [image.shape, *shape].map(|ImageShape { channels, height, width }| {
                    format!("{channels}x{height}x{width}")
                });
            return wrong(format!("shape {found}; expected {wanted} as in {}", first.display()));
        }
        self.pixels += image.bytes.len();
        if self.pixels > MOST_PIXELS {
            return wrong(format!("the images up to this one have more than {MOST_PIXELS} values"));
        }
        Ok(image)
    }
}

fn is_image(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}
