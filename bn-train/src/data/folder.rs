//! Folders of downloaded data.

use super::{At, DataError};
use crate::keys::{Key, Keys, text};
use std::path::{Path, PathBuf};

/// `datasets/NAME` in the current directory, the default target of `bn-train data fetch NAME`.
pub fn default_folder(name: &str) -> PathBuf {
    Path::new("datasets").join(name)
}

/// Reads `path`, the folder of the files of the data set `name`.
pub(super) fn read(keys: &mut Keys<'_>, name: &str) -> Option<PathBuf> {
    let about = "folder of the files, relative to this file; datasets/NAME if absent, the default of `bn-train data fetch NAME`";
    // The data's digest identifies its contents, so the path does not affect the run's digest.
    let path =
        keys.optional(Key::new("path", text(), about).is_path().watches(), name.to_owned())?;
    Some(path.map_or_else(|| default_folder(name), PathBuf::from))
}

/// Checks that the folder of the data set `name` exists.
///
/// # Errors
/// The folder does not exist. The message says how to get the files.
pub(super) fn expect(folder: &Path, name: &str) -> Result<(), DataError> {
    if folder.is_dir() {
        return Ok(());
    }
    let problem = format!(
        "no such folder; download the files with `bn-train data fetch {name}`, or set data.path to their folder"
    );
    Err(DataError::malformed(folder.display(), At::File, problem))
}
