//! Draws one example: a distorted glyph over clutter, in random shades, with camera noise.
//!
//! Uses only additions, multiplications, divisions and square roots, which every machine rounds identically.

use super::settings::Settings;
use super::shape::{Glyph, Point, Stroke, on_curve, point, stroke};
use super::shift::Shift;
use crate::random::Stream;

/// Line segments per stroke.
const PIECES: usize = 8;
/// Range of half a stroke's width, relative to the image's width.
const HALF_WIDTH: [f32; 2] = [0.035, 0.06];
/// Range of the darkness of clutter relative to ink.
const CLUTTER: [f32; 2] = [0.5, 0.9];
/// Share of the square that a glyph fills. When distorted, it may leave the image slightly.
const FILL: f32 = 0.72;

/// Draws an example of `glyph` into the planes of `image`, in `0..=1`.
pub(super) fn draw(
    image: &mut [f32],
    settings: &Settings,
    glyph: &Glyph,
    shift: Shift,
    stream: &mut Stream,
) {
    let size = settings.size;
    let half_width = stream.uniform(HALF_WIDTH[0], HALF_WIDTH[1]) * size as f32;
    let mut clutter = vec![0.0; size * size];
    for _ in 0..settings.clutter {
        let shade = stream.uniform(CLUTTER[0], CLUTTER[1]);
        Pen { size, half_width, shade }.stroke(&mut clutter, &stroke(stream));
    }
    let mut ink = vec![0.0; size * size];
    let view = View::new(settings.jitter, stream);
    for stroke in &glyph.strokes {
        let bent = stroke.map(|point| view.see(nudge(point, settings.jitter, stream)));
        Pen { size, half_width, shade: 1.0 }.stroke(&mut ink, &bent);
    }
    for plane in image.chunks_exact_mut(size * size) {
        let [ground, ink_shade, clutter_shade] = shades(settings.colour, stream);
        for ((pixel, ink), clutter) in plane.iter_mut().zip(&ink).zip(&clutter) {
            let behind = ground + clutter * (clutter_shade - ground);
            *pixel = behind + ink * (ink_shade - behind);
        }
        shift.apply(plane, size);
        for pixel in plane {
            *pixel = (*pixel + settings.noise * stream.nearly_normal()).clamp(0.0, 1.0);
        }
    }
}

/// Random shades of background, ink and clutter: black, white and white, varied by up to `colour`.
fn shades(colour: f32, stream: &mut Stream) -> [f32; 3] {
    let mut away = || 0.45 * colour * stream.unit();
    [away(), 1.0 - away(), 1.0 - away()]
}

/// Moves `point` slightly.
fn nudge(point: Point, jitter: f32, stream: &mut Stream) -> Point {
    point.map(|coordinate| coordinate + 0.5 * jitter * stream.uniform(-1.0, 1.0))
}

/// An affine transformation: rotation, stretching, slant and shift.
struct View {
    rows: [Point; 2],
    shift: Point,
}

impl View {
    fn new(jitter: f32, stream: &mut Stream) -> Self {
        let mut away = || jitter * stream.uniform(-1.0, 1.0);
        // Rational parametrization of the rotation, which avoids sine and cosine.
        let tangent = 0.5 * away();
        let (cosine, sine) = (
            (1.0 - tangent * tangent) / (1.0 + tangent * tangent),
            2.0 * tangent / (1.0 + tangent * tangent),
        );
        let (wide, high, slant) = (1.0 + 0.5 * away(), 1.0 + 0.5 * away(), 0.5 * away());
        let (wide, high) = (FILL * wide, FILL * high);
        let rows = [
            [cosine * wide, cosine * slant * high - sine * high],
            [sine * wide, sine * slant * high + cosine * high],
        ];
        Self { rows, shift: point(stream).map(|coordinate| 0.5 * jitter * coordinate) }
    }

    fn see(&self, [x, y]: Point) -> Point {
        let row = |axis: usize| self.rows[axis][0] * x + self.rows[axis][1] * y + self.shift[axis];
        [row(0), row(1)]
    }
}

/// Draws antialiased strokes into one plane.
struct Pen {
    size: usize,
    /// In pixels.
    half_width: f32,
    /// Shade of a fully covered pixel.
    shade: f32,
}

impl Pen {
    /// Draws a stroke. Where strokes cross, the maximum counts.
    fn stroke(&self, plane: &mut [f32], stroke: &Stroke) {
        let pixel = |point: Point| point.map(|x| 0.5 * (x + 1.0) * self.size as f32);
        let mut start = pixel(stroke[0]);
        for piece in 1..=PIECES {
            let end = pixel(on_curve(stroke, piece as f32 / PIECES as f32));
            self.piece(plane, start, end);
            start = end;
        }
    }

    /// Draws a line segment with round ends.
    fn piece(&self, plane: &mut [f32], start: Point, end: Point) {
        let reach = self.half_width + 0.5;
        let range = |axis: usize| {
            let (low, high) = (start[axis].min(end[axis]), start[axis].max(end[axis]));
            let inside = |x: f32| x.clamp(0.0, self.size as f32) as usize;
            inside(low - reach)..inside(high + reach + 1.0)
        };
        let along = [end[0] - start[0], end[1] - start[1]];
        let length = along[0] * along[0] + along[1] * along[1];
        let inverse = if length > 0.0 { 1.0 / length } else { 0.0 };
        for row in range(1) {
            for column in range(0) {
                let [x, y] = [column as f32 + 0.5 - start[0], row as f32 + 0.5 - start[1]];
                let part = ((x * along[0] + y * along[1]) * inverse).clamp(0.0, 1.0);
                let [x, y] = [x - part * along[0], y - part * along[1]];
                let distance = (x * x + y * y).sqrt();
                let cover = self.shade * (reach - distance).clamp(0.0, 1.0);
                let pixel = &mut plane[row * self.size + column];
                *pixel = pixel.max(cover);
            }
        }
    }
}
