//! Downloads data sets: each file to the byte, or not at all.
//!
//! A file grows under the name `.NAME.partial`; a download that broke off goes on where it stopped. It takes its own name
//! when its length and its SHA-256 are right, and was synced to the disk.

mod archive;
mod download;
mod manifest;

pub use manifest::{Downloadable, Member, RemoteFile, downloadable};

use std::fs;
use std::path::{Path, PathBuf};

/// Why a data set was not downloaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// A file or folder here.
    #[error("{}: cannot {action}", path.display())]
    Disk {
        /// Which.
        path: PathBuf,
        /// What failed.
        action: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// No address gave the file; the reason of each.
    #[error("cannot download {name}:\n  {}", reasons.join("\n  "))]
    Unreachable {
        /// The file.
        name: String,
        /// By address.
        reasons: Vec<String>,
    },
    /// An archive that does not hold what it should.
    #[error("{}: {problem}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What was found and what was expected.
        problem: String,
    },
}

impl FetchError {
    fn disk<'a>(path: &'a Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self + 'a {
        move |source| Self::Disk { path: path.to_owned(), action, source }
    }
}

/// Hears how a download goes.
pub trait Watcher {
    /// A file of this length, where that is known, begins; so many bytes of it are there already.
    fn begin(&mut self, name: &str, bytes: Option<u64>, there: u64);
    /// So many bytes of the file are there now.
    fn at(&mut self, there: u64);
    /// The file is complete, or was before.
    fn done(&mut self, name: &str, was_there: bool);
    /// What a user should know, for instance that a connection broke off.
    fn note(&mut self, text: &str);
}

/// Downloads what is missing of `data` into `folder`, from `from` in place of its own addresses where that is given.
///
/// # Errors
/// [`FetchError`]. What was downloaded so far stays, and the next call goes on from there.
pub fn fetch(
    data: &Downloadable,
    folder: &Path,
    from: Option<&str>,
    watcher: &mut dyn Watcher,
) -> Result<(), FetchError> {
    fs::create_dir_all(folder).map_err(FetchError::disk(folder, "create this folder"))?;
    let urls: Vec<String> = match from {
        Some(url) if url.ends_with('/') => vec![url.to_owned()],
        Some(url) => vec![format!("{url}/")],
        None => data.urls.clone(),
    };
    if !data.unpacked.is_empty() && archive::is_unpacked(&data.unpacked, folder) {
        data.unpacked.iter().for_each(|member| watcher.done(&member.name, true));
        return Ok(());
    }
    for file in &data.files {
        let was_there = download::is_complete(file, folder)?;
        if !was_there {
            download::download(file, &urls, folder, watcher)?;
        }
        watcher.done(&file.name, was_there);
        if !data.unpacked.is_empty() {
            let path = folder.join(&file.name);
            archive::unpack(&path, &data.unpacked, folder)?;
            fs::remove_file(&path).map_err(FetchError::disk(&path, "remove this archive"))?;
        }
    }
    Ok(())
}
