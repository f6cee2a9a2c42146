//! Checkpoints: the complete state of a run at a step. A checkpoint file is either complete or absent.
//!
//! A file is written under a temporary name, synced and renamed, and then the folder is synced, so a power failure leaves
//! the old files or the new one. A digest protects the contents. A run resumes from the newest readable file; damaged
//! files are skipped with a warning.

mod header;

pub use header::{Best, Header};

use super::files::DirectoryError;
use crate::state::{State, StateError};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Version of the checkpoint format. Raise it when older programs cannot resume from newer files.
pub const SCHEMA: u64 = 1;

const PREFIX: &str = "step-";
const SUFFIX: &str = ".safetensors";

/// A run at one step.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Metadata of the checkpoint.
    pub header: Header,
    /// State of the trainer.
    pub state: State,
}

/// An error writing or reading a checkpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// One of the run's growing files failed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A file or folder operation failed.
    #[error("{}: cannot {action}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What failed.
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The file's contents are damaged.
    #[error("{}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: StateError,
    },
    /// The file was written by a newer program.
    #[error("{}: checkpoint format {found}; this program reads formats up to {SCHEMA}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// The file belongs to a run with other settings.
    #[error("{}: checkpoint of run {found}, expected {expected}", path.display())]
    OtherRun {
        /// The file.
        path: PathBuf,
        /// Digest of this run.
        expected: String,
        /// Digest in the file.
        found: String,
    },
}

fn io_error<'a>(
    path: &'a Path,
    action: &'static str,
) -> impl FnOnce(io::Error) -> CheckpointError + 'a {
    move |source| CheckpointError::Io { path: path.to_owned(), action, source }
}

/// The steps whose files may be deleted: all but the last `keep_last` and the best.
///
/// `saved` is ascending.
pub fn expendable(saved: &[u64], keep_last: usize, best: Option<u64>) -> Vec<u64> {
    let older = &saved[..saved.len().saturating_sub(keep_last)];
    older.iter().copied().filter(|&step| Some(step) != best).collect()
}

/// The folder of a run's checkpoints.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    keep_last: usize,
}

impl Checkpoints {
    /// The checkpoints in `folder`, which keeps the last `keep_last` (at least 1) and the best. Does not touch the disk.
    pub fn new(folder: impl Into<PathBuf>, keep_last: usize) -> Self {
        Self { folder: folder.into(), keep_last: keep_last.max(1) }
    }

    /// Path of the checkpoint of `step`.
    pub fn path(&self, step: u64) -> PathBuf {
        self.folder.join(format!("{PREFIX}{step:06}{SUFFIX}"))
    }

