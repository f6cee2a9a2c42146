//! File system steps: each happens completely or not at all, and each error names its path.
//!
//! A run's folder is changed only through these steps, so a test can stop the program between any two of them and check
//! that the next one recovers.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// A file or folder that could not be read, written or moved.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot {action}", path.display())]
pub struct DirectoryError {
    path: PathBuf,
    action: &'static str,
    source: io::Error,
}

impl DirectoryError {
    /// `action` on `path` failed. The message reads "cannot {action}".
    pub(crate) fn new(path: &Path, action: &'static str, source: io::Error) -> Self {
        Self { path: path.to_owned(), action, source }
    }
}

/// Performs one step, unless a test simulates a crash before it.
pub(super) fn step<T>(
    path: &Path,
    action: &'static str,
    operation: impl FnOnce() -> io::Result<T>,
) -> Result<T, DirectoryError> {
    crash::point()
        .and_then(|()| operation())
        .map_err(|source| DirectoryError::new(path, action, source))
}

/// Creates a folder and its parents if they are missing.
pub(super) fn make_folder(path: &Path) -> Result<(), DirectoryError> {
    step(path, "create this folder", || fs::create_dir_all(path))
}

/// Moves a folder to an unused name.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), DirectoryError> {
    step(from, "move this folder", || fs::rename(from, to))
}

/// Writes a file atomically and durably: readers see the old or the new text, never a part, even after a power failure.
///
/// # Errors
/// [`DirectoryError`] with the path.
pub fn write_atomic(path: &Path, text: &str) -> Result<(), DirectoryError> {
    let temporary = sibling(path, "new");
    let written = step(path, "write this file", || {
        let mut file = File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    let written =
        written.and_then(|()| step(path, "write this file", || fs::rename(&temporary, path)));
    if written.is_err() {
        // A partial file is useless and takes space on a full disk.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Writes or overwrites a file, without syncing it.
pub(super) fn write(path: &Path, text: &str) -> Result<(), DirectoryError> {
    step(path, "write this file", || fs::write(path, text))
}

/// Syncs files and folders to disk, in parallel because each one waits for the disk.
pub(super) fn sync_all(paths: &[PathBuf]) -> Result<(), DirectoryError> {
    step(paths.first().map_or(Path::new(""), PathBuf::as_path), "sync this", || Ok(()))?;
    std::thread::scope(|scope| {
        let threads: Vec<_> = paths.iter().map(|path| scope.spawn(|| sync(path))).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(synced) => synced,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

fn sync(path: &Path) -> Result<(), DirectoryError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| DirectoryError::new(path, "sync this", error))
}

/// Removes a folder if it exists. Renames it first, so that a half-removed folder is never seen under its own name.
pub(super) fn remove_folder(path: &Path) -> Result<(), DirectoryError> {
    if !path.exists() {
        return Ok(());
    }
    let trash = sibling(path, "trash");
    remove_trash(&trash)?;
    rename(path, &trash)?;
    remove_trash(&trash)
}

/// Removes a folder that was renamed for removal.
pub(super) fn remove_trash(trash: &Path) -> Result<(), DirectoryError> {
    if !trash.exists() {
        return Ok(());
    }
    let entries =
        step(trash, "read this folder", || fs::read_dir(trash)?.collect::<Result<Vec<_>, _>>())?;
    for entry in entries {
        let path = entry.path();
        if path.is_dir() {
            remove_trash(&path)?;
        } else {
            step(&path, "remove this file", || fs::remove_file(&path))?;
        }
    }
    step(trash, "remove this folder", || fs::remove_dir(trash))
}

/// `.<name>.<suffix>` in the folder of `path`.
pub(super) fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{}.{suffix}", name.trim_start_matches('.')))
}

#[cfg(not(test))]
mod crash {
    pub(super) fn point() -> std::io::Result<()> {
        Ok(())
    }
}

/// Simulates a crash after a number of steps: every later step fails.
#[cfg(test)]
pub(crate) mod crash {
    use std::cell::Cell;
    use std::io;

    thread_local! {
        static STEPS_LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    }

    pub(super) fn point() -> io::Result<()> {
        match STEPS_LEFT.get() {
            Some(0) => Err(io::Error::other("the program is dead")),
            left => {
                STEPS_LEFT.set(left.map(|left| left - 1));
                Ok(())
            }
        }
    }

    /// Runs `work`, crashing after `steps` steps. Returns whether it completed.
    pub(crate) fn after<E>(steps: usize, work: impl FnOnce() -> Result<(), E>) -> bool {
        STEPS_LEFT.set(Some(steps));
        let done = work().is_ok();
        STEPS_LEFT.set(None);
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_old_or_new_after_each_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for steps in 0.. {
            fs::write(&path, "old").unwrap();
            let is_done = crash::after(steps, || write_atomic(&path, "new"));
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!(text, if is_done { "new" } else { "old" }, "after {steps} steps");
            if is_done {
                assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
                break;
            }
        }
    }

    #[test]
    fn folder_is_complete_or_gone_after_each_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seed-0");
        for steps in 0.. {
            fs::create_dir_all(path.join("inner")).unwrap();
            fs::write(path.join("a"), "").unwrap();
            fs::write(path.join("inner/b"), "").unwrap();
            let is_done = crash::after(steps, || remove_folder(&path));
            if path.exists() {
                assert!(path.join("a").exists() && path.join("inner/b").exists());
            }
            if is_done {
                assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
                break;
            }
        }
    }
}
