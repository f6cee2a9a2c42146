//! CIFAR's binary records: a label (CIFAR-100: coarse, then fine), then the red, green and blue planes of 32x32 bytes.

use super::super::ImageShape;
use super::super::error::{At, Flaw};

/// Shape of every image.
pub const SHAPE: ImageShape = ImageShape { channels: 3, height: 32, width: 32 };

/// The bytes before an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Labels {
    /// Number of label bytes.
    pub count: usize,
    /// Index of the label to use.
    pub taken: usize,
    /// Exclusive upper bound of the label.
    pub classes: u8,
}

/// Images and labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// `SHAPE.pixels()` bytes per image.
    pub images: Vec<u8>,
    /// One per image.
    pub labels: Vec<u8>,
}

impl Records {
    /// Adds the records in `bytes`.
    ///
    /// # Errors
    /// A malformed record, with its byte.
    pub fn read(&mut self, bytes: &[u8], labels: Labels) -> Result<(), Flaw> {
        let size = labels.count + SHAPE.pixels();
        if !bytes.len().is_multiple_of(size) {
            let problem = format!("{} bytes; expected records of {size} bytes each", bytes.len());
            return Err(Flaw::new(At::File, problem));
        }
        for (index, record) in bytes.chunks_exact(size).enumerate() {
            let (before, image) = record.split_at(labels.count);
            let label = before[labels.taken];
            if label >= labels.classes {
                let byte = (index * size + labels.taken) as u64;
                let problem = format!("label {label}; expected less than {}", labels.classes);
                return Err(Flaw::new(At::Byte(byte), problem));
            }
            self.labels.push(label);
            self.images.extend(image);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_appended() {
        let labels = Labels { count: 2, taken: 1, classes: 100 };
        let mut bytes = vec![3, 99];
        bytes.extend((0..3072).map(|i| (i % 251) as u8));
        let mut records = Records::default();
        records.read(&bytes, labels).unwrap();
        records.read(&bytes, labels).unwrap();
        assert_eq!(records.labels, [99, 99]);
        assert_eq!(records.images.len(), 2 * 3072);
        assert_eq!(records.images[..3072], bytes[2..]);
    }

    #[test]
    fn malformed_records_are_refused_with_their_position() {
        let labels = Labels { count: 1, taken: 0, classes: 10 };
        let cut = Records::default().read(&[0; 3072], labels).unwrap_err();
        assert_eq!(cut.problem, "3072 bytes; expected records of 3073 bytes each");
        let mut bytes = vec![0; 2 * 3073];
        bytes[3073] = 10;
        let wrong = Records::default().read(&bytes, labels).unwrap_err();
        assert_eq!(
            (wrong.at, wrong.problem.as_str()),
            (At::Byte(3073), "label 10; expected less than 10")
        );
    }
}
