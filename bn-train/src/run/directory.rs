//! The directory of one run: written beside its final place, and moved there when the run ends.
//!
//! `<arm>/.seed-0.partial` becomes `<arm>/seed-0`. What stands there already gives way only to a run that ended whole
//! (finished or diverged); an interrupted or failed run takes a place that is free, or held by one of its own kind. A
//! group of rows is one write, so a process may be killed at any time and leave whole rows.

use bn_report::schema::{self, CONFIG, METRICS, MetricRow, STATUS, Status, TIMING, TimingRow};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// A file or folder that could not be written, or moved.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot {action}", path.display())]
pub struct DirectoryError {
    path: PathBuf,
    action: &'static str,
    source: io::Error,
}

fn failed<'a>(
    path: &'a Path,
    action: &'static str,
) -> impl FnOnce(io::Error) -> DirectoryError + 'a {
    move |source| DirectoryError { path: path.to_owned(), action, source }
}

/// A run directory while its run goes on.
#[derive(Debug)]
pub struct RunDirectory {
    place: PathBuf,
    metrics: Rows,
    timing: Rows,
}

impl RunDirectory {
    /// Begins the directory that will stand at `place`, with `config.toml` and the state `running`.
    ///
    /// # Errors
    /// [`DirectoryError`] with the path that cannot be written.
    pub fn create(place: &Path, config: &str) -> Result<Self, DirectoryError> {
        recover(place)?;
        let partial = partial(place);
        remove(&partial)?;
        fs::create_dir_all(&partial).map_err(failed(&partial, "make this folder"))?;
        write_whole(&partial.join(CONFIG), config)?;
        write_whole(&partial.join(STATUS), &Status::Running.to_json())?;
        Ok(Self {
            place: place.to_owned(),
            metrics: Rows::create(partial.join(METRICS), &MetricRow::HEADER)?,
            timing: Rows::create(partial.join(TIMING), &TimingRow::HEADER)?,
        })
    }

    /// Appends rows to `metrics.csv`, in one write.
    ///
    /// # Errors
    /// [`DirectoryError`], for instance when the disk is full.
    pub fn append_metrics(&mut self, rows: &[MetricRow]) -> Result<(), DirectoryError> {
        self.metrics.append(rows)
    }

    /// Appends a row to `timing.csv`, in one write.
    ///
    /// # Errors
    /// [`DirectoryError`], for instance when the disk is full.
    pub fn append_timing(&mut self, row: &TimingRow) -> Result<(), DirectoryError> {
        self.timing.append(std::slice::from_ref(row))
    }

    /// Ends the run: writes its status, and moves the directory to its place if it may stand there.
    ///
    /// # Errors
    /// [`DirectoryError`] with what could not be written or moved.
    pub fn close(self, status: &Status) -> Result<(), DirectoryError> {
        settle(&self.place, status)
    }
}

/// Ends the run whose directory belongs at `place`, where its own process can no longer do so. Without a trace of the
/// run there is nothing to do.
///
/// # Errors
/// [`DirectoryError`] with what could not be written or moved.
pub fn settle(place: &Path, status: &Status) -> Result<(), DirectoryError> {
    let partial = partial(place);
    if !partial.is_dir() {
        return Ok(());
    }
    write_whole(&partial.join(STATUS), &status.to_json())?;
    if !is_whole(status) && read_status(place).as_ref().is_some_and(is_whole) {
        return remove(&partial);
    }
    let old = sibling(place, "old");
    remove(&old)?;
    if place.exists() {
        fs::rename(place, &old).map_err(failed(place, "move this folder away"))?;
    }
    fs::rename(&partial, place).map_err(failed(place, "move the new run here"))?;
    remove(&old)
}

/// Puts back a directory that an earlier program had moved away when it was killed before moving the new one in.
fn recover(place: &Path) -> Result<(), DirectoryError> {
    let old = sibling(place, "old");
    if old.is_dir() && !place.exists() {
        fs::rename(&old, place).map_err(failed(place, "move the older run back here"))?;
    }
    Ok(())
}

/// Whether a run that ended like this is a result.
fn is_whole(status: &Status) -> bool {
    matches!(status, Status::Finished | Status::Diverged { .. })
}

fn read_status(place: &Path) -> Option<Status> {
    serde_json::from_slice(&fs::read(place.join(STATUS)).ok()?).ok()
}

