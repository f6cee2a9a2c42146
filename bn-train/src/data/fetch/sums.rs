//! The SHA-256 of unpacked files, in a file beside them that `sha256sum --check` reads too. The manifest has only that of the
//! archive, which is removed.

use super::FetchError;
use super::manifest::Member;
use crate::data::bytes::read_plain;
use crate::data::{At, DataError};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// Name of the file: a line `SHA-256, two spaces, name` for each member.
const NAME: &str = "bn-train.sha256";
/// Maximum bytes of the file.
const MOST: u64 = 1 << 16;

/// Writes the digests of `members` in `folder`, as they are on disk.
pub(super) fn write(members: &[Member], folder: &Path) -> Result<(), FetchError> {
    let mut text = String::new();
    for Member { name, .. } in members {
        let path = folder.join(name);
        let digest = of_file(&path).map_err(FetchError::disk(&path, "read this file"))?;
        text += &format!("{digest}  {name}\n");
    }
    let (partial, path) = (folder.join(format!(".{NAME}.partial")), folder.join(NAME));
    let failed = |action| FetchError::disk(&partial, action);
    let mut file = File::create(&partial).map_err(failed("write this file"))?;
    file.write_all(text.as_bytes()).map_err(failed("write this file"))?;
    file.sync_all().map_err(failed("write this file"))?;
    fs::rename(&partial, &path).map_err(FetchError::disk(&path, "rename the download to"))
}

/// Whether all members are there and have the digests written when they were unpacked.
pub(super) fn are_right(members: &[Member], folder: &Path) -> bool {
    let Ok(Some(sums)) = read(folder) else { return false };
    members.iter().all(|Member { name, .. }| {
        let found = of_file(&folder.join(name)).ok();
        found.is_some() && found.as_deref() == wanted(&sums, name)
    })
}

/// Checks the content of the file `name` in `folder`. Files that were unpacked by hand have no digests and pass.
///
/// # Errors
/// The content is not what was unpacked.
pub(in crate::data) fn check(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), DataError> {
    let Some(sums) = read(folder)? else { return Ok(()) };
    let found = hex(&Sha256::digest(bytes));
    let (path, problem) = match wanted(&sums, name) {
        Some(wanted) if wanted == found => return Ok(()),
        Some(wanted) => (
            folder.join(name),
            format!(
                "SHA-256 {found}; expected {wanted} by {NAME}; if the file was not changed on purpose, get it with `bn-train data fetch` again"
            ),
        ),
        None => (folder.join(NAME), format!("no line for {name}; expected its SHA-256")),
    };
    Err(DataError::malformed(path.display(), At::File, problem))
}

/// The text of the file with the digests, if there is one.
fn read(folder: &Path) -> Result<Option<String>, DataError> {
    let path = folder.join(NAME);
    if !path.exists() {
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&read_plain(&path, MOST)?).into_owned()))
}

/// The digest on the line of `name`.
fn wanted<'a>(sums: &'a str, name: &str) -> Option<&'a str> {
    sums.lines()
        .filter_map(|line| line.split_once("  "))
        .find_map(|(digest, of)| (of == name).then_some(digest))
}

/// The SHA-256 of a file, in hexadecimal digits.
pub(in crate::data) fn of_file(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hex(&hasher.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flipped_byte_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let members = ["a.bin", "b.bin"].map(|name| Member { name: name.to_owned(), bytes: 100 });
        fs::write(path.join("a.bin"), [1; 100]).unwrap();
        fs::write(path.join("b.bin"), [2; 100]).unwrap();
        assert!(!are_right(&members, path), "without digests");
        check(path, "a.bin", &[7]).unwrap();

        write(&members, path).unwrap();
        assert!(are_right(&members, path));
        check(path, "b.bin", &[2; 100]).unwrap();

        let mut bytes = [2; 100];
        bytes[50] ^= 4;
        fs::write(path.join("b.bin"), bytes).unwrap();
        assert!(!are_right(&members, path));
        let error = check(path, "b.bin", &bytes).unwrap_err().to_string();
        assert!(error.contains("b.bin: SHA-256 ") && error.contains("; expected "), "{error}");
        let error = check(path, "c.bin", &bytes).unwrap_err().to_string();
        assert!(
            error.ends_with("bn-train.sha256: no line for c.bin; expected its SHA-256"),
            "{error}"
        );

        fs::remove_file(path.join("b.bin")).unwrap();
        fs::write(path.join(NAME), "").unwrap();
        assert!(!are_right(&members, path), "without files");
    }
}
