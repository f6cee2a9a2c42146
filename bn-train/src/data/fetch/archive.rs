//! Unpacks the expected files of a `.tar.gz`, and no others. Reading is bounded, so that a bomb cannot fill the disk.

use super::FetchError;
use super::manifest::Member;
use crate::data::error::Flaw;
use crate::data::formats::archive::{Expected, Stopped, read_members};
use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::path::Path;

/// Maximum ratio of decompressed to expected bytes, since an archive may contain other files, which are skipped.
const MOST_WASTE: u64 = 4;

impl Expected for Member {
    fn name(&self) -> &str {
        &self.name
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Unpacks `members` from the archive at `path` into `folder`.
pub(super) fn unpack(path: &Path, members: &[Member], folder: &Path) -> Result<(), FetchError> {
    let file = File::open(path).map_err(FetchError::disk(path, "open this archive"))?;
    let expected: u64 = members.iter().map(|member| member.bytes).sum();
    let most = expected.saturating_mul(MOST_WASTE).saturating_add(1 << 20);
    let unpacked = flate2::read::MultiGzDecoder::new(file).take(most);
    let mut take = |member: &Member, content: &mut dyn Read| write(member, content, folder);
    match read_members(unpacked, members, &mut take) {
        Ok(()) => Ok(()),
        Err(Stopped::Flaw(Flaw { at, problem })) => {
            Err(FetchError::Archive { path: path.to_owned(), problem: format!("{problem}{at}") })
        }
        Err(Stopped::Taker(error)) => Err(error),
    }
}

/// Writes a member to a temporary file and renames it if it is complete. Returns the number of bytes read.
fn write(member: &Member, content: &mut dyn Read, folder: &Path) -> Result<u64, FetchError> {
    let partial = folder.join(format!(".{}.partial", member.name));
    let failed = |action| FetchError::disk(&partial, action);
    let mut file = File::create(&partial).map_err(failed("write this file"))?;
    let mut buffer = vec![0; 1 << 16];
    let mut length = 0;
    loop {
        // A read error is the archive's fault; the length then shows it.
        let count = content.read(&mut buffer).unwrap_or(0);
        if count == 0 {
            break;
        }
        file.write_all(&buffer[..count]).map_err(failed("write this file"))?;
        length += count as u64;
    }
    if length == member.bytes {
        file.sync_all().map_err(failed("write this file"))?;
        let path = folder.join(&member.name);
        fs::rename(&partial, &path).map_err(FetchError::disk(&path, "rename the download to"))?;
    } else {
        fs::remove_file(&partial).map_err(failed("remove this file"))?;
    }
    Ok(length)
}
