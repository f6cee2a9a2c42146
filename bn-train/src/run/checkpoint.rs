//! Checkpoints: the whole state of a run at a step, in files that are complete or not there.
//!
//! A file is written beside its place, synced and renamed, and then the folder is synced: a power failure leaves the old
//! files or the new one. What is inside is proven by a digest. The newest of the files that can be read is where a run
//! goes on; a damaged one is passed over with a warning.

mod header;

pub use header::{Best, Header};

use super::files::DirectoryError;
use crate::state::{State, StateError};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Format of a checkpoint's own values; raised when an older program could not continue from a newer file.
pub const SCHEMA: u64 = 1;

const PREFIX: &str = "step-";
const SUFFIX: &str = ".safetensors";

/// A run at one step.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// What it says of itself.
    pub header: Header,
    /// Of the trainer.
    pub state: State,
}

/// Why a checkpoint cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A file that grows with the run.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The file or folder.
    #[error("{}: cannot {action}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What failed.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
    /// What is in the file.
    #[error("{}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: StateError,
    },
    /// A file of a newer program.
    #[error("{}: it was written in format {found}; this program reads formats up to {SCHEMA}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// A file of other settings.
    #[error("{}: it belongs to the run {found}, expected {expected}", path.display())]
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

/// The steps whose files may go: all but the last `keep_last` and the best.
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
    /// The checkpoints in `folder`, of which the last `keep_last` (at least 1) and the best are kept. Nothing is read or
    /// made yet.
    pub fn new(folder: impl Into<PathBuf>, keep_last: usize) -> Self {
        Self { folder: folder.into(), keep_last: keep_last.max(1) }
    }

    /// The file of `step`.
    pub fn path(&self, step: u64) -> PathBuf {
        self.folder.join(format!("{PREFIX}{step:06}{SUFFIX}"))
    }

    /// Steps with a file, ascending. No folder is no files.
    ///
    /// # Errors
    /// [`CheckpointError::Io`] when the folder cannot be read.
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

    /// Writes a checkpoint so that it is there in whole or not at all, and then deletes what need not be kept.
    ///
    /// Whoever calls this has synced the files of [`Header::files`]: a checkpoint must not know of more than is on disk.
    ///
    /// # Errors
    /// [`CheckpointError`]; the files of before are still there then.
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
            // A part of a checkpoint is of no use, and the disk may be full.
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

    /// Makes the folder; its own entry is on disk before the first file is.
    fn make_folder(&self) -> Result<(), CheckpointError> {
        if self.folder.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(&self.folder).map_err(io_error(&self.folder, "make this folder"))?;
        self.folder.parent().map_or(Ok(()), sync_folder)
    }

    /// Beside the file's place, under a name that [`Checkpoints::steps`] does not know.
    fn unfinished_path(&self, step: u64) -> PathBuf {
        self.folder.join(format!(".{PREFIX}{step:06}{SUFFIX}.new"))
    }

    /// Deletes what a killed process had begun to write.
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

    /// The newest checkpoint that can be read and that `accept` accepts, if there is one. Others are passed over, each
    /// with a text for `warn`; `accept` says why it refuses, for instance since a file is shorter than the header says.
    ///
    /// # Errors
    /// [`CheckpointError::OtherRun`] and [`CheckpointError::Newer`]: to go on from an older file, or from the beginning,
    /// would lose the work of another run or program. [`CheckpointError::Io`] when the folder cannot be read.
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
                    warn(format!("passed over: {:#}", anyhow::Error::from(error)));
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
                Err(reason) => warn(format!("passed over: {}: {reason}", path.display())),
            }
        }
        Ok(None)
    }
}

/// The step in the name of a checkpoint's file.
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
    /// Reads one file, wherever it lies.
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
