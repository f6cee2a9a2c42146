//! The folder in which a report is put together before it is moved to its place, and what a killed writer left of such a folder.
//!
//! A writer holds a lock on its folder, which the system lifts when the process ends, however it ends: a folder whose lock can be had
//! belongs to nobody any more.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

const PREFIX: &str = ".report.";
const SUFFIX: &str = ".tmp";
/// In a scratch folder: what stood in place before, while the new files are moved there.
pub(super) const OLD: &str = "old";

/// A folder for what is not in place yet; gone with all that is left in it when dropped.
pub(super) struct Scratch {
    pub(super) path: PathBuf,
    /// Open for as long as the folder is used; none where the file system has no locks.
    _lock: Option<File>,
}

impl Scratch {
    /// A new folder in `folder`; those that killed writers left there are removed.
    pub(super) fn new(folder: &Path) -> Result<Self> {
        remove_abandoned(folder);
        let mut number = 0;
        loop {
            let name = format!("{PREFIX}{}-{number}{SUFFIX}", std::process::id());
            let path = folder.join(name);
            match fs::create_dir(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    number += 1;
                    continue;
                }
                Err(error) => return Err(Error::write(&path, error)),
            }
            let lock = File::open(&path).and_then(|file| file.lock().map(|()| file)).ok();
            // Before it was locked, somebody who cleans up may have removed it.
            if path.is_dir() {
                return Ok(Self { path, _lock: lock });
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed harms nobody, and the next writer tries again.
        drop(fs::remove_dir_all(&self.path));
    }
}

/// Removes the scratch folders in `folder` whose writers are gone. What such a writer had moved away and not yet replaced is moved
/// back.
fn remove_abandoned(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()).filter(|path| is_scratch(path)) {
        let Ok(file) = File::open(&path) else { continue };
        match file.try_lock() {
            Ok(()) => {
                put_back(&path.join(OLD), folder);
                drop(fs::remove_dir_all(&path));
            }
            // Somebody works there, or nobody can tell.
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
}

fn is_scratch(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with(PREFIX) && name.ends_with(SUFFIX) && path.is_dir()
}

fn put_back(old: &Path, folder: &Path) {
    for entry in fs::read_dir(old).into_iter().flatten().flatten() {
        let place = folder.join(entry.file_name());
        if place.symlink_metadata().is_err() {
            drop(fs::rename(entry.path(), place));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_killed_writer_left_is_removed_and_what_it_moved_away_is_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let left = folder.join(".report.4000000000-0.tmp");
        fs::create_dir_all(left.join(OLD)).expect("made");
        fs::create_dir(left.join("new")).expect("made");
        fs::write(left.join(OLD).join("report.html"), "old").expect("written");
        fs::write(left.join(OLD).join("summary.md"), "old").expect("written");
        fs::write(folder.join("summary.md"), "new").expect("written");
        // As an earlier version named it.
        fs::create_dir(folder.join(".report.17.tmp")).expect("made");
        fs::write(folder.join(".report.notes.tmp"), "a file of somebody's").expect("written");
        drop(Scratch::new(folder).expect("a scratch folder"));
        assert_eq!(names(folder), [".report.notes.tmp", "report.html", "summary.md"]);
        assert_eq!(fs::read_to_string(folder.join("summary.md")).expect("it"), "new");
    }

    #[test]
    fn two_writers_leave_each_other_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let one = Scratch::new(folder).expect("a scratch folder");
        fs::write(one.path.join("new"), "mine").expect("written");
        let other = Scratch::new(folder).expect("another");
        assert_ne!(one.path, other.path);
        assert!(one.path.join("new").is_file());
        drop((one, other));
        assert_eq!(names(folder), Vec::<String>::new());
    }

    #[test]
    fn writers_in_many_threads_all_get_a_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let scratch = Scratch::new(folder.path()).expect("a scratch folder");
                        fs::write(scratch.path.join("new"), "mine").expect("nobody removed it");
                    }
                });
            }
        });
        assert_eq!(names(folder.path()), Vec::<String>::new());
    }
}
