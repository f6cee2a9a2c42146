//! The folders of a run, and the lock that lets only one process change them.
//!
//! A run is written to `<arm>/.seed-0.partial` and moves to `<arm>/seed-0` once complete: finished or diverged. A run that
//! was interrupted, failed or killed stays partial, and the next `bn-train run` resumes it from its last checkpoint. A
//! process must hold `<arm>/.seed-0.lock` to change any of this.
//!
//! Replacing a complete run takes two renames: the old one becomes `.seed-0.replaced`, then the partial one takes its
//! name. A process may be killed between any two steps; [`RunDirectory::take`] completes what the last owner began.

use super::checkpoint::Checkpoints;
use super::files::{
    DirectoryError, make_folder, remove_folder, remove_trash, rename, sibling, sync_all, write,
    write_atomic,
};
use super::lock::{Lock, LockError};
use bn_report::schema::{
    CHECKPOINTS, CONFIG, LAYERS, METRICS, RunConfig, SCHEDULES, STATUS, Status, TIMING, WORKER_LOG,
    partial_dir,
};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes reserved on disk so that a run can still write its status and log when the disk is full.
const RESERVE_BYTES: usize = 16 * 1024;
const RESERVE: &str = ".reserve";

/// The folders of one run, owned by this process until dropped.
#[derive(Debug)]
pub struct RunDirectory {
    complete: PathBuf,
    partial: PathBuf,
    replaced: PathBuf,
    _lock: Lock,
}

/// What an earlier process left of a run, in one folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Earlier {
    /// Its status; `None` if the file is missing or damaged.
    pub status: Option<Status>,
    /// Its settings; `None` if the file is missing or damaged.
    pub config: Option<RunConfig>,
    /// Whether it has a checkpoint to resume from.
    pub has_checkpoint: bool,
}

/// Path of the lock of the run whose final folder is `complete`.
pub fn lock_of(complete: &Path) -> PathBuf {
    sibling(complete, "lock")
}

impl RunDirectory {
    /// Locks the run whose final folder is `complete`, waiting for its current owner to exit, and completes what a killed
    /// owner began.
    ///
    /// # Errors
    /// [`LockError`] with the process that still owns the run after `patience`, or the file that cannot be changed.
    pub fn take(complete: &Path, patience: Duration) -> Result<Self, LockError> {
        if let Some(arm) = complete.parent() {
            make_folder(arm)?;
        }
        let directory = Self {
            complete: complete.to_owned(),
            partial: partial_path(complete),
            replaced: sibling(complete, "replaced"),
            _lock: Lock::acquire(&lock_of(complete), patience)?,
        };
        directory.recover()?;
        Ok(directory)
    }

    /// The complete run, if there is one.
    pub fn complete(&self) -> Option<Earlier> {
        read(&self.complete)
    }

    /// The partial run, if there is one.
    pub fn partial(&self) -> Option<Earlier> {
        read(&self.partial)
    }

    /// The folder that a run in progress writes to.
    pub fn folder(&self) -> &Path {
        &self.partial
    }

    /// Begins the run: removes an earlier partial run, and writes `config.toml` and the status `running`.
    ///
    /// # Errors
    /// [`DirectoryError`] with the path that cannot be written.
    pub fn begin(&self, config: &str) -> Result<(), DirectoryError> {
        remove_folder(&self.partial)?;
        make_folder(&self.partial)?;
        self.reserve();
        self.write_config_and_status(config, &Status::Running)
    }

    /// Resumes the partial run: sets its status to `running` again.
    ///
    /// # Errors
    /// [`DirectoryError`] with the path that cannot be written.
    pub fn resume(&self) -> Result<(), DirectoryError> {
        self.reserve();
        write_atomic(&self.partial.join(STATUS), &Status::Running.to_json())
    }

    /// Ends the run: writes its status, and moves it to its final folder if it is complete.
    ///
    /// # Errors
    /// [`DirectoryError`] with the path that could not be written or moved, also if the run's folder or one of its files
    /// has vanished.
    pub fn close(&self, status: &Status) -> Result<(), DirectoryError> {
        self.release();
        if status.is_result() {
            self.sync_files()?;
        }
        write_atomic(&self.partial.join(STATUS), &status.to_json())?;
        if status.is_result() { self.promote() } else { Ok(()) }
    }

    /// Ends a run on behalf of a process that died: writes `status`, and appends `log` to its `worker.log`. Creates the
    /// folder if the process had not.
    ///
    /// # Errors
    /// [`DirectoryError`] with the path that cannot be written.
    pub fn close_for_another(
        &self,
        config: &str,
        status: &Status,
        log: &str,
    ) -> Result<(), DirectoryError> {
        make_folder(&self.partial)?;
        self.release();
        self.log(log)?;
        if self.partial.join(CONFIG).exists() {
            write_atomic(&self.partial.join(STATUS), &status.to_json())
        } else {
            self.write_config_and_status(config, status)
        }
    }

