//! Reads expected files from tar archives. Paths of members are only compared, never followed.

use super::super::error::{At, Flaw};
use std::collections::BTreeSet;
use std::io::{self, Read};

/// A file that an archive is expected to hold.
pub trait Expected {
    /// Its name, without folders.
    fn name(&self) -> &str;
    /// Its length.
    fn bytes(&self) -> u64;
}

/// Why reading an archive ended.
#[derive(Debug)]
pub enum Stopped<E> {
    /// The archive is malformed.
    Flaw(Flaw),
    /// The callback failed.
    Taker(E),
}

impl<E> Stopped<E> {
    fn flaw(at: At, problem: impl Into<String>) -> Self {
        Self::Flaw(Flaw::new(at, problem))
    }
}

/// Calls `take` with the content of each of `members`. `take` returns the number of bytes it read.
///
/// # Errors
/// A member is missing, occurs twice, is not a regular file or has the wrong length; errors of `take`.
pub fn read_members<M: Expected, E>(
    archive: impl Read,
    members: &[M],
    take: &mut dyn FnMut(&M, &mut dyn Read) -> Result<u64, E>,
) -> Result<(), Stopped<E>> {
    let mut archive = tar::Archive::new(archive);
    let mut found = BTreeSet::new();
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?.into_owned();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let Some(member) = members.iter().find(|member| Some(member.name()) == name.as_deref())
        else {
            continue;
        };
        let at = || At::Named(path.display().to_string());
        if !entry.header().entry_type().is_file() {
            return Err(Stopped::flaw(at(), "expected a regular file"));
        }
        let expected = member.bytes();
        if entry.size() != expected {
            let problem = format!("{} bytes; expected {expected}", entry.size());
            return Err(Stopped::flaw(at(), problem));
        }
        if !found.insert(member.name()) {
            return Err(Stopped::flaw(at(), "occurs twice"));
        }
        let taken = take(member, &mut (&mut entry).take(expected)).map_err(Stopped::Taker)?;
        if taken != expected {
            let problem = format!("ends after {taken} bytes; expected {expected}");
            return Err(Stopped::flaw(at(), problem));
        }
    }
    match members.iter().find(|member| !found.contains(member.name())) {
        Some(missing) => Err(Stopped::flaw(At::Named(missing.name().to_owned()), "missing")),
        None => Ok(()),
    }
}

fn broken<E>(error: io::Error) -> Stopped<E> {
    Stopped::flaw(At::File, format!("not a valid archive: {error}"))
}
