//! Where downloaded data lies.

use super::{At, DataError};
use crate::keys::{Key, Keys, text};
use std::path::{Path, PathBuf};

/// `datasets/NAME` in the current directory: where `bn-train data fetch NAME` puts files.
pub fn default_folder(name: &str) -> PathBuf {
    Path::new("datasets").join(name)
}

/// Reads `path`, the folder of the files of the data set `name`.
pub(super) fn read(keys: &mut Keys<'_>, name: &str) -> Option<PathBuf> {
    let about = "folder of the files, relative to this one; absent: datasets/NAME, where `bn-train data fetch NAME` puts them";
    // The digest of the data says what is there: where it is decides nothing.
    let path =
        keys.optional(Key::new("path", text(), about).is_path().watches(), name.to_owned())?;
    Some(path.map_or_else(|| default_folder(name), PathBuf::from))
}

/// The folder of the data set `name`, if it is there.
///
/// # Errors
/// Where it is not: how to get the files.
pub(super) fn expect(folder: &Path, name: &str) -> Result<(), DataError> {
    if folder.is_dir() {
        return Ok(());
    }
    let problem = format!(
        "there is no such folder; `bn-train data fetch {name}` downloads the files, data.path says where they are"
    );
    Err(DataError::malformed(folder.display(), At::File, problem))
}
