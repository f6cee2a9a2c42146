//! The data sets that can be downloaded: `datasets/manifest.toml`, which is part of the program.

use serde::Deserialize;

const TEXT: &str = include_str!("../../../../datasets/manifest.toml");

/// A data set, and where its files come from.
#[derive(Clone, Debug, Deserialize)]
pub struct Downloadable {
    /// As `data.name` takes it.
    pub name: String,
    /// Addresses that a file's name is put behind, the first that answers serves.
    pub urls: Vec<String>,
    /// The files to download.
    pub files: Vec<RemoteFile>,
    /// The files that the downloaded archive holds; none where the files are used as they are.
    #[serde(default)]
    pub unpacked: Vec<Member>,
}

/// A file to download.
#[derive(Clone, Debug, Deserialize)]
pub struct RemoteFile {
    /// Its name, here and there.
    pub name: String,
    /// How long it is, where that is known.
    pub bytes: Option<u64>,
    /// What its bytes must hash to, in hexadecimal digits.
    pub sha256: String,
}

/// A file in an archive.
#[derive(Clone, Debug, Deserialize)]
pub struct Member {
    /// Its name, without folders.
    pub name: String,
    /// How long it is.
    pub bytes: u64,
}

#[derive(Deserialize)]
struct Manifest {
    dataset: Vec<Downloadable>,
}

/// All data sets that can be downloaded.
///
/// # Panics
/// Never: a test reads the same text.
pub fn downloadable() -> Vec<Downloadable> {
    let manifest: Manifest = toml::from_str(TEXT).expect("the manifest that a test has read");
    manifest.dataset.into_iter().filter(|known| known.name != "digits").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_is_readable_and_complete() {
        let all = downloadable();
        let names: Vec<&str> = all.iter().map(|known| known.name.as_str()).collect();
        assert_eq!(names, ["mnist", "fashion-mnist", "cifar-10", "cifar-100"]);
        for Downloadable { urls, files, unpacked, .. } in &all {
            assert!(!urls.is_empty() && urls.iter().all(|url| url.ends_with('/')));
            assert!(files.iter().all(|file| file.sha256.len() == 64));
            assert_eq!(files[0].name.ends_with(".tar.gz"), !unpacked.is_empty());
        }
    }
}