    /// Steps with a file, ascending. Empty if the folder does not exist.
    ///
    /// # Errors
    /// [`CheckpointError::Io`] if the folder cannot be read.
    pub fn steps(&self) -> Result<Vec<u64>, CheckpointError> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(io_error(&self.folder, "read this folder"))?,
        };
        let mut steps = Vec::new();
        for entry in entries {
            let entry = entry.map_err(io_error(&self.folder, "read this folder"))?;
            steps.extend(step_of(&entry.file_name().to_string_lossy()));
        }
        steps.sort_unstable();
        Ok(steps)
    }

    /// Writes a checkpoint atomically, then deletes the ones that are no longer kept.
    ///
    /// The caller must have synced the files in [`Header::files`]: a checkpoint must not refer to data that is not on disk.
    ///
    /// # Errors
    /// [`CheckpointError`]; earlier checkpoints are then unchanged.
    pub fn save(&self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        let Header { step, best, .. } = checkpoint.header;
        let path = self.path(step);
        let bytes = checkpoint
            .to_bytes()
            .map_err(|source| CheckpointError::State { path: path.clone(), source })?;
        self.make_folder()?;
        self.remove_unfinished()?;
        let unfinished = self.unfinished_path(step);
        let write = || {
            let mut file = File::create(&unfinished)?;
            file.write_all(&bytes)?;
            file.sync_all()
        };
        if let Err(error) = write() {
            // A partial checkpoint is useless, and the disk may be full.
            let _ = fs::remove_file(&unfinished);
            return Err(io_error(&path, "write this file")(error));
        }
        fs::rename(&unfinished, &path).map_err(io_error(&path, "move the new file here"))?;
        sync_folder(&self.folder)?;
        for step in expendable(&self.steps()?, self.keep_last, best.map(|best| best.step)) {
            let path = self.path(step);
            fs::remove_file(&path).map_err(io_error(&path, "delete this file"))?;
        }
        Ok(())
    }

    /// Creates the folder and syncs its directory entry before the first file is written.
    fn make_folder(&self) -> Result<(), CheckpointError> {
        if self.folder.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(&self.folder).map_err(io_error(&self.folder, "create this folder"))?;
        self.folder.parent().map_or(Ok(()), sync_folder)
    }

    /// Temporary path of a checkpoint, with a name that [`Checkpoints::steps`] ignores.
    fn unfinished_path(&self, step: u64) -> PathBuf {
        self.folder.join(format!(".{PREFIX}{step:06}{SUFFIX}.new"))
    }

    /// Deletes files that a killed process left unfinished.
    fn remove_unfinished(&self) -> Result<(), CheckpointError> {
        let entries =
            fs::read_dir(&self.folder).map_err(io_error(&self.folder, "read this folder"))?;
        for entry in entries {
            let path = entry.map_err(io_error(&self.folder, "read this folder"))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(&format!(".{PREFIX}")) && name.ends_with(".new") {
                fs::remove_file(&path).map_err(io_error(&path, "delete this file"))?;
            }
        }
        Ok(())
    }

    /// The newest checkpoint that can be read and that `accept` accepts, if any. Newer ones are skipped, each with a
    /// warning. `accept` returns its reason to refuse, for example that a file is shorter than the header says.
    ///
    /// # Errors
    /// [`CheckpointError::OtherRun`] and [`CheckpointError::Newer`], because resuming from an older file, or starting
    /// over, would lose the work of another run or program. [`CheckpointError::Io`] if the folder cannot be read.
    pub fn newest(
        &self,
        run_digest: &str,
        accept: &dyn Fn(&Header) -> Result<(), String>,
        warn: &mut dyn FnMut(String),
    ) -> Result<Option<Checkpoint>, CheckpointError> {
        for step in self.steps()?.into_iter().rev() {
            let path = self.path(step);
            let checkpoint = match Checkpoint::read(&path) {
                Err(error @ CheckpointError::Newer { .. }) => return Err(error),
                Err(error) => {
                    warn(format!("skipped: {:#}", anyhow::Error::from(error)));
                    continue;
                }
                Ok(checkpoint) => checkpoint,
            };
            let found = &checkpoint.header.run_digest;
            if found != run_digest {
                let (expected, found) = (run_digest.to_owned(), found.clone());
                return Err(CheckpointError::OtherRun { path, expected, found });
            }
            match accept(&checkpoint.header) {
                Ok(()) => return Ok(Some(checkpoint)),
                Err(reason) => warn(format!("skipped: {}: {reason}", path.display())),
            }
        }
        Ok(None)
    }
}

/// Parses the step in a checkpoint's file name.
fn step_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let is_number = digits.len() >= 6 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok())?
}

fn sync_folder(folder: &Path) -> Result<(), CheckpointError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(io_error(folder, "sync this folder"))
}

impl Checkpoint {
    /// Reads a checkpoint from any path.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let bytes = fs::read(path).map_err(io_error(path, "read this file"))?;
        let failed = |source| CheckpointError::State { path: path.to_owned(), source };
        let mut state = State::from_bytes(&bytes).map_err(failed)?;
        let mut header = state.take_state("checkpoint");
        let schema = header.take_whole("schema").map_err(failed)?;
        if schema > SCHEMA {
            return Err(CheckpointError::Newer { path: path.to_owned(), found: schema });
        }
        let header = Header::from_state(header).map_err(failed)?;
        Ok(Self { header, state })
    }

    fn to_bytes(&self) -> Result<Vec<u8>, StateError> {
        let mut all = self.state.clone();
        all.put_state("checkpoint", self.header.to_state());
        all.to_bytes()
    }
}

#[cfg(test)]
mod tests;
