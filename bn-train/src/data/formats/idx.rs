//! IDX: a big-endian header (0, 0, type, rank, then each dimension as u32), then the values. Only bytes are supported.

use super::super::error::{At, Flaw};

/// The type code of unsigned bytes.
const BYTES: u8 = 0x08;
/// Maximum number of axes.
const MOST_AXES: u8 = 4;

/// Parses the dimensions and values of an IDX file of bytes.
///
/// # Errors
/// A malformed file, with the byte.
pub fn parse(bytes: &[u8]) -> Result<(Vec<usize>, &[u8]), Flaw> {
    let Some((&[zero, other_zero, kind, rank], rest)) = bytes.split_first_chunk::<4>() else {
        return Err(flaw(
            0,
            format!("{} bytes; expected a header of at least 4 bytes", bytes.len()),
        ));
    };
    if (zero, other_zero) != (0, 0) {
        return Err(flaw(
            0,
            format!("{zero:#04x} {other_zero:#04x}; expected 0x00 0x00, the start of an IDX file"),
        ));
    }
    if kind != BYTES {
        return Err(flaw(2, format!("type {kind:#04x}; expected {BYTES:#04x}, unsigned bytes")));
    }
    if !(1..=MOST_AXES).contains(&rank) {
        return Err(flaw(3, format!("{rank} axes; expected 1 to {MOST_AXES}")));
    }
    let mut rest = rest;
    let mut sizes = Vec::new();
    let mut count: usize = 1;
    for axis in 0..u64::from(rank) {
        let at = 4 + 4 * axis;
        let Some((size, after)) = rest.split_first_chunk::<4>() else {
            return Err(flaw(at, format!("the file ends; expected the size of axis {axis}")));
        };
        let size = u32::from_be_bytes(*size) as usize;
        count = match count.checked_mul(size) {
            Some(count) => count,
            None => {
                return Err(flaw(at, format!("size {size} of axis {axis}; the product overflows")));
            }
        };
        sizes.push(size);
        rest = after;
    }
    if rest.len() != count {
        let start = 4 + 4 * u64::from(rank);
        return Err(flaw(
            start,
            format!("{} bytes follow; expected {count} by the header", rest.len()),
        ));
    }
    Ok((sizes, rest))
}

fn flaw(byte: u64, problem: String) -> Flaw {
    Flaw::new(At::Byte(byte), problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(sizes: &[u32], numbers: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, BYTES, sizes.len() as u8];
        bytes.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
        bytes.extend(numbers);
        bytes
    }

    #[test]
    fn written_files_read_back_equal() {
        for sizes in [vec![6], vec![2, 3], vec![1, 2, 3], vec![3, 1, 2, 1], vec![0, 5]] {
            let count: u32 = sizes.iter().product();
            let numbers: Vec<u8> = (0..count as u8).collect();
            let (found, rest) =
                parse(&written(&sizes, &numbers)).map(|(s, r)| (s, r.to_vec())).unwrap();
            assert_eq!(found, sizes.iter().map(|&size| size as usize).collect::<Vec<_>>());
            assert_eq!(rest, numbers);
        }
    }

    #[test]
    fn malformed_files_are_refused_with_the_byte() {
        for (bytes, at, problem) in [
            (vec![0, 0, 8], 0, "3 bytes; expected a header"),
            (b"PK\x03\x04....".to_vec(), 0, "0x50 0x4b; expected 0x00 0x00"),
            (vec![0, 0, 0x0d, 1, 0, 0, 0, 0], 2, "type 0x0d; expected 0x08"),
            (vec![0, 0, 8, 0], 3, "0 axes; expected 1 to 4"),
            (vec![0, 0, 8, 2, 0, 0, 0, 1, 0], 8, "the file ends; expected the size of axis 1"),
            (written(&[2, 3], &[0; 5]), 12, "5 bytes follow; expected 6 by the header"),
            (written(&[2, 3], &[0; 7]), 12, "7 bytes follow; expected 6 by the header"),
            (written(&[u32::MAX; 4], &[]), 12, "the product overflows"),
        ] {
            let found = parse(&bytes).unwrap_err();
            assert!(found.at == At::Byte(at) && found.problem.contains(problem), "{found:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), fixes in 0_usize..5) {
            let mut bytes = bytes;
            for (at, value) in [0, 0, BYTES, 1].into_iter().enumerate().take(fixes.min(bytes.len())) {
                bytes[at] = value;
            }
            if let Ok((sizes, rest)) = parse(&bytes) {
                prop_assert_eq!(sizes.iter().product::<usize>(), rest.len());
            }
        }
    }
}
