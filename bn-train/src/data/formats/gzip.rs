//! gzip: bytes that may unpack to a thousand times as many.

use super::super::error::{At, Flaw};
use std::io::{self, Read};

/// How a gzip stream begins.
pub const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// What `bytes` unpack to: `most` bytes at most.
///
/// # Errors
/// For a stream that is damaged, cut or too long.
pub fn unpack(bytes: &[u8], most: u64) -> Result<Vec<u8>, Flaw> {
    let unpacked = read_at_most(flate2::read::MultiGzDecoder::new(bytes), most);
    match unpacked {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(too_long(most)),
        Err(error) => Err(Flaw::new(At::File, format!("cannot be unpacked: {error}"))),
    }
}

/// Content has more than `most` bytes.
pub(in super::super) fn too_long(most: u64) -> Flaw {
    Flaw::new(At::File, format!("more than {most} bytes; expected {most} at most"))
}

/// All that `from` gives; nothing when that is more than `most` bytes. Memory grows with the bytes that have come.
pub(in super::super) fn read_at_most(from: impl Read, most: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    from.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= most).then_some(bytes))
}
