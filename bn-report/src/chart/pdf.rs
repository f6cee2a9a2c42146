//! Charts as PDF: the marks of a scene as paths, and text in the embedded font, which can be selected and searched.
//!
//! A file has no date and no name of a machine, so the same chart gives the same bytes.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use ab_glyph::{Font as _, FontRef};
use krilla::color::rgb;
use krilla::geom::{Path, PathBuilder, Transform};
use krilla::metadata::Metadata;
use krilla::num::NormalizedF32;
use krilla::page::PageSettings;
use krilla::paint::{Fill, FillRule, LineJoin, Stroke, StrokeDash};
use krilla::surface::Surface;
use krilla::text::{Font, GlyphId, KrillaGlyph};
use krilla::{Document, SerializeSettings};
use plotters_backend::text_anchor::HPos;
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
    FontStyle,
};

use super::bitmap::{BOLD, REGULAR};
use super::paint::{Pen, UNITS, paint, units_of};
use super::scene::{Group, Scene};
use super::style::Dash;

/// Points of a PDF to a unit of the drawing area: a logical pixel is 3/4 of a point, as in CSS.
const POINTS: f32 = 0.75 / UNITS as f32;

/// A quarter of a circle as a Bézier curve has its control points this far along the tangents, in radii.
const ROUND: f32 = 0.552_285;

/// The bytes of a PDF file of a scene: one page of its size.
///
/// # Errors
/// What the library says.
pub fn pdf(scene: &Scene, title: &str) -> Result<Vec<u8>, String> {
    let (width, height) = units_of(scene);
    let mut document = Document::new_with(SerializeSettings::default());
    document.set_metadata(Metadata::new().title(title.to_owned()));
    let settings = PageSettings::from_wh(width as f32 * POINTS, height as f32 * POINTS);
    let mut page = document.start_page_with(settings.ok_or("a chart without a size")?);
    let canvas = Canvas {
        surface: Rc::new(RefCell::new(page.surface())),
        size: (width, height),
        dash: Rc::new(RefCell::new(&[])),
        regular: Typeface::of(REGULAR)?,
        bold: Typeface::of(BOLD)?,
    };
    canvas.surface.borrow_mut().push_transform(&Transform::from_scale(POINTS, POINTS));
    paint(&scene.marks, canvas.clone(), &canvas).map_err(|error| error.to_string())?;
    canvas.surface.borrow_mut().pop();
    // The surface ends its stream when it is dropped with the last of the canvases.
    drop(canvas);
    page.finish();
    document.finish().map_err(|error| format!("{error:?}"))
}

/// A font twice: to be embedded, and to find the glyphs and widths of characters.
#[derive(Clone)]
struct Typeface {
    embedded: Font,
    glyphs: FontRef<'static>,
}

impl Typeface {
    fn of(bytes: &'static [u8]) -> Result<Self, String> {
        Ok(Self {
            embedded: Font::new(bytes.to_vec().into(), 0).ok_or("the embedded font is no font")?,
            glyphs: FontRef::try_from_slice(bytes).map_err(|error| error.to_string())?,
        })
    }

    /// The glyphs of a text one after the other, and its width, in em.
    fn set(&self, text: &str) -> (Vec<KrillaGlyph>, f32) {
        let em = self.glyphs.units_per_em().unwrap_or(2048.0);
        let mut width = 0.0;
        let glyph = |(at, character): (usize, char)| {
            let id = self.glyphs.glyph_id(character);
            let advance = self.glyphs.h_advance_unscaled(id) / em;
            width += advance;
            let range = at..at + character.len_utf8();
            KrillaGlyph::new(GlyphId::new(u32::from(id.0)), advance, 0.0, 0.0, 0.0, range, None)
        };
        let glyphs = text.char_indices().map(glyph).collect();
        (glyphs, width)
    }
}

/// What is drawn on. Clones share it: one is the backend, another the pen.
#[derive(Clone)]
struct Canvas<'a> {
    surface: Rc<RefCell<Surface<'a>>>,
    size: (u32, u32),
    dash: Rc<RefCell<Dash>>,
    regular: Typeface,
    bold: Typeface,
}

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

