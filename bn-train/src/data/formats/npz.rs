//! NPZ, numpy's format of several arrays: a zip archive of NPY files.

use super::super::error::{At, Flaw};
use super::gzip::read_at_most;
use super::npy;
use super::numbers::Array;
use std::io::Cursor;
use zip::ZipArchive;

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
        0 => read_at_most(entry, MOST),
        DEFLATED => read_at_most(flate2::read::DeflateDecoder::new(entry), MOST.min(size)),
        other => {
            let problem = format!(
                "compressed by method {other}; expected a file of numpy.savez or savez_compressed"
            );
            return Err(Flaw::new(here(), problem));
        }
    };
    let content =
        content.map_err(|error| Flaw::new(here(), format!("cannot decompress: {error}")))?;
    let Some(content) = content.filter(|content| content.len() as u64 == size) else {
        return Err(Flaw::new(
            here(),
            format!("expected {size} bytes as declared in the archive, and at most {MOST}"),
        ));
    };
    let mut found = flate2::Crc::new();
    found.update(&content);
    if found.sum() != checksum {
        let problem = format!("checksum {:08x}; expected {checksum:08x}", found.sum());
        return Err(Flaw::new(here(), problem));
    }
    npy::parse(&content).map_err(|flaw| Flaw::new(here(), format!("{}{}", flaw.problem, flaw.at)))
}

fn open(bytes: &[u8]) -> Result<ZipArchive<Cursor<&[u8]>>, Flaw> {
    ZipArchive::new(Cursor::new(bytes))
        .map_err(|error| Flaw::new(At::File, format!("not an NPZ file: {error}")))
}

/// The format's number of an entry's compression method.
fn method<R: std::io::Read>(entry: &zip::read::ZipFile<'_, R>) -> u16 {
    match entry.compression() {
        zip::CompressionMethod::Stored => 0,
        #[allow(deprecated)] // the only way to ask for a method that the crate was built without
        zip::CompressionMethod::Unsupported(method) => method,
        _ => u16::MAX,
    }
}
