//! Files put in place whole: all are written under a temporary name first, and only then renamed.
//!
//! Whatever goes wrong before the last byte is written, what stood there before stands there still.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Writes every file or, where one cannot be written, none.
///
/// Directories that are missing are made. The last file is renamed last, so it should be the one that needs the others.
///
/// # Errors
/// [`Error::Write`] with the path that could not be written.
pub fn write_all(files: &[(PathBuf, Vec<u8>)]) -> Result<()> {
    let mut written = Temporaries(Vec::new());
    for (path, bytes) in files {
        if path.is_dir() {
            let source = std::io::Error::new(std::io::ErrorKind::IsADirectory, "it is a directory");
            return Err(Error::write(path, source));
        }
        let parent =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(|error| Error::write(parent, error))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = parent.join(format!(".{name}.{}.tmp", std::process::id()));
        written.0.push(temporary.clone());
        fs::write(&temporary, bytes).map_err(|error| Error::write(path, error))?;
    }
    for ((path, _), temporary) in files.iter().zip(&written.0) {
        fs::rename(temporary, path).map_err(|error| Error::write(path, error))?;
    }
    Ok(())
}

/// Removes what is left under a temporary name.
struct Temporaries(Vec<PathBuf>);

impl Drop for Temporaries {
    fn drop(&mut self) {
        for path in &self.0 {
            // Most have been renamed by now; one that cannot be removed harms nobody.
            drop(fs::remove_file(path));
        }
    }
}