impl Canvas<'_> {
    fn stroke(&self, path: Option<Path>, style: &impl BackendStyle) -> Drawn {
        let (Some(path), Some((color, opacity))) = (path, visible(style.color())) else {
            return Ok(());
        };
        let dash = self.dash.borrow();
        let array: Vec<f32> = dash.iter().map(|length| (length * UNITS).round() as f32).collect();
        let mut surface = self.surface.borrow_mut();
        surface.set_fill(None);
        surface.set_stroke(Some(Stroke {
            paint: color.into(),
            width: style.stroke_width() as f32,
            line_join: LineJoin::Round,
            opacity,
            dash: (!array.is_empty()).then_some(StrokeDash { array, offset: 0.0 }),
            ..Stroke::default()
        }));
        surface.draw_path(&path);
        Ok(())
    }

    fn fill(&self, path: Option<Path>, color: BackendColor) -> Drawn {
        let (Some(path), Some(fill)) = (path, fill(color)) else {
            return Ok(());
        };
        let mut surface = self.surface.borrow_mut();
        surface.set_stroke(None);
        surface.set_fill(Some(fill));
        surface.draw_path(&path);
        Ok(())
    }
}

/// Colour and opacity of what can be seen.
fn visible(color: BackendColor) -> Option<(rgb::Color, NormalizedF32)> {
    let (red, green, blue) = color.rgb;
    let opacity = NormalizedF32::new(color.alpha as f32).filter(|opacity| opacity.get() > 0.0)?;
    Some((rgb::Color::new(red, green, blue), opacity))
}

fn fill(color: BackendColor) -> Option<Fill> {
    let (color, opacity) = visible(color)?;
    Some(Fill { paint: color.into(), opacity, rule: FillRule::NonZero })
}

/// A line through points; none of fewer than two different ones.
fn polyline(points: impl IntoIterator<Item = BackendCoord>, closed: bool) -> Option<Path> {
    let mut path = PathBuilder::new();
    let mut last = None;
    for point in points {
        let (x, y) = (point.0 as f32, point.1 as f32);
        match last {
            None => path.move_to(x, y),
            Some(before) if before == point => {}
            Some(_) => path.line_to(x, y),
        }
        last = Some(point);
    }
    if closed {
        path.close();
    }
    path.finish()
}

fn circle((x, y): BackendCoord, radius: u32) -> Option<Path> {
    let (x, y, r) = (x as f32, y as f32, radius as f32);
    let k = ROUND * r;
    let mut path = PathBuilder::new();
    path.move_to(x + r, y);
    path.cubic_to(x + r, y + k, x + k, y + r, x, y + r);
    path.cubic_to(x - k, y + r, x - r, y + k, x - r, y);
    path.cubic_to(x - r, y - k, x - k, y - r, x, y - r);
    path.cubic_to(x + k, y - r, x + r, y - k, x + r, y);
    path.close();
    path.finish()
}

impl Pen for Canvas<'_> {
    fn open(&self, _: &Group) {}

    fn close(&self) {}

    fn dashes(&self, dash: Dash) -> bool {
        *self.dash.borrow_mut() = dash;
        true
    }
}

impl DrawingBackend for Canvas<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.size
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, (x, y): BackendCoord, color: BackendColor) -> Drawn {
        self.fill(polyline([(x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1)], true), color)
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Drawn {
        self.stroke(polyline([from, to], false), style)
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Drawn {
        self.stroke(polyline(path, false), style)
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        vertices: I,
        style: &S,
    ) -> Drawn {
        self.fill(polyline(vertices, true), style.color())
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        centre: BackendCoord,
        radius: u32,
        style: &S,
        fill: bool,
    ) -> Drawn {
        let path = circle(centre, radius);
        if fill { self.fill(path, style.color()) } else { self.stroke(path, style) }
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        (x, y): BackendCoord,
    ) -> Drawn {
        let Some(fill) = fill(style.color()) else {
            return Ok(());
        };
        let typeface = match style.style() {
            FontStyle::Bold => &self.bold,
            _ => &self.regular,
        };
        let size = style.size() as f32;
        let (glyphs, width) = typeface.set(text);
        let start = match style.anchor().h_pos {
            HPos::Left => 0.0,
            HPos::Center => width * size / 2.0,
            HPos::Right => width * size,
        };
        let mut surface = self.surface.borrow_mut();
        surface.set_stroke(None);
        surface.set_fill(Some(fill));
        // As in the SVG: letters are about 0.7 em high.
        let at = krilla::geom::Point::from_xy(x as f32 - start, y as f32 + 0.35 * size);
        surface.draw_glyphs(at, &glyphs, typeface.embedded.clone(), text, size, false);
        Ok(())
    }
}
