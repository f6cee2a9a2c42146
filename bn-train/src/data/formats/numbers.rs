//! Converts arrays of any number type to f32.

use super::super::error::{At, Flaw};

/// A row-major array.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Sizes of the axes.
    pub sizes: Vec<usize>,
    /// The values, all finite.
    pub numbers: Vec<f32>,
    /// Whether the values were bytes, so that their range is 0 to 255.
    pub are_bytes: bool,
}

/// The element type of an array, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Unsigned, 8 bits.
    U8,
    /// Signed, 8 bits.
    I8,
    /// Unsigned, 16 bits.
    U16,
    /// Signed, 16 bits.
    I16,
    /// Unsigned, 32 bits.
    U32,
    /// Signed, 32 bits.
    I32,
    /// Unsigned, 64 bits.
    U64,
    /// Signed, 64 bits.
    I64,
    /// A float of 32 bits.
    F32,
    /// A float of 64 bits.
    F64,
}

impl Kind {
    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// Bytes of an array of `sizes`; `None` if they overflow.
    pub fn bytes(self, sizes: &[usize]) -> Option<usize> {
        sizes.iter().try_fold(self.size(), |product, &size| product.checked_mul(size))
    }

    fn number(self, bytes: &[u8]) -> f64 {
        fn of<const N: usize>(bytes: &[u8]) -> [u8; N] {
            std::array::from_fn(|index| bytes[index])
        }
        match self {
            Self::U8 => f64::from(bytes[0]),
            Self::I8 => f64::from(bytes[0] as i8),
            Self::U16 => f64::from(u16::from_le_bytes(of(bytes))),
            Self::I16 => f64::from(i16::from_le_bytes(of(bytes))),
            Self::U32 => f64::from(u32::from_le_bytes(of(bytes))),
            Self::I32 => f64::from(i32::from_le_bytes(of(bytes))),
            Self::U64 => u64::from_le_bytes(of(bytes)) as f64,
            Self::I64 => i64::from_le_bytes(of(bytes)) as f64,
            Self::F32 => f64::from(f32::from_le_bytes(of(bytes))),
            Self::F64 => f64::from_le_bytes(of(bytes)),
        }
    }
}

impl Array {
    /// Reads an array of `sizes` elements of `kind` from `bytes`, which start at byte `start` of their file.
    ///
    /// # Errors
    /// A wrong number of bytes, or a value that is not finite in f32, with its byte.
    pub fn read(kind: Kind, sizes: Vec<usize>, bytes: &[u8], start: usize) -> Result<Self, Flaw> {
        if kind.bytes(&sizes) != Some(bytes.len()) {
            let problem = format!(
                "{} bytes follow; expected {sizes:?} numbers of {} bytes each",
                bytes.len(),
                kind.size()
            );
            return Err(Flaw::new(At::Byte(start as u64), problem));
        }
        let mut numbers = Vec::with_capacity(bytes.len() / kind.size());
        for (index, bytes) in bytes.chunks_exact(kind.size()).enumerate() {
            let number = kind.number(bytes);
            if !(number as f32).is_finite() {
                let byte = (start + index * kind.size()) as u64;
                let problem = format!("{number}; expected a number that is finite as f32");
                return Err(Flaw::new(At::Byte(byte), problem));
            }
            numbers.push(number as f32);
        }
        Ok(Self { sizes, numbers, are_bytes: kind == Kind::U8 })
    }
}
