//! Safetensors: named arrays in one file.

use super::super::error::{At, Flaw};
use super::numbers::{Array, Kind};
use safetensors::{Dtype, SafeTensors};

/// Names of the arrays.
///
/// # Errors
/// The bytes are not a safetensors file.
pub fn names(bytes: &[u8]) -> Result<Vec<String>, Flaw> {
    let file = open(bytes)?;
    let mut names: Vec<String> = file.names().into_iter().map(|name| name.to_string()).collect();
    names.sort();
    Ok(names)
}

/// Parses the array called `name`.
///
/// # Errors
/// A malformed array, with its name or the byte of a value.
pub fn parse(bytes: &[u8], name: &str) -> Result<Array, Flaw> {
    let file = open(bytes)?;
    let here = || At::Named(name.to_owned());
    let Ok(view) = file.tensor(name) else {
        let problem = format!("no such array; the file has {}", names(bytes)?.join(", "));
        return Err(Flaw::new(here(), problem));
    };
    let kind = match view.dtype() {
        Dtype::U8 => Kind::U8,
        Dtype::I8 => Kind::I8,
        Dtype::U16 => Kind::U16,
        Dtype::I16 => Kind::I16,
        Dtype::U32 => Kind::U32,
        Dtype::I32 => Kind::I32,
        Dtype::U64 => Kind::U64,
        Dtype::I64 => Kind::I64,
        Dtype::F32 => Kind::F32,
        Dtype::F64 => Kind::F64,
        other => {
            let problem =
                format!("numbers of type {other:?}; expected U8 to U64, I8 to I64, F32 or F64");
            return Err(Flaw::new(here(), problem));
        }
    };
    // The data is a part of `bytes`, so the difference is its offset.
    let start = (view.data().as_ptr() as usize).saturating_sub(bytes.as_ptr() as usize);
    Array::read(kind, view.shape().to_vec(), view.data(), start)
}

fn open(bytes: &[u8]) -> Result<SafeTensors<'_>, Flaw> {
    let Some((start, rest)) = bytes.split_first_chunk::<8>() else {
        let problem = format!(
            "the file has {} bytes; expected a safetensors file, which starts with 8 bytes of its header's length",
            bytes.len()
        );
        return Err(Flaw::new(At::Byte(0), problem));
    };
    let (header, left) = (u64::from_le_bytes(*start), rest.len());
    if header > left as u64 {
        let problem = format!(
            "a header of {header} bytes, but only {left} follow; expected a complete safetensors file"
        );
        return Err(Flaw::new(At::Byte(0), problem));
    }
    SafeTensors::deserialize(bytes).map_err(|error| {
        let problem = format!(
            "{error}, in a header of {header} bytes with {} bytes of numbers after it; expected a safetensors file",
            left as u64 - header
        );
        Flaw::new(At::Byte(8), problem)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    fn file(kind: Dtype, shape: Vec<usize>, numbers: &[u8]) -> Vec<u8> {
        let view = TensorView::new(kind, shape, numbers).unwrap();
        safetensors::serialize([("x", view)], None).unwrap()
    }

    #[test]
    fn arrays_are_read_by_name() {
        let numbers: Vec<u8> = [1.0_f32, -2.5].iter().flat_map(|x| x.to_le_bytes()).collect();
        let bytes = file(Dtype::F32, vec![1, 2], &numbers);
        assert_eq!(names(&bytes).unwrap(), ["x"]);
        let array = parse(&bytes, "x").unwrap();
        assert_eq!(
            (array.sizes, array.numbers, array.are_bytes),
            (vec![1, 2], vec![1.0, -2.5], false)
        );
        assert!(parse(&file(Dtype::U8, vec![3], &[0, 1, 255]), "x").unwrap().are_bytes);
    }

    #[test]
    fn malformed_files_are_refused_with_their_position() {
        let whole = file(Dtype::U8, vec![1], &[0]);
        let header = whole.len() - 9;
        for (bytes, byte, problem) in [
            (b"tensors".to_vec(), 0, "the file has 7 bytes; expected".to_owned()),
            (
                b"no tensors".to_vec(),
                0,
                "a header of 8030883942550761326 bytes, but only 2 follow".to_owned(),
            ),
            (
                whole[..20].to_vec(),
                0,
                format!("a header of {header} bytes, but only 12 follow; expected"),
            ),
            (
                whole[..8 + header].to_vec(),
                8,
                format!("in a header of {header} bytes with 0 bytes of numbers after it; expected"),
            ),
        ] {
            let flaw = parse(&bytes, "x").unwrap_err();
            assert!(flaw.at == At::Byte(byte) && flaw.problem.contains(&problem), "{flaw:?}");
        }
        let flaw = parse(&file(Dtype::U8, vec![1], &[0]), "y").unwrap_err();
        assert_eq!(flaw.problem, "no such array; the file has x");
        let flaw = parse(&file(Dtype::BF16, vec![1], &[0, 0]), "x").unwrap_err();
        assert!(flaw.problem.starts_with("numbers of type BF16"), "{flaw:?}");
        let numbers: Vec<u8> = [0.0_f32, f32::NAN].iter().flat_map(|x| x.to_le_bytes()).collect();
        let bytes = file(Dtype::F32, vec![2], &numbers);
        let flaw = parse(&bytes, "x").unwrap_err();
        assert_eq!(flaw.at, At::Byte(bytes.len() as u64 - 4));
    }
}
