//! The downloadable data sets, from the embedded `datasets/manifest.toml`.

use serde::Deserialize;

const TEXT: &str = include_str!("../../../../datasets/manifest.toml");

/// A data set and the source of its files.
#[derive(Clone, Debug, Deserialize)]
pub struct Downloadable {
    /// Its name in `data.name`.
    pub name: String,
    /// Base URLs, to which file names are appended. They are tried in order.
    pub urls: Vec<String>,
    /// The files to download.
    pub files: Vec<RemoteFile>,
    /// The files in the downloaded archive; empty if the files are used as they are.
    #[serde(default)]
    pub unpacked: Vec<Member>,
}

/// A file to download.
#[derive(Clone, Debug, Deserialize)]
pub struct RemoteFile {
    /// Its name, on the server and on disk.
    pub name: String,
    /// Its length, if known.
    pub bytes: Option<u64>,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: String,
}

/// A file in an archive.
#[derive(Clone, Debug, Deserialize)]
pub struct Member {
    /// Its name, without folders.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

#[derive(Deserialize)]
struct Manifest {
    dataset: Vec<Downloadable>,
}

/// All data sets that can be downloaded.
///
/// # Panics
/// Never, since a test parses the same text.
pub fn downloadable() -> Vec<Downloadable> {
    let manifest: Manifest = toml::from_str(TEXT).expect("the embedded manifest is valid");
    manifest.dataset.into_iter().filter(|known| known.name != "digits").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifest_is_valid_and_complete() {
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
