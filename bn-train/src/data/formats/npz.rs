//! NPZ, numpy's format of several arrays: a zip archive of NPY files.

use super::super::error::{At, Flaw};
use super::npy;
use super::numbers::Array;
use std::io::{Cursor, Read};
use zip::ZipArchive;

/// First bytes of a zip archive with files.
const MAGIC: [u8; 4] = *b"PK\x03\x04";
/// Maximum bytes of an array.
const MOST: u64 = 1 << 31;
/// Compression method of deflated entries; stored entries have 0.
const DEFLATED: u16 = 8;

/// Names of the arrays.
///
/// # Errors
/// The bytes are not a zip archive.
pub fn names(bytes: &[u8]) -> Result<Vec<String>, Flaw> {
    let archive = open(bytes)?;
    let known = archive.file_names().filter_map(Result::ok);
    let mut names: Vec<String> =
        known.map(|name| name.strip_suffix(".npy").unwrap_or(&name).to_owned()).collect();
    names.sort();
    Ok(names)
}

/// Parses the array called `name`.
///
/// # Errors
/// A malformed array, with its name and, if possible, the byte within it.
pub fn parse(bytes: &[u8], name: &str) -> Result<Array, Flaw> {
    let mut archive = open(bytes)?;
    let file = format!("{name}.npy");
    let index = archive.index_for_name(&file).or_else(|| archive.index_for_name(name));
    let here = || At::Named(name.to_owned());
    let Some(index) = index else {
        let problem = format!("no such array; the file has {}", names(bytes)?.join(", "));
        return Err(Flaw::new(here(), problem));
    };
    // Decompress here instead of in the zip crate, to enforce our own limit.
    let entry =
        archive.by_index_raw(index).map_err(|error| Flaw::new(here(), error.to_string()))?;
    let (size, checksum, method) = (entry.size(), entry.crc32(), method(&entry));
    let content = match method {
        0 => content(entry, size),
        DEFLATED => content(flate2::read::DeflateDecoder::new(entry), size),
        other => {
            let problem = format!(
                "compressed by method {other}; expected a file of numpy.savez or savez_compressed"
            );
            return Err(Flaw::new(here(), problem));
        }
    };
    let content = content.map_err(|problem| Flaw::new(here(), problem))?;
    let mut found = flate2::Crc::new();
    found.update(&content);
    if found.sum() != checksum {
        let problem = format!("checksum {:08x}; expected {checksum:08x}", found.sum());
        return Err(Flaw::new(here(), problem));
    }
    npy::parse(&content).map_err(|flaw| Flaw::new(here(), within(flaw)))
}

/// The decompressed NPY file of an array, which the archive says has `size` bytes. The header comes first and is compared
/// with `size`, so that a wrong size is refused before the numbers are decompressed.
fn content(mut from: impl Read, size: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    read_up_to(&mut from, &mut bytes, npy::START as u64)?;
    let end = npy::header_end(&bytes).map_err(within)?;
    read_up_to(&mut from, &mut bytes, end as u64)?;
    let npy::Header { kind, sizes } = npy::header(&bytes, end).map_err(within)?;
    let implied = kind.bytes(&sizes).and_then(|numbers| numbers.checked_add(end));
    let Some(implied) = implied.map(|implied| implied as u64).filter(|implied| *implied <= MOST)
    else {
        return Err(format!(
            "{sizes:?} numbers of {} bytes each, byte {end}; expected at most {MOST} bytes",
            kind.size()
        ));
    };
    if implied != size {
        return Err(format!(
            "{size} bytes as declared in the archive; expected {implied} by the header, {sizes:?} numbers of {} bytes each from byte {end}",
            kind.size()
        ));
    }
    // One more byte than implied shows that there are more.
    read_up_to(&mut from, &mut bytes, implied + 1)?;
    let found = bytes.len() as u64;
    if found != implied {
        let found = if found > implied { "more".to_owned() } else { found.to_string() };
        return Err(format!("{found} bytes after decompression; expected {implied} by the header"));
    }
    Ok(bytes)
}

/// Appends to `bytes` until there are `most`, or `from` ends.
fn read_up_to(from: &mut impl Read, bytes: &mut Vec<u8>, most: u64) -> Result<(), String> {
    let there = bytes.len() as u64;
    match from.take(most.saturating_sub(there)).read_to_end(bytes) {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(format!("cannot decompress: {error}, after {} bytes of {most}", bytes.len()))
        }
    }
}

/// A flaw of the NPY file within the archive.
fn within(flaw: Flaw) -> String {
    format!("{}{}", flaw.problem, flaw.at)
}

fn open(bytes: &[u8]) -> Result<ZipArchive<Cursor<&[u8]>>, Flaw> {
    ZipArchive::new(Cursor::new(bytes)).map_err(|error| {
        let length = bytes.len();
        if bytes.starts_with(&MAGIC) {
            let problem = format!(
                "{length} bytes without a valid directory of arrays at their end ({error}); expected a complete zip archive"
            );
            return Flaw::new(At::Byte(length as u64), problem);
        }
        let first = &bytes[..length.min(MAGIC.len())];
        let problem = format!(
            "starts with {first:02x?} and has {length} bytes; expected {MAGIC:02x?}, the start of an NPZ file (a zip archive)"
        );
        Flaw::new(At::Byte(0), problem)
    })
}

/// The format's number of an entry's compression method.
fn method<R: Read>(entry: &zip::read::ZipFile<'_, R>) -> u16 {
    match entry.compression() {
        zip::CompressionMethod::Stored => 0,
        #[allow(deprecated)] // the only way to ask for a method that the crate was built without
        zip::CompressionMethod::Unsupported(method) => method,
        _ => u16::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED: &[u8] = include_bytes!("../../../tests/corpus/npz/stored");

    #[test]
    fn files_that_are_no_archive_are_refused_with_what_was_found() {
        for (bytes, byte, problem) in [
            (&b""[..], 0, "starts with [] and has 0 bytes; expected [50, 4b, 03, 04]"),
            (b"\x93NUMPY\x01\x00", 0, "starts with [93, 4e, 55, 4d] and has 8 bytes; expected"),
            (&STORED[..100], 100, "100 bytes without a valid directory of arrays at their end"),
        ] {
            let flaw = parse(bytes, "x").unwrap_err();
            assert!(flaw.at == At::Byte(byte) && flaw.problem.contains(problem), "{flaw:?}");
        }
    }

    #[test]
    fn header_that_contradicts_the_archive_is_refused() {
        // Twelve bytes become `u1` numbers of shape (9, 2, 2).
        let at = STORED.windows(9).position(|bytes| bytes == b"(3, 2, 2)").unwrap();
        let mut bytes = STORED.to_vec();
        bytes[at + 1] = b'9';
        let flaw = parse(&bytes, "x").unwrap_err();
        assert_eq!(flaw.at, At::Named("x".to_owned()));
        assert_eq!(
            flaw.problem,
            "140 bytes as declared in the archive; expected 164 by the header, [9, 2, 2] numbers of 1 bytes each from byte 128"
        );
    }
}
