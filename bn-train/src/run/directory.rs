//! The folders of one run, and the one process that may change them.
//!
//! A run grows in `<arm>/.seed-0.partial`, and moves to `<arm>/seed-0` when it is a result: finished or diverged. A run
//! that was interrupted, failed or killed stays partial; the next `run` goes on from its last checkpoint. Whoever changes
//! any of this holds `<arm>/.seed-0.lock`.
//!
//! To replace an older result takes two moves: the older one becomes `.seed-0.replaced`, then the partial one takes its
//! name. A process may be killed between any two steps: [`RunDirectory::take`] completes what the last owner had begun.

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

/// Bytes that a run in progress holds for its last words, should the disk be full: status and log.
const RESERVE_BYTES: usize = 16 * 1024;
const RESERVE: &str = ".reserve";

/// The folders of one run, owned by this process for as long as this lives.
#[derive(Debug)]
pub struct RunDirectory {
    complete: PathBuf,
    partial: PathBuf,
    replaced: PathBuf,
    _lock: Lock,
}

/// What an earlier program left of a run, in one folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Earlier {
    /// How it stands or ended; none where the file is missing or damaged.
    pub status: Option<Status>,
    /// Its settings; none where the file is missing or damaged.
    pub config: Option<RunConfig>,
    /// Whether it has a checkpoint to go on from.
    pub has_checkpoint: bool,
}

/// The lock of whoever trains the run whose results go to `complete`.
pub fn lock_of(complete: &Path) -> PathBuf {
    sibling(complete, "lock")
}

impl RunDirectory {
    /// Takes possession of the run that belongs at `complete`, after whoever owns it now has ended, and completes what
    /// a killed owner had begun.
    ///
    /// # Errors
    /// [`LockError`] with the process that still owns it after `patience`, or the file that cannot be changed.
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

    /// The result of the run, if there is one.
    pub fn complete(&self) -> Option<Earlier> {
        read(&self.complete)
    }

    /// What was written of it without coming to a result.
    pub fn partial(&self) -> Option<Earlier> {
        read(&self.partial)
    }

    /// Where the run grows: the folder of its files.
    pub fn folder(&self) -> &Path {
        &self.partial
    }

    /// Begins the run, with `config.toml` and the state `running`. An earlier partial run is removed.
    ///
    /// # Errors
    /// [`DirectoryError`] with the path that cannot be written.
    pub fn begin(&self, config: &str) -> Result<(), DirectoryError> {
        remove_folder(&self.partial)?;
        make_folder(&self.partial)?;
        self.reserve();
        self.write_config_and_status(config, &Status::Running)
    }

    /// Goes on with the partial run, whose state is `running` again.
    ///
    /// # Errors
    /// [`DirectoryError`] with the path that cannot be written.
    pub fn resume(&self) -> Result<(), DirectoryError> {
        self.reserve();
        write_atomic(&self.partial.join(STATUS), &Status::Running.to_json())
    }

    /// Ends the run: writes its status, and moves it to its name if it is a result.
    ///
    /// # Errors
    /// [`DirectoryError`] with what could not be written or moved; also when the run's folder or one of its files has vanished.
    pub fn close(&self, status: &Status) -> Result<(), DirectoryError> {
        self.release();
        if status.is_result() {
            self.sync_files()?;
        }
        write_atomic(&self.partial.join(STATUS), &status.to_json())?;
        if status.is_result() { self.promote() } else { Ok(()) }
    }

    /// Ends a run whose process could not: with `status`, and `log` in its `worker.log`. Begins its folder if the process
    /// had not come that far.
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

    /// Appends `text` to the run's `worker.log`; no text, no file.
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

    /// Takes the room, as far as there is some: where there is none, the first rows will say so.
    fn reserve(&self) {
        let _ = write(&self.partial.join(RESERVE), &"\n".repeat(RESERVE_BYTES));
    }

    /// Gives back the room of [`reserve`](Self::reserve).
    fn release(&self) {
        // That it is not there is no error, and any other leaves a small file behind.
        let _ = fs::remove_file(self.partial.join(RESERVE));
    }

    fn write_config_and_status(&self, config: &str, status: &Status) -> Result<(), DirectoryError> {
        write(&self.partial.join(CONFIG), config)?;
        write(&self.partial.join(STATUS), &status.to_json())
    }

    /// Makes everything written so far outlive a loss of power.
    fn sync_files(&self) -> Result<(), DirectoryError> {
        let mut paths: Vec<PathBuf> = [CONFIG, METRICS, TIMING, SCHEDULES]
            .iter()
            .map(|name| self.partial.join(name))
            .collect();
        paths.extend(Some(self.partial.join(LAYERS)).filter(|path| path.exists()));
        paths.push(self.partial.clone());
        sync_all(&paths)
    }

    /// Completes what a killed owner had begun. Each state that it can have left leads to one end.
    fn recover(&self) -> Result<(), DirectoryError> {
        for folder in [&self.partial, &self.replaced] {
            remove_trash(&sibling(folder, "trash"))?;
        }
        if is_result(&self.partial) {
            // It has ended, and was about to be moved.
            self.promote()
        } else if self.complete.exists() {
            self.remove_replaced()
        } else if self.replaced.exists() {
            rename(&self.replaced, &self.complete)
        } else {
            Ok(())
        }
    }

    /// Moves the partial run to its name. An older one there is removed when the new one has taken its place.
    fn promote(&self) -> Result<(), DirectoryError> {
        if self.complete.exists() {
            sync_all(std::slice::from_ref(&self.partial))?;
            rename(&self.complete, &self.replaced)?;
        }
        // If the machine loses power now and forgets the move, the next program makes it again.
        rename(&self.partial, &self.complete)?;
        self.remove_replaced()
    }

    /// Removes the older run; not before the new one is sure to stay.
    fn remove_replaced(&self) -> Result<(), DirectoryError> {
        if !self.replaced.exists() {
            return Ok(());
        }
        sync_all(&[self.complete.parent().unwrap_or(&self.complete).to_owned()])?;
        remove_folder(&self.replaced)
    }
}

impl Earlier {
    /// Digest of its settings, where it says one.
    pub fn digest(&self) -> Option<&str> {
        self.config.as_ref()?.provenance.as_ref()?.digest.as_deref()
    }

    /// Which version of the program began it, where it says so.
    pub fn version(&self) -> Option<String> {
        self.config.as_ref()?.provenance.as_ref()?.version.clone()
    }

    /// Whether it ended as a result.
    pub fn is_result(&self) -> bool {
        self.status.as_ref().is_some_and(Status::is_result)
    }
}

/// Where the run that belongs at `complete` lies until it is a result.
pub fn partial_path(complete: &Path) -> PathBuf {
    let name = complete.file_name().unwrap_or_default().to_string_lossy();
    complete.with_file_name(partial_dir(&name))
}

/// What lies in the folder of a run, if it is there.
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
