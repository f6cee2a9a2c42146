//! A lock file, held by one process at a time. The system releases the lock when the process exits, however it does.
//!
//! The file names its process, for error messages. It is removed on release but stays after a kill, so its existence does
//! not mean that the lock is held.

use super::files::DirectoryError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time between attempts to lock.
const RETRY_EVERY: Duration = Duration::from_millis(20);

/// A lock that this process holds.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    /// Open for as long as the lock is held.
    _file: File,
}

/// The process that holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    process: u32,
    host: String,
    /// Seconds since 1970.
    since: u64,
    command: String,
}

/// Why a lock could not be acquired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process holds it.
    #[error("another bn-train process is writing here{}", owner.as_ref().map_or(String::new(), |owner| format!(": {owner}")))]
    Held {
        /// The process, if the file names it.
        owner: Option<Owner>,
    },
    /// The lock file failed.
    #[error(transparent)]
    File(#[from] DirectoryError),
}

impl Lock {
    /// Waits up to `patience` for the lock.
    ///
    /// # Errors
    /// [`LockError::Held`] with the process that still holds it; [`LockError::File`] if the file system does not support
    /// locks or the file cannot be written.
    pub fn acquire(path: &Path, patience: Duration) -> Result<Self, LockError> {
        let start = Instant::now();
        loop {
            match Self::attempt(path)
                .map_err(|error| DirectoryError::new(path, "lock this file", error))?
            {
                Attempt::Got(file) => return Ok(Self { path: path.to_owned(), _file: file }),
                Attempt::Held(owner) if start.elapsed() >= patience => {
                    return Err(LockError::Held { owner });
                }
                Attempt::Held(_) => std::thread::sleep(RETRY_EVERY),
                Attempt::Removed => {}
            }
        }
    }

    fn attempt(path: &Path) -> io::Result<Attempt> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                file.read_to_string(&mut text)?;
                return Ok(Attempt::Held(serde_json::from_str(&text).ok()));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // The last holder may have removed the file after we opened it. Other processes would then lock a newer file.
        if !is_file_at(&file, path)? {
            return Ok(Attempt::Removed);
        }
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(&serde_json::to_vec(&Owner::this())?)?;
        Ok(Attempt::Got(file))
    }
}

/// Whether a process holds the lock at `path`. The check takes a shared lock for a moment.
pub fn is_held(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The lock is still held here, so no other process can own this file. If removal fails, the file does no harm.
        let _ = std::fs::remove_file(&self.path);
    }
}

enum Attempt {
    Got(File),
    Held(Option<Owner>),
    Removed,
}

/// Whether the open file is still the one at `path`.
#[cfg(unix)]
fn is_file_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let ours = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(named) => Ok((ours.dev(), ours.ino()) == (named.dev(), named.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Name of this machine, if the system provides it in a file.
fn host() -> String {
    let read = ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok());
    read.map_or_else(|| "an unnamed machine".to_owned(), |name| name.trim().to_owned())
}

impl Owner {
    fn this() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            process: std::process::id(),
            host: host(),
            since: since.as_secs(),
            command: std::env::args().collect::<Vec<_>>().join(" "),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { process, host, since, command } = self;
        let since = UNIX_EPOCH + Duration::from_secs(*since);
        let age = SystemTime::now().duration_since(since).unwrap_or_default();
        let age = indicatif::HumanDuration(age);
        write!(f, "process {process} on {host}, started {age} ago: `{command}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_process_is_refused_until_the_first_releases() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".lock");
        let first = Lock::acquire(&path, Duration::ZERO).unwrap();
        let refused = Lock::acquire(&path, Duration::from_millis(30)).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {} on ", std::process::id())), "{refused}");
        assert!(is_held(&path));
        drop(first);
        assert!(!is_held(&path));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        drop(Lock::acquire(&path, Duration::ZERO).unwrap());
    }

    #[test]
    fn lock_is_exclusive_though_holders_remove_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let (lock, inside) = (folder.path().join(".lock"), folder.path().join("inside"));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..25 {
                        let _held = Lock::acquire(&lock, Duration::from_secs(60)).unwrap();
                        File::create_new(&inside).expect("another is inside");
                        std::fs::remove_file(&inside).unwrap();
                    }
                });
            }
        });
    }

    #[test]
    fn leftover_file_of_a_killed_process_does_not_block() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".lock");
        std::fs::write(&path, "not an owner").unwrap();
        assert!(!is_held(&path));
        drop(Lock::acquire(&path, Duration::ZERO).unwrap());
    }
}
