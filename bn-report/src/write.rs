//! A report put in place whole: everything is written into a new folder beside it first, and only then moved to its place.
//!
//! Whatever goes wrong before the last byte is written, what stood there before stands there still. Where moving fails, what was
//! moved is moved back; what a killed writer leaves, the next one puts right. Charts of an earlier report that are not in the new
//! one are gone.

mod scratch;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use self::scratch::{OLD, Scratch};
use crate::error::{Error, Result};
use crate::schema::CHARTS;

/// In the folder of charts: the names of the files that a report put there, one a line.
const CHARTS_LIST: &str = ".bn-report";

/// A report, ready to be written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// Files beside the page, by name; the page last.
    pub beside: Vec<(String, Vec<u8>)>,
    /// Files of the folder of charts, by name.
    pub charts: Vec<(String, Vec<u8>)>,
}

impl Files {
    /// The paths that [`Files::write`] writes to, the page last.
    pub fn paths(&self, folder: &Path) -> Vec<PathBuf> {
        let charts = self.charts.iter().map(|(name, _)| folder.join(CHARTS).join(name));
        charts.chain(self.beside.iter().map(|(name, _)| folder.join(name))).collect()
    }

    /// Writes every file into `folder`, which is made where it is missing, or where one cannot be written, none.
    ///
    /// A file of the folder of charts that no report put there stays.
    ///
    /// # Errors
    /// [`Error::Render`] where two files would have one name, [`Error::Write`] with the path that could not be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        self.check_names()?;
        for (name, _) in &self.beside {
            let path = folder.join(name);
            if path.is_dir() {
                let source = io::Error::new(io::ErrorKind::IsADirectory, "it is a directory");
                return Err(Error::write(&path, source));
            }
        }
        fs::create_dir_all(folder).map_err(|error| Error::write(folder, error))?;
        let scratch = Scratch::new(folder)?;
        let (new, old) = (scratch.path.join("new"), scratch.path.join(OLD));
        let charts = new.join(CHARTS);
        for path in [&new, &old, &charts] {
            fs::create_dir(path).map_err(|error| Error::write(path, error))?;
        }
        let mut list = String::new();
        for (name, bytes) in &self.charts {
            write(&charts.join(name), bytes)?;
            list += &format!("{name}\n");
        }
        write(&charts.join(CHARTS_LIST), list.as_bytes())?;
        keep_foreign_files(&folder.join(CHARTS), &charts)?;
        for (name, bytes) in &self.beside {
            write(&new.join(name), bytes)?;
        }
        let names =
            std::iter::once(CHARTS).chain(self.beside.iter().map(|(name, _)| name.as_str()));
        swap(folder, &new, &old, &names.collect::<Vec<_>>())
    }

    /// Writes one file, whole or not at all.
    ///
    /// # Errors
    /// As [`Files::write`].
    pub fn write_one(folder: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
        fs::create_dir_all(folder).map_err(|error| Error::write(folder, error))?;
        let scratch = Scratch::new(folder)?;
        let new = scratch.path.join("new");
        write(&new, bytes)?;
        fs::rename(&new, path).map_err(|error| Error::write(path, error))
    }

    fn check_names(&self) -> Result<()> {
        let (mut beside, mut charts) = (BTreeSet::from([CHARTS]), BTreeSet::from([CHARTS_LIST]));
        let twice = self.beside.iter().find(|(name, _)| !beside.insert(name));
        let twice = twice.or(self.charts.iter().find(|(name, _)| !charts.insert(name)));
        match twice {
            None => Ok(()),
            Some((name, _)) => {
                let message = format!("two files would have the name {name:?}");
                Err(Error::Render { file: CHARTS, message })
            }
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(|error| Error::write(path, error))
}

/// Copies what somebody else put into the folder of charts; of a report before there were lists, every picture is the report's.
fn keep_foreign_files(folder: &Path, new: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    let list = fs::read_to_string(folder.join(CHARTS_LIST)).ok();
    let is_ours = |path: &Path| {
        let name = path.file_name().unwrap_or_default();
        match &list {
            Some(list) => name == CHARTS_LIST || list.lines().any(|line| name == line),
            None => path.extension().is_some_and(|extension| extension == "svg"),
        }
    };
    for entry in entries {
        let path = entry.map_err(|error| Error::read(folder, error))?.path();
        let copy = new.join(path.file_name().unwrap_or_default());
        if path.is_file() && !is_ours(&path) && !copy.exists() {
            fs::copy(&path, &copy).map_err(|error| Error::write(&copy, error))?;
        } else if path.is_dir() {
            let source =
                io::Error::new(io::ErrorKind::IsADirectory, "a folder stands among the charts");
            return Err(Error::write(&path, source));
        }
    }
    Ok(())
}

/// Moves what stands in `folder` under these names to `old`, and what stands in `new` to `folder`; moves all back where one
/// cannot be moved.
fn swap(folder: &Path, new: &Path, old: &Path, names: &[&str]) -> Result<()> {
    let mut moved: Vec<(PathBuf, PathBuf)> = Vec::new();
    for (from, to) in names
        .iter()
        .map(|name| (folder.join(name), old.join(name)))
        .filter(|(from, _)| from.symlink_metadata().is_ok())
        .chain(names.iter().map(|name| (new.join(name), folder.join(name))))
        .collect::<Vec<_>>()
    {
        if let Err(error) = fs::rename(&from, &to) {
            for (from, to) in moved.iter().rev() {
                // What cannot be moved back is still in the scratch folder's place of origin: nothing more can be done.
                drop(fs::rename(to, from));
            }
            return Err(Error::write(&to, error));
        }
        moved.push((from, to));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(charts: &[&str], page: &str) -> Files {
        Files {
            beside: vec![("report.html".to_owned(), page.as_bytes().to_vec())],
            charts: charts.iter().map(|name| ((*name).to_owned(), b"<svg>".to_vec())).collect(),
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<String> =
            entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn stale_charts_go_and_foreign_files_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        files(&["a.svg", "b.svg"], "one").write(folder).expect("written");
        fs::write(folder.join("charts/mine.svg"), "mine").expect("written");
        files(&["b.svg", "c.svg"], "two").write(folder).expect("written");
        assert_eq!(names(&folder.join(CHARTS)), [".bn-report", "b.svg", "c.svg", "mine.svg"]);
        assert_eq!(fs::read_to_string(folder.join("report.html")).expect("the page"), "two");
        assert_eq!(names(folder), ["charts", "report.html"]);
    }

    #[test]
    fn two_files_of_one_name_are_refused_before_anything_is_touched() {
        let folder = tempfile::tempdir().expect("a folder");
        files(&["a.svg"], "old").write(folder.path()).expect("written");
        let error = files(&["b.svg", "b.svg"], "new").write(folder.path()).expect_err("refused");
        assert!(error.to_string().contains("\"b.svg\""), "{error}");
        assert_eq!(names(&folder.path().join(CHARTS)), [".bn-report", "a.svg"]);
        assert_eq!(fs::read_to_string(folder.path().join("report.html")).expect("the page"), "old");
    }

    #[test]
    fn what_cannot_be_moved_leaves_everything_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        files(&["a.svg"], "old").write(folder).expect("written");
        let (new, old) = (folder.join("new"), folder.join("old"));
        for path in [&new, &old] {
            fs::create_dir(path).expect("made");
        }
        fs::create_dir(new.join(CHARTS)).expect("made");
        // `report.html` is missing among the new files, so the last move fails.
        swap(folder, &new, &old, &[CHARTS, "report.html"]).expect_err("it is missing");
        assert_eq!(names(&folder.join(CHARTS)), [".bn-report", "a.svg"]);
        assert_eq!(fs::read_to_string(folder.join("report.html")).expect("the page"), "old");
        assert_eq!((names(&new), names(&old)), (vec![CHARTS.to_owned()], Vec::new()));
    }
}
