//! Caches loaded data while it is in use, so that the arms of an experiment share it.

use super::super::{DataError, Dataset};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Loaded data by path, identity and stamp.
static KNOWN: Mutex<BTreeMap<String, Weak<Dataset>>> = Mutex::new(BTreeMap::new());

/// The data at `path`: cached if the files have not changed, otherwise loaded by `read`.
pub(super) fn get(
    path: &Path,
    identity: &str,
    read: impl FnOnce() -> Result<Dataset, DataError>,
) -> Result<Arc<Dataset>, DataError> {
    let key = format!("{identity}\n{}\n{}", path.display(), stamp(path)?);
    // Hold the lock while reading, so that arms that share the data read it once.
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(data) = known.get(&key).and_then(Weak::upgrade) {
        return Ok(data);
    }
    let data = Arc::new(read()?);
    known.retain(|_, data| data.strong_count() > 0);
    known.insert(key, Arc::downgrade(&data));
    Ok(data)
}

/// Lengths and modification times of a file or of all files in a folder, to detect changes.
fn stamp(path: &Path) -> Result<String, DataError> {
    let found = fs::metadata(path).map_err(DataError::read(path))?;
    let mut text = format!("{} {:?}\n", found.len(), found.modified().ok());
    if found.is_dir() {
        let entries = fs::read_dir(path).map_err(DataError::read(path))?;
        let mut inside = Vec::new();
        for entry in entries {
            inside.push(entry.map_err(DataError::read(path))?.path());
        }
        inside.sort();
        for entry in inside {
            text += &format!("{} {}", entry.display(), stamp(&entry)?);
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::super::{Examples, ImageShape};
    use super::*;

    fn dataset(pixel: f32) -> Dataset {
        let shape = ImageShape { channels: 1, height: 1, width: 1 };
        let part = || Examples { shape, pixels: vec![pixel], labels: vec![0] };
        Dataset::new(part(), part(), part(), 1)
    }

    #[test]
    fn file_is_read_once_while_used_and_again_when_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "1").unwrap();
        let first = get(&path, "a", || Ok(dataset(1.0))).unwrap();
        let same = get(&path, "a", || panic!("must be cached")).unwrap();
        assert!(Arc::ptr_eq(&first, &same));
        let other = get(&path, "b", || Ok(dataset(2.0))).unwrap();
        assert_eq!(other.train.pixels, [2.0]);
        fs::write(&path, "changed").unwrap();
        assert_eq!(get(&path, "a", || Ok(dataset(3.0))).unwrap().train.pixels, [3.0]);
        drop(other);
        assert_eq!(get(&path, "b", || Ok(dataset(4.0))).unwrap().train.pixels, [4.0]);
        assert!(get(&folder.path().join("none"), "a", || Ok(dataset(0.0))).is_err());
    }
}
