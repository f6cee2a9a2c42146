//! The digits: 1,797 images of 8x8 pixels in 0..=16, one per line of a compressed CSV file, with the label last.
//!
//! E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits" (UCI Machine Learning Repository, 1998),
//! CC BY 4.0; see `datasets/README.md`. The file is embedded, so no download is needed.

use super::{At, DataError, Dataset, Description, Examples, ImageShape, Provider};
use std::io::Read as _;

const ORIGIN: &str = "the embedded digits";
const PACKED: &[u8] = include_bytes!("../../../datasets/digits.csv.gz");
const BRIGHTEST: u8 = 16;
const VALIDATION: usize = 270;
const TEST: usize = 270;

/// The embedded digits.
#[derive(Debug)]
pub(super) struct Digits;

impl Provider for Digits {
    fn describe(&self) -> Description {
        DESCRIPTION
    }

    fn load(&self) -> Result<Dataset, DataError> {
        load()
    }
}

const DESCRIPTION: Description = Description {
    shape: ImageShape { channels: 1, height: 8, width: 8 },
    classes: 10,
    train: 1257,
};

fn load() -> Result<Dataset, DataError> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(PACKED)
        .read_to_string(&mut text)
        .map_err(|source| DataError::Unpack { origin: ORIGIN.to_owned(), source })?;
    let all = parse(&text)?;
    let split = Dataset::stratified(&all, DESCRIPTION.classes, VALIDATION, TEST);
    Ok(Dataset { digest: format!("blake3:{}", blake3::hash(PACKED).to_hex()), ..split })
}

/// Parses the lines. Errors name the line.
fn parse(text: &str) -> Result<Examples, DataError> {
    let shape = DESCRIPTION.shape;
    let mut examples = Examples { shape, pixels: Vec::new(), labels: Vec::new() };
    for (index, line) in text.lines().enumerate() {
        let wrong =
            |problem: String| DataError::malformed(ORIGIN, At::Line(index as u64 + 1), problem);
        let cells: Vec<u8> = line
            .split(',')
            .map(|cell| {
                cell.parse().map_err(|_| wrong(format!("{cell:?} is not a number from 0 to 255")))
            })
            .collect::<Result<_, _>>()?;
        match cells.split_last() {
            Some((&label, pixels)) if pixels.len() == shape.pixels() => {
                if usize::from(label) >= DESCRIPTION.classes
                    || pixels.iter().any(|&pixel| pixel > BRIGHTEST)
                {
                    return Err(wrong(format!(
                        "expected pixels up to {BRIGHTEST} and a label below 10"
                    )));
                }
                examples
                    .pixels
                    .extend(pixels.iter().map(|&pixel| f32::from(pixel) / f32::from(BRIGHTEST)));
                examples.labels.push(u32::from(label));
            }
            _ => {
                return Err(wrong(format!(
                    "{} cells, expected {}",
                    cells.len(),
                    shape.pixels() + 1
                )));
            }
        }
    }
    Ok(examples)
}

#[cfg(test)]
mod tests {
    use super::super::dataset::SPLIT_SEED;
    use super::super::stratified;
    use super::*;

    fn counts(examples: &Examples) -> Vec<usize> {
        (0..10)
            .map(|class| examples.labels.iter().filter(|&&label| label == class).count())
            .collect()
    }

    /// Pinned, because another split would make results of different versions incomparable.
    #[test]
    fn split_is_stable() {
        let data = load().unwrap();
        assert_eq!([data.train.len(), data.validation.len(), data.test.len()], [1257, 270, 270]);
        assert_eq!(counts(&data.train), [124, 127, 123, 128, 127, 128, 127, 125, 122, 126]);
        assert_eq!(counts(&data.validation), [27, 27, 27, 28, 27, 27, 27, 27, 26, 27]);
        assert_eq!(counts(&data.test), [27, 28, 27, 27, 27, 27, 27, 27, 26, 27]);
        let all = [data.train.len(), data.validation.len(), data.test.len()].iter().sum::<usize>();
        assert_eq!(all, 1797);

        let mut text = String::new();
        flate2::read::GzDecoder::new(PACKED).read_to_string(&mut text).unwrap();
        let parts = stratified(&parse(&text).unwrap().labels, 10, VALIDATION, TEST, SPLIT_SEED);
        assert_eq!(parts.train[..8], [2, 3, 4, 6, 7, 9, 10, 11]);
        assert_eq!(parts.validation[..8], [1, 5, 8, 34, 35, 49, 50, 53]);
        assert_eq!(parts.test[..8], [0, 19, 32, 37, 46, 51, 59, 70]);
    }

    #[test]
    fn pixels_are_scaled_to_0_to_1() {
        let data = load().unwrap();
        for part in [&data.train, &data.validation, &data.test] {
            assert_eq!(part.pixels.len(), part.len() * 64);
            assert!(part.pixels.iter().all(|pixel| (0.0..=1.0).contains(pixel)));
            assert!(part.pixels.contains(&1.0));
        }
        assert_eq!(data.train.shape, DESCRIPTION.shape);
        assert_eq!(data.train.len(), DESCRIPTION.train);
    }

    #[test]
    fn malformed_line_is_named() {
        let good = format!("{}0\n", "16,".repeat(64));
        assert_eq!(parse(&good).unwrap().len(), 1);
        for bad in [
            "1,2,3\n",
            "x\n",
            "\n",
            &format!("{}10\n", "16,".repeat(64)),
            &format!("{}0\n", "17,".repeat(64)),
        ] {
            let error = parse(&format!("{good}{bad}")).unwrap_err().to_string();
            assert!(error.starts_with("the embedded digits, line 2: "), "{error}");
        }
    }
}
