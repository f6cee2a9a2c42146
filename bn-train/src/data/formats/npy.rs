//! NPY, numpy's format of a single array: magic bytes, a header in Python syntax, then the values.

use super::super::error::{At, Flaw};
use super::numbers::{Array, Kind};

const MAGIC: &[u8] = b"\x93NUMPY";
/// Maximum number of axes.
const MOST_AXES: usize = 8;

/// Bytes that tell where the header ends.
pub(super) const START: usize = 12;
/// Maximum bytes of a header: all that version 1 can state. numpy writes less than 200.
const MOST_HEADER: usize = 1 << 16;

/// Parses an array.
///
/// # Errors
/// A malformed file, with the byte.
pub fn parse(bytes: &[u8]) -> Result<Array, Flaw> {
    let end = header_end(bytes)?;
    let Header { kind, sizes } = header(bytes, end)?;
    Array::read(kind, sizes, &bytes[end..], end)
}

fn flaw(byte: usize, problem: String) -> Flaw {
    Flaw::new(At::Byte(byte as u64), problem)
}

/// Where the header ends and the numbers begin, from the first [`START`] bytes.
pub(super) fn header_end(bytes: &[u8]) -> Result<usize, Flaw> {
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        let first = &bytes[..bytes.len().min(MAGIC.len())];
        let problem =
            format!("starts with {first:02x?}; expected {MAGIC:02x?}, the start of an NPY file");
        return Err(flaw(0, problem));
    };
    let (start, length) = match rest {
        [1, _, low, high, ..] => (10, usize::from(u16::from_le_bytes([*low, *high]))),
        [2 | 3, _, a, b, c, d, ..] => (START, u32::from_le_bytes([*a, *b, *c, *d]) as usize),
        [version, ..] if ![1, 2, 3].contains(version) => {
            return Err(flaw(6, format!("version {version}; expected 1, 2 or 3")));
        }
        _ => return Err(flaw(bytes.len(), "the file ends within the header".to_owned())),
    };
    if length > MOST_HEADER {
        let problem = format!("the header has {length} bytes; expected at most {MOST_HEADER}");
        return Err(flaw(8, problem));
    }
    Ok(start + length)
}

/// Parses the header, which ends at byte `end`.
pub(super) fn header(bytes: &[u8], end: usize) -> Result<Header, Flaw> {
    let start = if bytes.get(MAGIC.len()) == Some(&1) { 10 } else { START };
    let Some(text) = bytes.get(start..end) else {
        let left = bytes.len().saturating_sub(start);
        let problem = format!("the header has {} bytes, but only {left} follow", end - start);
        return Err(flaw(8, problem));
    };
    let text =
        std::str::from_utf8(text).map_err(|_| flaw(start, "the header is not text".to_owned()))?;
    Header::parse(text).map_err(|problem| flaw(start, problem))
}

/// What the header says about the numbers.
#[derive(Debug, PartialEq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) sizes: Vec<usize>,
}

impl Header {
    /// Parses `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
    fn parse(text: &str) -> Result<Self, String> {
        let descr = value(text, "descr")?;
        let descr = descr.strip_prefix('\'').and_then(|rest| rest.split('\'').next());
        let kind = match descr.unwrap_or("") {
            "|u1" | "<u1" | "|b1" => Kind::U8,
            "|i1" | "<i1" => Kind::I8,
            "<u2" => Kind::U16,
            "<i2" => Kind::I16,
            "<u4" => Kind::U32,
            "<i4" => Kind::I32,
            "<u8" => Kind::U64,
            "<i8" => Kind::I64,
            "<f4" => Kind::F32,
            "<f8" => Kind::F64,
            other => {
                return Err(format!(
                    "numbers of type {other:?}; expected little-endian integers or floats: |u1, <i4, <i8, <f4, <f8 …"
                ));
            }
        };
        if !value(text, "fortran_order")?.starts_with("False") {
            return Err("fortran_order is not False; save the array with numpy.ascontiguousarray"
                .to_owned());
        }
        let shape = value(text, "shape")?;
        let inside = shape.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        let (inside, _) = inside.ok_or("shape is not a tuple")?;
        let sizes = inside.split(',').map(str::trim).filter(|size| !size.is_empty());
        let sizes: Vec<usize> = sizes
            .map(|size| size.parse().map_err(|_| format!("shape has {size:?}; expected a size")))
            .collect::<Result<_, String>>()?;
        if sizes.len() > MOST_AXES {
            return Err(format!("{} axes; expected at most {MOST_AXES}", sizes.len()));
        }
        Ok(Self { kind, sizes })
    }
}

