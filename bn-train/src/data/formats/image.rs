//! PNG and JPEG images, decoded to grey or RGB planes.

use super::super::ImageShape;
use super::super::error::{At, Flaw};
use std::io::Cursor;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Maximum height and width.
const MOST_SIDE: usize = 4096;
/// Memory limit of the PNG decoder.
const MOST_BYTES: usize = 4 * MOST_SIDE * MOST_SIDE + (1 << 20);
const JPEG: &[u8] = &[0xff, 0xd8, 0xff];

/// An image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// One or three channels.
    pub shape: ImageShape,
    /// Consecutive planes.
    pub bytes: Vec<u8>,
}

/// Decodes a PNG or JPEG image. Drops transparency and reduces 16 bits to 8.
///
/// # Errors
/// The image is malformed or too large.
pub fn parse(bytes: &[u8]) -> Result<Image, Flaw> {
    if bytes.starts_with(JPEG) { jpeg(bytes) } else { png(bytes) }
}

/// As [`parse`], of a PNG image.
///
/// # Errors
/// The image is malformed or too large.
pub fn png(bytes: &[u8]) -> Result<Image, Flaw> {
    png_pixels(bytes).map(Pixels::into_planes).map_err(|problem| Flaw::new(At::File, problem))
}

/// As [`parse`], of a JPEG image.
///
/// # Errors
/// The image is malformed or too large.
pub fn jpeg(bytes: &[u8]) -> Result<Image, Flaw> {
    jpeg_pixels(bytes).map(Pixels::into_planes).map_err(|problem| Flaw::new(At::File, problem))
}

/// Interleaved pixels.
struct Pixels {
    height: usize,
    width: usize,
    /// Samples per pixel: 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGB and alpha).
    samples: usize,
    bytes: Vec<u8>,
}

impl Pixels {
    fn into_planes(self) -> Image {
        let Self { height, width, samples, bytes } = self;
        let channels = if samples < 3 { 1 } else { 3 };
        let plane = |channel: usize| bytes.iter().skip(channel).step_by(samples).copied();
        let planes = (0..channels).flat_map(plane).collect();
        Image { shape: ImageShape { channels, height, width }, bytes: planes }
    }
}

/// Checks the size of an image.
fn fits(height: usize, width: usize) -> Result<(), String> {
    if (1..=MOST_SIDE).contains(&height) && (1..=MOST_SIDE).contains(&width) {
        return Ok(());
    }
    Err(format!("{height}x{width} pixels; expected at most {MOST_SIDE}x{MOST_SIDE}"))
}

fn png_pixels(bytes: &[u8]) -> Result<Pixels, String> {
    let limits = png::Limits { bytes: MOST_BYTES };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    let not_png = |error: png::DecodingError| format!("not a PNG or JPEG image: {error}");
    let (height, width) = {
        let info = decoder.read_header_info().map_err(not_png)?;
        (info.height as usize, info.width as usize)
    };
    fits(height, width)?;
    let mut reader = decoder.read_info().map_err(not_png)?;
    let size = reader.output_buffer_size().ok_or("the image is too large")?;
    let mut pixels = vec![0; size];
    let frame = reader.next_frame(&mut pixels).map_err(not_png)?;
    pixels.truncate(frame.buffer_size());
    Ok(Pixels { height, width, samples: frame.color_type.samples(), bytes: pixels })
}

fn jpeg_pixels(bytes: &[u8]) -> Result<Pixels, String> {
    let options = DecoderOptions::default()
        .set_max_height(MOST_SIDE)
        .set_max_width(MOST_SIDE)
        .set_strict_mode(true);
    let mut decoder = JpegDecoder::new_with_options(Cursor::new(bytes), options);
    let not_jpeg = |error| format!("not a valid JPEG image: {error}");
    decoder.decode_headers().map_err(not_jpeg)?;
    let (width, height) = decoder.dimensions().ok_or("the JPEG image has no dimensions")?;
    fits(height, width)?;
    let is_grey = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let colours = if is_grey { ColorSpace::Luma } else { ColorSpace::RGB };
    decoder.set_options(options.jpeg_set_out_colorspace(colours));
    let pixels = decoder.decode().map_err(not_jpeg)?;
    let samples = if is_grey { 1 } else { 3 };
    if pixels.len() != height * width * samples {
        return Err(format!(
            "{} bytes; expected {height}x{width} pixels of {samples}",
            pixels.len()
        ));
    }
    Ok(Pixels { height, width, samples, bytes: pixels })
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn png_file(
        width: u32,
        height: u32,
        colour: png::ColorType,
        bytes: &[u8],
    ) -> Vec<u8> {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, width, height);
        encoder.set_color(colour);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(bytes).unwrap();
        writer.finish().unwrap();
        file
    }

    #[test]
    fn planes_are_consecutive_without_transparency() {
        let bytes: Vec<u8> = (0..24).collect();
        for (colour, samples, channels) in [
            (png::ColorType::Grayscale, 1, 1),
            (png::ColorType::GrayscaleAlpha, 2, 1),
            (png::ColorType::Rgb, 3, 3),
            (png::ColorType::Rgba, 4, 3),
        ] {
            let image = parse(&png_file(3, 2, colour, &bytes[..6 * samples])).unwrap();
            assert_eq!(image.shape, ImageShape { channels, height: 2, width: 3 });
            for channel in 0..channels {
                for pixel in 0..6 {
                    let want = (pixel * samples + channel) as u8;
                    assert_eq!(image.bytes[channel * 6 + pixel], want);
                }
            }
        }
    }

    #[test]
    fn bytes_that_are_not_an_image_are_refused() {
        for (bytes, problem) in [
            (Vec::new(), "not a PNG or JPEG image"),
            (b"GIF89a".to_vec(), "not a PNG or JPEG image"),
            (vec![0xff, 0xd8, 0xff, 0xe0, 0, 16], "not a valid JPEG image"),
            (
                png_file(2, 2, png::ColorType::Grayscale, &[1; 4])[..40].to_vec(),
                "not a PNG or JPEG image",
            ),
        ] {
            let flaw = parse(&bytes).unwrap_err();
            assert!(flaw.problem.contains(problem), "{flaw:?}");
        }
    }

    #[test]
    fn huge_header_is_refused_before_allocation() {
        let mut file = png_file(2, 2, png::ColorType::Grayscale, &[1; 4]);
        file[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
        let mut checksum = flate2::Crc::new();
        checksum.update(&file[12..29]);
        file[29..33].copy_from_slice(&checksum.sum().to_be_bytes());
        let flaw = parse(&file).unwrap_err();
        assert_eq!(flaw.problem, "65536x65536 pixels; expected at most 4096x4096");
    }
}
