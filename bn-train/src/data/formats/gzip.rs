//! Bounded gzip decompression, since gzip can compress a thousandfold.

use super::super::error::{At, Flaw};
use std::io::{self, Read};

/// First bytes of a gzip stream.
pub const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Decompresses `bytes` to at most `most` bytes.
///
/// # Errors
/// The stream is damaged, truncated or too long.
pub fn unpack(bytes: &[u8], most: u64) -> Result<Vec<u8>, Flaw> {
    let unpacked = read_at_most(flate2::read::MultiGzDecoder::new(bytes), most);
    match unpacked {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(too_long(most)),
        Err(error) => Err(Flaw::new(At::File, format!("cannot decompress: {error}"))),
    }
}

/// The flaw of content with more than `most` bytes.
pub(in super::super) fn too_long(most: u64) -> Flaw {
    Flaw::new(At::File, format!("more than {most} bytes; expected at most {most}"))
}

/// Reads all of `from`; `None` if it has more than `most` bytes. Memory grows only with the bytes read.
pub(in super::super) fn read_at_most(from: impl Read, most: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    from.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= most).then_some(bytes))
}