    /// Appends `text` to the run's `worker.log`. Creates no file if `text` is empty.
    ///
    /// # Errors
    /// [`DirectoryError`] with the path.
    pub fn log(&self, text: &str) -> Result<(), DirectoryError> {
        if text.is_empty() {
            return Ok(());
        }
        self.release();
        let path = self.partial.join(WORKER_LOG);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.and_then(|mut file| file.write_all(format!("{}\n", text.trim_end()).as_bytes()))
            .map_err(|error| DirectoryError::new(&path, "write this file", error))
    }

    /// Reserves disk space. Ignores failure: if the disk is full, writing the first rows reports it.
    fn reserve(&self) {
        let _ = write(&self.partial.join(RESERVE), &"\n".repeat(RESERVE_BYTES));
    }

    /// Frees the space of [`reserve`](Self::reserve).
    fn release(&self) {
        // The file may be absent; any other error only leaves a small file behind.
        let _ = fs::remove_file(self.partial.join(RESERVE));
    }

    fn write_config_and_status(&self, config: &str, status: &Status) -> Result<(), DirectoryError> {
        write(&self.partial.join(CONFIG), config)?;
        write(&self.partial.join(STATUS), &status.to_json())
    }

    /// Syncs everything written so far to disk.
    fn sync_files(&self) -> Result<(), DirectoryError> {
        let mut paths: Vec<PathBuf> = [CONFIG, METRICS, TIMING, SCHEDULES]
            .iter()
            .map(|name| self.partial.join(name))
            .collect();
        paths.extend(Some(self.partial.join(LAYERS)).filter(|path| path.exists()));
        paths.push(self.partial.clone());
        sync_all(&paths)
    }

    /// Completes what a killed owner began, from whichever state it left.
    fn recover(&self) -> Result<(), DirectoryError> {
        for folder in [&self.partial, &self.replaced] {
            remove_trash(&sibling(folder, "trash"))?;
        }
        if is_result(&self.partial) {
            // The run is complete but was not moved yet.
            self.promote()
        } else if self.complete.exists() {
            self.remove_replaced()
        } else if self.replaced.exists() {
            rename(&self.replaced, &self.complete)
        } else {
            Ok(())
        }
    }

    /// Moves the partial run to its final folder, then removes an older run that was there.
    fn promote(&self) -> Result<(), DirectoryError> {
        if self.complete.exists() {
            sync_all(std::slice::from_ref(&self.partial))?;
            rename(&self.complete, &self.replaced)?;
        }
        // If power fails and the move is lost, `recover` repeats it.
        rename(&self.partial, &self.complete)?;
        self.remove_replaced()
    }

    /// Removes the older run once the new one is safely on disk.
    fn remove_replaced(&self) -> Result<(), DirectoryError> {
        if !self.replaced.exists() {
            return Ok(());
        }
        sync_all(&[self.complete.parent().unwrap_or(&self.complete).to_owned()])?;
        remove_folder(&self.replaced)
    }
}

impl Earlier {
    /// Digest of its settings, if recorded.
    pub fn digest(&self) -> Option<&str> {
        self.config.as_ref()?.provenance.as_ref()?.digest.as_deref()
    }

    /// Version of the program that began it, if recorded.
    pub fn version(&self) -> Option<String> {
        self.config.as_ref()?.provenance.as_ref()?.version.clone()
    }

    /// Whether it is complete: finished or diverged.
    pub fn is_result(&self) -> bool {
        self.status.as_ref().is_some_and(Status::is_result)
    }
}

/// Path of the partial run whose final folder is `complete`.
pub fn partial_path(complete: &Path) -> PathBuf {
    let name = complete.file_name().unwrap_or_default().to_string_lossy();
    complete.with_file_name(partial_dir(&name))
}

/// Reads what is in the folder of a run; `None` if there is no folder.
pub fn read(folder: &Path) -> Option<Earlier> {
    if !folder.is_dir() {
        return None;
    }
    let config = fs::read_to_string(folder.join(CONFIG)).ok();
    Some(Earlier {
        status: read_status(folder),
        config: config.and_then(|text| toml::from_str(&text).ok()),
        has_checkpoint: Checkpoints::new(folder.join(CHECKPOINTS), 1)
            .steps()
            .is_ok_and(|steps| !steps.is_empty()),
    })
}

fn read_status(folder: &Path) -> Option<Status> {
    serde_json::from_slice(&fs::read(folder.join(STATUS)).ok()?).ok()
}

fn is_result(folder: &Path) -> bool {
    read_status(folder).as_ref().is_some_and(Status::is_result)
}

#[cfg(test)]
mod tests;