/// The text after `'key':`.
fn value<'a>(header: &'a str, key: &str) -> Result<&'a str, String> {
    let quoted = format!("'{key}'");
    let after = header.split_once(&quoted).map(|(_, after)| after.trim_start());
    let after = after.and_then(|after| after.strip_prefix(':'));
    after.map(str::trim_start).ok_or_else(|| format!("the header has no {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(version: u8, header: &str, numbers: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([version, 0]);
        if version == 1 {
            bytes.extend((header.len() as u16).to_le_bytes());
        } else {
            bytes.extend((header.len() as u32).to_le_bytes());
        }
        bytes.extend(header.as_bytes());
        bytes.extend(numbers);
        bytes
    }

    #[test]
    fn arrays_of_all_types_are_read() {
        for version in [1, 2, 3] {
            let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }\n";
            let numbers: Vec<u8> = [1.5_f32, -2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
            let array = parse(&written(version, header, &numbers)).unwrap();
            assert_eq!((array.sizes, array.numbers), (vec![2, 1], vec![1.5, -2.0]));
        }
        for (descr, bytes, want) in [
            ("|u1", vec![255], 255.0),
            ("|i1", vec![255], -1.0),
            ("<i2", vec![0, 128], -32768.0),
            ("<u4", vec![1, 0, 0, 1], 16_777_217.0),
            ("<i8", vec![255; 8], -1.0),
            ("<f8", 0.25_f64.to_le_bytes().to_vec(), 0.25),
        ] {
            let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (1,), }}");
            let array = parse(&written(1, &header, &bytes)).unwrap();
            assert_eq!(array.numbers, [want as f32], "{descr}");
            assert_eq!(array.are_bytes, descr == "|u1");
        }
    }

    #[test]
    fn malformed_files_are_refused_with_the_byte() {
        let header = |descr: &str, order: &str, shape: &str| {
            format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}")
        };
        let nan = f32::NAN.to_le_bytes();
        for (bytes, byte, problem) in [
            (
                b"PK".to_vec(),
                0,
                "starts with [50, 4b]; expected [93, 4e, 55, 4d, 50, 59], the start",
            ),
            (written(7, "", &[]), 6, "version 7; expected 1, 2 or 3"),
            (written(1, "", &[])[..8].to_vec(), 8, "the file ends within the header"),
            (
                written(2, &header("<f4", "False", "(1,)"), &[0; 4])[..50].to_vec(),
                8,
                "the header has 57 bytes, but only 38 follow",
            ),
            (
                [MAGIC, &[2, 0, 0, 0, 0, 64]].concat(),
                8,
                "the header has 1073741824 bytes; expected at most 65536",
            ),
            (written(1, &header("<c8", "False", "(1,)"), &[0; 8]), 10, "type \"<c8\"; expected"),
            (written(1, &header("<f4", "True", "(1,)"), &[0; 4]), 10, "fortran_order"),
            (written(1, &header("<f4", "False", "(x,)"), &[0; 4]), 10, "shape has \"x\""),
            (written(1, &header("<f4", "False", "(1, 2"), &[0; 8]), 10, "shape is not a tuple"),
            (written(1, "{}", &[]), 10, "the header has no descr"),
            (
                written(1, &header("<f4", "False", "(2,)"), &[0; 4]),
                67,
                "4 bytes follow; expected [2]",
            ),
            (
                written(1, &header("<f4", "False", "(9999999999, 9999999999)"), &[0; 4]),
                87,
                "4 bytes follow; expected",
            ),
            (written(1, &header("<f4", "False", "(1,)"), &nan), 67, "NaN; expected a number"),
        ] {
            let flaw = parse(&bytes).unwrap_err();
            assert!(flaw.at == At::Byte(byte) && flaw.problem.contains(problem), "{flaw:?}");
        }
    }
}