fn partial(place: &Path) -> PathBuf {
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    place.with_file_name(schema::partial_dir(&name))
}

fn sibling(place: &Path, suffix: &str) -> PathBuf {
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    place.with_file_name(format!(".{name}.{suffix}"))
}

fn remove(directory: &Path) -> Result<(), DirectoryError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed(directory, "remove this folder")(error))
        }
        _ => Ok(()),
    }
}

/// Writes a file so that a reader finds the old text or the new, never a part.
///
/// # Errors
/// [`DirectoryError`] with the path.
pub fn write_whole(path: &Path, text: &str) -> Result<(), DirectoryError> {
    let temporary = sibling(path, "new");
    fs::write(&temporary, text).map_err(failed(path, "write this file"))?;
    fs::rename(&temporary, path).map_err(failed(path, "write this file"))
}

/// A CSV file that grows by whole rows.
#[derive(Debug)]
struct Rows {
    path: PathBuf,
    file: File,
}

impl Rows {
    fn create(path: PathBuf, header: &[&str]) -> Result<Self, DirectoryError> {
        let file = File::create(&path).map_err(failed(&path, "write this file"))?;
        let mut rows = Self { path, file };
        rows.write(format!("{}\n", header.join(",")).as_bytes())?;
        Ok(rows)
    }

    fn append<R: serde::Serialize>(&mut self, rows: &[R]) -> Result<(), DirectoryError> {
        let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
        let text = rows.iter().try_for_each(|row| writer.serialize(row)).map_err(io::Error::other);
        let text = text.and_then(|()| writer.into_inner().map_err(|error| error.into_error()));
        let text = text.map_err(failed(&self.path, "write rows"))?;
        self.write(&text)
    }

    /// One call of the system, unless it is interrupted: what a killed process leaves ends with a row.
    fn write(&mut self, text: &[u8]) -> Result<(), DirectoryError> {
        self.file.write_all(text).map_err(failed(&self.path, "write rows"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run that leaves `mark` in its config and ends with `status`.
    fn run(place: &Path, mark: &str, status: Status) {
        RunDirectory::create(place, mark).unwrap().close(&status).unwrap();
    }

    fn mark(place: &Path) -> String {
        fs::read_to_string(place.join(CONFIG)).unwrap()
    }

    fn diverged() -> Status {
        Status::Diverged { step: 1, reason: "loss".into() }
    }

    #[test]
    fn only_a_whole_run_replaces_a_whole_run() {
        let failed = || Status::Failed { error: "x".into() };
        for (first, second, left) in [
            (Status::Finished, Status::Finished, "second"),
            (Status::Finished, diverged(), "second"),
            (Status::Finished, Status::Interrupted, "first"),
            (diverged(), failed(), "first"),
            (Status::Interrupted, Status::Interrupted, "second"),
            (failed(), Status::Interrupted, "second"),
            (Status::Interrupted, Status::Finished, "second"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let place = folder.path().join("arm/seed-0");
            run(&place, "first", first.clone());
            run(&place, "second", second.clone());
            assert_eq!(mark(&place), left, "{first:?} then {second:?}");
            let names: Vec<_> = fs::read_dir(place.parent().unwrap())
                .unwrap()
                .map(|e| e.unwrap().file_name())
                .collect();
            assert_eq!(names, ["seed-0"], "nothing else is left behind");
        }
    }

    #[test]
    fn rows_are_whole_while_the_run_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("arm/seed-0");
        let mut directory = RunDirectory::create(&place, "").unwrap();
        let row = TimingRow { step: 3, seconds: Some(0.5), examples_per_second: None };
        directory.append_timing(&row).unwrap();
        let text = fs::read_to_string(partial(&place).join(TIMING)).unwrap();
        assert_eq!(text, "step,seconds,examples_per_second\n3,0.5,\n");
        assert!(!place.exists());
        settle(&place, &Status::Interrupted).unwrap();
        assert_eq!(read_status(&place), Some(Status::Interrupted));
    }

    #[test]
    fn a_run_that_was_moved_away_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("seed-0");
        run(&place, "first", Status::Finished);
        fs::rename(&place, sibling(&place, "old")).unwrap();
        run(&place, "second", Status::Interrupted);
        assert_eq!(mark(&place), "first");
    }

    #[test]
    fn errors_name_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = RunDirectory::create(&file.join("seed-0"), "").unwrap_err().to_string();
        assert!(error.contains("file"), "{error}");
    }
}
