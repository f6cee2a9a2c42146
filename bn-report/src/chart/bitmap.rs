//! Charts as PNG, through plotters' bitmap backend and an embedded font: two dots to a logical pixel, on white.

use std::convert::Infallible;

use ab_glyph::{Font as _, FontRef, PxScale, ScaleFont as _, point};
use plotters::backend::BitMapBackend;
use plotters_backend::text_anchor::HPos;
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
    FontStyle,
};

use super::paint::{Pen, paint, units_of};
use super::scene::{Group, Scene};
use super::style::Dash;

pub(super) const REGULAR: &[u8] = include_bytes!("../../fonts/Roboto-Regular.ttf");
pub(super) const BOLD: &[u8] = include_bytes!("../../fonts/Roboto-Bold.ttf");

/// Units along each side of a dot: painted finer than shown, so that edges are smooth.
const FINER: usize = 2;

/// The bytes of a PNG file of a scene.
///
/// # Errors
/// What plotters or the encoder says.
pub fn png(scene: &Scene) -> Result<Vec<u8>, String> {
    let (width, height) = units_of(scene);
    let mut fine = vec![0xFF; width as usize * height as usize * 3];
    let backend = Bitmap {
        inner: BitMapBackend::with_buffer(&mut fine, (width, height)),
        regular: FontRef::try_from_slice(REGULAR).map_err(|error| error.to_string())?,
        bold: FontRef::try_from_slice(BOLD).map_err(|error| error.to_string())?,
    };
    paint(&scene.marks, backend, &BitmapPen).map_err(|error| error.to_string())?;
    let (pixels, size) = shrink(&fine, (width as usize, height as usize));
    encode(&pixels, size).map_err(|error| error.to_string())
}

struct BitmapPen;

impl Pen for BitmapPen {
    fn open(&self, _: &Group) {}

    fn close(&self) {}

    fn dashes(&self, _: Dash) -> bool {
        false
    }
}

/// Plotters' bitmap backend, with text in the embedded font: plotters itself would ask the system for one.
struct Bitmap<'a> {
    inner: BitMapBackend<'a>,
    regular: FontRef<'static>,
    bold: FontRef<'static>,
}

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

/// Drawing into memory cannot fail.
fn drawn<E: std::error::Error + Send + Sync>(_: Result<(), DrawingErrorKind<E>>) -> Drawn {
    Ok(())
}

impl DrawingBackend for Bitmap<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.inner.get_size()
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        drawn(self.inner.present())
    }

    fn draw_pixel(&mut self, at: BackendCoord, color: BackendColor) -> Drawn {
        drawn(self.inner.draw_pixel(at, color))
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Drawn {
        drawn(self.inner.draw_line(from, to, style))
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        (x, y): BackendCoord,
    ) -> Drawn {
        let font = match style.style() {
            FontStyle::Bold => self.bold.clone(),
            _ => self.regular.clone(),
        };
        // A size is that of an em; the font library counts from ascent to descent.
        let em = style.size() as f32;
        let units = font.units_per_em().unwrap_or(2048.0);
        let scale = PxScale::from(em * font.height_unscaled() / units);
        let scaled = font.as_scaled(scale);
        let width: f32 = text.chars().map(|c| scaled.h_advance(scaled.glyph_id(c))).sum();
        let start = match style.anchor().h_pos {
            HPos::Left => 0.0,
            HPos::Center => width / 2.0,
            HPos::Right => width,
        };
        let mut pen = point(x as f32 - start, y as f32 + 0.35 * em);
        for character in text.chars() {
            let id = scaled.glyph_id(character);
            if let Some(outline) = font.outline_glyph(id.with_scale_and_position(scale, pen)) {
                let bounds = outline.px_bounds();
                outline.draw(|dx, dy, coverage| {
                    let at = (bounds.min.x as i32 + dx as i32, bounds.min.y as i32 + dy as i32);
                    let color = style.color();
                    let color = BackendColor { alpha: color.alpha * f64::from(coverage), ..color };
                    // Memory takes every pixel; those outside are passed over.
                    let _ = self.inner.draw_pixel(at, color);
                });
            }
            pen.x += scaled.h_advance(id);
        }
        Ok(())
    }
}

/// Each dot is the mean of [`FINER`] x [`FINER`] units.
fn shrink(fine: &[u8], (width, height): (usize, usize)) -> (Vec<u8>, (usize, usize)) {
    let size = (width / FINER, height / FINER);
    let mut pixels = Vec::with_capacity(size.0 * size.1 * 3);
    for y in 0..size.1 {
        for x in 0..size.0 {
            for channel in 0..3 {
                let mut sum = 0;
                for dy in 0..FINER {
                    for dx in 0..FINER {
                        let unit = (y * FINER + dy) * width + x * FINER + dx;
                        sum += usize::from(fine[unit * 3 + channel]);
                    }
                }
                pixels.push((sum / (FINER * FINER)) as u8);
            }
        }
    }
    (pixels, size)
}

fn encode(pixels: &[u8], (width, height): (usize, usize)) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(bytes)
}
