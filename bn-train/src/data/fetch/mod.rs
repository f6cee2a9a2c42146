//! Downloads data sets. Each file is either complete and verified or absent.
//!
//! A download is written to `.NAME.partial`, and resumes there if it breaks off. It gets its final name once its length and
//! SHA-256 are verified and it is synced to disk. The files of an archive are verified by the digests written when they were
//! unpacked.

mod archive;
mod download;
mod manifest;
pub(super) mod sums;

pub use manifest::{Downloadable, Member, RemoteFile, downloadable};

use std::fs;
use std::path::{Path, PathBuf};

/// Why a data set could not be downloaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// A local file operation failed.
    #[error("{}: cannot {action}", path.display())]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// What failed.
        action: &'static str,
        /// The cause.
        source: std::io::Error,
    },
    /// No URL provided the file.
    #[error("cannot download {name}:\n  {}", reasons.join("\n  "))]
    Unreachable {
        /// The file.
        name: String,
        /// The reason for each URL.
        reasons: Vec<String>,
    },
    /// An archive does not have the expected contents.
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

/// Receives the progress of a download.
pub trait Watcher {
    /// The download of a file starts. `bytes` is its length, if known; `there` bytes exist already.
    fn begin(&mut self, name: &str, bytes: Option<u64>, there: u64);
    /// `there` bytes of the file now exist.
    fn at(&mut self, there: u64);
    /// The file is complete. `was_there` says whether it already was before.
    fn done(&mut self, name: &str, was_there: bool);
    /// A note for the user, for example that a connection broke off.
    fn note(&mut self, text: &str);
}

/// Downloads the missing files of `data` into `folder`. `from` replaces its URLs.
///
/// # Errors
/// [`FetchError`]. Bytes downloaded so far are kept, and the next call resumes there.
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
    if !data.unpacked.is_empty() && sums::are_right(&data.unpacked, folder) {
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
            sums::write(&data.unpacked, folder)?;
            fs::remove_file(&path).map_err(FetchError::disk(&path, "remove this archive"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A watcher that keeps the files that were there.
    #[derive(Default)]
    struct There(Vec<String>);

    impl Watcher for There {
        fn begin(&mut self, _name: &str, _bytes: Option<u64>, _there: u64) {}
        fn at(&mut self, _there: u64) {}
        fn done(&mut self, name: &str, was_there: bool) {
            self.0.extend(was_there.then(|| name.to_owned()));
        }
        fn note(&mut self, _text: &str) {}
    }

    #[test]
    fn damaged_unpacked_file_is_not_already_present() {
        let root = tempfile::tempdir().unwrap();
        let (folder, archive) = (root.path(), root.path().join("all.tar.gz"));
        let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut builder = tar::Builder::new(gzip);
        let mut header = tar::Header::new_gnu();
        header.set_size(100);
        builder.append_data(&mut header, "a.bin", &[1; 100][..]).unwrap();
        let packed = builder.into_inner().unwrap().finish().unwrap();
        fs::write(&archive, &packed).unwrap();
        let sha256 = sums::of_file(&archive).unwrap();
        let data = Downloadable {
            name: "test".to_owned(),
            urls: Vec::new(),
            files: vec![RemoteFile { name: "all.tar.gz".to_owned(), bytes: None, sha256 }],
            unpacked: vec![Member { name: "a.bin".to_owned(), bytes: 100 }],
        };
        let present = || {
            let mut there = There::default();
            fetch(&data, folder, None, &mut there).map(|()| there.0)
        };
        assert_eq!(present().unwrap(), ["all.tar.gz"]);
        assert!(!archive.exists());
        assert_eq!(present().unwrap(), ["a.bin"]);

        let mut bytes = [1; 100];
        bytes[50] ^= 1;
        fs::write(folder.join("a.bin"), bytes).unwrap();
        assert!(matches!(present(), Err(FetchError::Unreachable { .. })), "without the archive");
        fs::write(&archive, &packed).unwrap();
        assert_eq!(present().unwrap(), ["all.tar.gz"]);
        assert_eq!(fs::read(folder.join("a.bin")).unwrap(), [1; 100]);
    }
}
