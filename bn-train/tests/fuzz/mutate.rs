//! Reproducible mutations of seed inputs.

use bn_train::random::{Purpose, Stream};

/// Numbers that often break parsers.
const EXTREMES: [u64; 9] = [0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];
/// Maximum length of an input.
const LONGEST: usize = 16 << 10;

pub(crate) struct Mutator<'a> {
    seeds: &'a [Vec<u8>],
}

impl<'a> Mutator<'a> {
    pub(crate) fn new(seeds: &'a [Vec<u8>]) -> Self {
        Self { seeds }
    }

    /// Input `number`: first the seeds, then mutations of them.
    pub(crate) fn input(&mut self, number: u64) -> Vec<u8> {
        let mut stream = Stream::new(number, Purpose::Initialize("fuzz"));
        let seed =
            |stream: &mut Stream| &self.seeds[stream.below(self.seeds.len() as u64) as usize];
        if let Some(seed) = self.seeds.get(number as usize) {
            return seed.clone();
        }
        let mut bytes = seed(&mut stream).clone();
        for _ in 0..=stream.below(6) {
            match stream.below(8) {
                0 => flip(&mut bytes, &mut stream),
                1 => set(&mut bytes, &mut stream),
                2 => extreme(&mut bytes, &mut stream),
                3 => bytes.truncate(stream.below(bytes.len() as u64 + 1) as usize),
                4 => remove(&mut bytes, &mut stream),
                5 => repeat(&mut bytes, &mut stream),
                6 => splice(&mut bytes, seed(&mut stream).as_slice(), &mut stream),
                _ => digit(&mut bytes, &mut stream),
            }
        }
        bytes.truncate(LONGEST);
        bytes
    }
}

/// A random position in `bytes`; `None` if it is empty.
fn position(bytes: &[u8], stream: &mut Stream) -> Option<usize> {
    (!bytes.is_empty()).then(|| stream.below(bytes.len() as u64) as usize)
}

fn flip(bytes: &mut [u8], stream: &mut Stream) {
    if let Some(at) = position(bytes, stream) {
        bytes[at] ^= 1 << stream.below(8);
    }
}

fn set(bytes: &mut [u8], stream: &mut Stream) {
    if let Some(at) = position(bytes, stream) {
        bytes[at] = stream.below(256) as u8;
    }
}

/// Writes an extreme number of 1, 2, 4 or 8 bytes, in either byte order.
fn extreme(bytes: &mut [u8], stream: &mut Stream) {
    let Some(at) = position(bytes, stream) else { return };
    let number = EXTREMES[stream.below(EXTREMES.len() as u64) as usize];
    let width = 1 << stream.below(4);
    let mut written = number.to_le_bytes()[..width].to_vec();
    if stream.below(2) == 0 {
        written.reverse();
    }
    for (byte, written) in bytes[at..].iter_mut().zip(written) {
        *byte = written;
    }
}

fn remove(bytes: &mut Vec<u8>, stream: &mut Stream) {
    if let Some(at) = position(bytes, stream) {
        let end = (at + 1 + stream.below(16) as usize).min(bytes.len());
        bytes.drain(at..end);
    }
}

fn repeat(bytes: &mut Vec<u8>, stream: &mut Stream) {
    if let Some(at) = position(bytes, stream) {
        let end = (at + 1 + stream.below(64) as usize).min(bytes.len());
        let block = bytes[at..end].to_vec();
        let times = stream.below(8) as usize;
        bytes.splice(at..at, block.repeat(times));
    }
}

fn splice(bytes: &mut Vec<u8>, other: &[u8], stream: &mut Stream) {
    if let (Some(at), Some(from)) = (position(bytes, stream), position(other, stream)) {
        bytes.truncate(at);
        bytes.extend(&other[from..]);
    }
}

/// Replaces an ASCII digit, most likely in a text header.
fn digit(bytes: &mut [u8], stream: &mut Stream) {
    let digits: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at].is_ascii_digit()).collect();
    if let Some(at) = position(bytes, stream).and_then(|at| digits.get(at % digits.len().max(1))) {
        bytes[*at] = b'0' + stream.below(10) as u8;
    }
}
