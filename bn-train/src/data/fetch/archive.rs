//! Unpacks a `.tar.gz`: the files that are expected, each under its own name, and no other. It is read no further than it
//! should be long, so that no bomb fills the disk.

use super::FetchError;
use super::manifest::Member;
use crate::data::error::Flaw;
use crate::data::formats::archive::{Expected, Stopped, read_members};
use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::path::Path;

/// Bytes that are unpacked for each byte that is expected, at most: what else an archive holds is read over.
const MOST_WASTE: u64 = 4;

impl Expected for Member {
    fn name(&self) -> &str {
        &self.name
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Whether all files are there, each as long as it should be.
pub(super) fn is_unpacked(members: &[Member], folder: &Path) -> bool {
    let is_there = |member: &Member| {
        folder.join(&member.name).metadata().is_ok_and(|found| found.len() == member.bytes)
    };
    members.iter().all(is_there)
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

/// Writes a member beside its place, then gives it its name if it is complete; how many bytes there were.
fn write(member: &Member, content: &mut dyn Read, folder: &Path) -> Result<u64, FetchError> {
    let partial = folder.join(format!(".{}.partial", member.name));
    let failed = |action| FetchError::disk(&partial, action);
    let mut file = File::create(&partial).map_err(failed("write this file"))?;
    let mut buffer = vec![0; 1 << 16];
    let mut length = 0;
    loop {
        // What cannot be read is the archive's fault, which the length then shows.
        let count = content.read(&mut buffer).unwrap_or(0);
        if count == 0 {
            break;
        }
        file.write_all(&buffer[..count]).map_err(failed("write this file"))?;
        length += count as u64;
    }
    if length == member.bytes {
        file.sync_all().map_err(failed("write this file"))?;
        let place = folder.join(&member.name);
        fs::rename(&partial, &place).map_err(FetchError::disk(&place, "name this file"))?;
    } else {
        fs::remove_file(&partial).map_err(failed("remove this file"))?;
    }
    Ok(length)
}
