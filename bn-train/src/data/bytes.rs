//! Reads files in bounded memory. Sizes claimed by headers and archives are not trusted.

use super::DataError;
use super::formats::gzip;
use std::fs::File;
use std::path::Path;

/// Reads a file and decompresses it if it is gzip. The result has at most `most` bytes.
///
/// # Errors
/// [`DataError`] if the file cannot be read or decompressed, or is too long.
pub(super) fn read_file(path: &Path, most: u64) -> Result<Vec<u8>, DataError> {
    let bytes = read_plain(path, most)?;
    if bytes.starts_with(&gzip::MAGIC) {
        gzip::unpack(&bytes, most).map_err(|flaw| flaw.of(path.display()))
    } else {
        Ok(bytes)
    }
}

/// Reads a file of at most `most` bytes.
pub(super) fn read_plain(path: &Path, most: u64) -> Result<Vec<u8>, DataError> {
    let file = File::open(path).map_err(DataError::read(path))?;
    match gzip::read_at_most(file, most).map_err(DataError::read(path))? {
        Some(bytes) => Ok(bytes),
        None => Err(gzip::too_long(most).of(path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gzip_and_plain_files_read_equal_and_have_limits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let bytes: Vec<u8> = (0..200).collect();
        for content in [bytes.clone(), packed(&bytes)] {
            std::fs::write(&path, &content).unwrap();
            assert_eq!(read_file(&path, 250).unwrap(), bytes);
            let message = read_file(&path, 199).unwrap_err().to_string();
            assert!(
                message.ends_with("file: more than 199 bytes; expected at most 199"),
                "{message}"
            );
        }
    }

    #[test]
    fn gzip_bomb_stops_at_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bomb.gz");
        // 64 MiB compressed to 64 KiB.
        std::fs::write(&path, packed(&vec![0; 1 << 26])).unwrap();
        let message = read_file(&path, 1 << 20).unwrap_err().to_string();
        assert!(message.contains("more than 1048576 bytes"), "{message}");
    }

    #[test]
    fn truncated_stream_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut.gz");
        let whole = packed(&[7; 5000]);
        std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        let message = read_file(&path, 1 << 20).unwrap_err().to_string();
        assert!(message.contains("cut.gz: cannot decompress"), "{message}");
        let message = read_file(&folder.path().join("none"), 9).unwrap_err().to_string();
        assert!(message.ends_with("none: cannot read"), "{message}");
    }
}
