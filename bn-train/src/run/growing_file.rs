//! A file that grows by complete rows and can be truncated to an earlier length.

use super::files::{DirectoryError, step};
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// A file of a run in progress. Each group of rows is a single write, so after a kill the file ends with a complete row.
#[derive(Debug)]
pub struct GrowingFile {
    path: PathBuf,
    file: File,
    /// Bytes of complete rows.
    length: u64,
}

impl GrowingFile {
    /// Creates the file at `path`, starting with `head`.
    ///
    /// # Errors
    /// [`DirectoryError`] with the path.
    pub fn create(path: &Path, head: &[u8]) -> Result<Self, DirectoryError> {
        let file = step(path, "write this file", || File::create(path))?;
        let mut created = Self { path: path.to_owned(), file, length: 0 };
        created.write(head)?;
        Ok(created)
    }

    /// Reopens the file at `path`, truncated to `length` bytes.
    ///
    /// # Errors
    /// [`DirectoryError`] if the file is missing or shorter, or if `length` is 0.
    pub fn resume(path: &Path, length: u64) -> Result<Self, DirectoryError> {
        let resumed = || {
            let mut file = OpenOptions::new().read(true).write(true).open(path)?;
            let found = file.metadata()?.len();
            if found < length || length == 0 {
                let message = format!("it has {found} bytes, but its checkpoint needs {length}");
                return Err(io::Error::other(message));
            }
            file.set_len(length)?;
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        };
        let file =
            resumed().map_err(|error| DirectoryError::new(path, "resume this file", error))?;
        Ok(Self { path: path.to_owned(), file, length })
    }

    /// Length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Appends rows in one write. If it fails, for example on a full disk, none of them is kept.
    ///
    /// # Errors
    /// [`DirectoryError`] with the path, also if the file was removed.
    pub fn append_rows<R: serde::Serialize>(&mut self, rows: &[R]) -> Result<(), DirectoryError> {
        let text = to_csv(rows).map_err(|error| self.failed("write rows", error))?;
        self.append(&text)
    }

    /// Appends bytes in one write. If it fails, for example on a full disk, none of them is kept.
    ///
    /// # Errors
    /// [`DirectoryError`] with the path, also if the file was removed.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), DirectoryError> {
        // Writing to a removed file succeeds silently, and its rows would be lost.
        if !self.path.exists() {
            let error =
                io::Error::new(io::ErrorKind::NotFound, "the file was removed during the run");
            return Err(self.failed("write rows", error));
        }
        self.write(bytes)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`DirectoryError`] with the path.
    pub fn read(&self) -> Result<String, DirectoryError> {
        std::fs::read_to_string(&self.path).map_err(|error| self.failed("read this file", error))
    }

    /// Syncs all rows to disk.
    ///
    /// # Errors
    /// [`DirectoryError`] with the path.
    pub fn sync(&self) -> Result<(), DirectoryError> {
        self.file.sync_data().map_err(|error| self.failed("sync this file", error))
    }

    fn write(&mut self, text: &[u8]) -> Result<(), DirectoryError> {
        if let Err(error) = self.file.write_all(text) {
            let _ = self.file.set_len(self.length);
            let _ = self.file.seek(SeekFrom::Start(self.length));
            return Err(self.failed("write rows", error));
        }
        self.length += text.len() as u64;
        Ok(())
    }

    fn failed(&self, action: &'static str, error: io::Error) -> DirectoryError {
        DirectoryError::new(&self.path, action, error)
    }
}

/// The first line of a CSV file.
pub(super) fn csv_head(header: &[&str]) -> Vec<u8> {
    format!("{}\n", header.join(",")).into_bytes()
}

fn to_csv<R: serde::Serialize>(rows: &[R]) -> io::Result<Vec<u8>> {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    for row in rows {
        writer.serialize(row).map_err(io::Error::other)?;
    }
    writer.into_inner().map_err(csv::IntoInnerError::into_error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bn_report::schema::TimingRow;
    use std::fs;

    fn row(step: u64) -> TimingRow {
        TimingRow { step, seconds: Some(0.5), examples_per_second: None, loading_share: None }
    }

    #[test]
    fn resumed_file_equals_one_that_was_never_interrupted() {
        let folder = tempfile::tempdir().unwrap();
        let [path, other] = ["a.csv", "b.csv"].map(|name| folder.path().join(name));
        let mut file = GrowingFile::create(&path, &csv_head(&TimingRow::HEADER)).unwrap();
        file.append_rows(&[row(1)]).unwrap();
        let length = file.length();
        assert_eq!(length, fs::metadata(&path).unwrap().len());
        file.append_rows(&[row(2), row(3)]).unwrap();
        drop(file);
        let mut file = GrowingFile::resume(&path, length).unwrap();
        file.append_rows(&[row(4)]).unwrap();
        let mut straight = GrowingFile::create(&other, &csv_head(&TimingRow::HEADER)).unwrap();
        straight.append_rows(&[row(1), row(4)]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), fs::read(&other).unwrap());
        assert_eq!(file.length(), straight.length());
        assert_eq!(
            fs::read(&path).unwrap(),
            b"step,seconds,examples_per_second,loading_share\n1,0.5,,\n4,0.5,,\n"
        );
    }

    #[test]
    fn shorter_file_is_refused_and_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        let file = GrowingFile::create(&path, &csv_head(&TimingRow::HEADER)).unwrap();
        let length = file.length();
        for wrong in [0, length + 1] {
            let error = GrowingFile::resume(&path, wrong).unwrap_err().to_string();
            assert!(error.contains("a.csv"), "{error}");
            assert_eq!(fs::metadata(&path).unwrap().len(), length);
        }
    }

    #[test]
    fn appending_to_a_removed_file_fails() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        let mut file = GrowingFile::create(&path, &csv_head(&TimingRow::HEADER)).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(file.append_rows(&[row(1)]).is_err());
    }
}
