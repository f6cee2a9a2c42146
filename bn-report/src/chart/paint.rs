//! Paints a scene on a plotters drawing area: SVG and bitmaps get the same marks.
//!
//! Plotters places everything on whole units, so the area has [`UNITS`] of them to a logical pixel; that keeps curves smooth.

use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea as _};
use plotters::element::{Circle, PathElement, Polygon, Text};
use plotters::prelude::DrawingBackend;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color as _, FontStyle, IntoFont as _, ShapeStyle, TextStyle};

use super::scene::{Anchor, Group, Lettering, Mark, Point, Scene, Stroke};
use super::style::Dash;

/// Units of the drawing area to a logical pixel.
pub const UNITS: f64 = 4.0;

/// What a backend can do beyond plotters' own trait.
pub trait Pen {
    /// A group of marks begins.
    fn open(&self, group: &Group);

    /// The group that was opened last ends.
    fn close(&self);

    /// Draws the lines that follow with these dashes, and says whether it can; if not, dashes are painted one by one.
    fn dashes(&self, dash: Dash) -> bool;
}

/// What painting on a backend comes to.
pub type Painted<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

/// The size of a scene's drawing area in units.
pub fn units_of(scene: &Scene) -> (u32, u32) {
    let [width, height] = [scene.size.0, scene.size.1].map(|side| (side * UNITS).round() as u32);
    (width, height)
}

/// Paints marks, first to last.
///
/// # Errors
/// What the backend says.
pub fn paint<'a, DB: DrawingBackend, P: Pen>(
    marks: impl IntoIterator<Item = &'a Mark>,
    backend: DB,
    pen: &P,
) -> Painted<DB> {
    let painter = Painter { area: backend.into_drawing_area(), pen };
    for mark in marks {
        painter.mark(mark)?;
    }
    painter.area.present()
}

struct Painter<'a, DB: DrawingBackend, P> {
    area: DrawingArea<DB, Shift>,
    pen: &'a P,
}

fn units((x, y): Point) -> (i32, i32) {
    ((x * UNITS).round() as i32, (y * UNITS).round() as i32)
}

fn all_units(points: &[Point]) -> Vec<(i32, i32)> {
    points.iter().copied().map(units).collect()
}

impl<DB: DrawingBackend, P: Pen> Painter<'_, DB, P> {
    fn mark(&self, mark: &Mark) -> Painted<DB> {
        match mark {
            Mark::Open(group) => self.pen.open(group),
            Mark::Close => self.pen.close(),
            Mark::Line(points, stroke) => self.line(points, *stroke)?,
            Mark::Shape(corners, ink, opacity) => {
                let fill = ink.light.mix(*opacity).filled();
                self.area.draw(&Polygon::new(all_units(corners), fill))?;
            }
            Mark::Disc(centre, radius, ink, opacity) => {
                let fill = ink.light.mix(*opacity).filled();
                self.area.draw(&Circle::new(units(*centre), radius * UNITS, fill))?;
            }
            Mark::Ring(centre, radius, ink, width) => {
                let stroke = shape_style(Stroke::solid(*ink, *width));
                self.area.draw(&Circle::new(units(*centre), radius * UNITS, stroke))?;
            }
            Mark::Text(text, at, anchor, lettering) => self.text(text, *at, *anchor, *lettering)?,
        }
        Ok(())
    }

    fn line(&self, points: &[Point], stroke: Stroke) -> Painted<DB> {
        let style = shape_style(stroke);
        if self.pen.dashes(stroke.dash) || stroke.dash.is_empty() {
            return self.area.draw(&PathElement::new(all_units(points), style));
        }
        for dash in cut_dashes(points, stroke.dash) {
            self.area.draw(&PathElement::new(all_units(&dash), style))?;
        }
        Ok(())
    }

    fn text(&self, text: &str, at: Point, anchor: Anchor, lettering: Lettering) -> Painted<DB> {
        let across = match anchor {
            Anchor::Start => HPos::Left,
            Anchor::Middle => HPos::Center,
            Anchor::End => HPos::Right,
        };
        let weight = if lettering.bold { FontStyle::Bold } else { FontStyle::Normal };
        let font = ("sans-serif", lettering.size * UNITS).into_font().style(weight);
        let style =
            TextStyle::from(font).color(&lettering.ink.light).pos(Pos::new(across, VPos::Center));
        self.area.draw(&Text::new(text.to_owned(), units(at), style))
    }
}

fn shape_style(stroke: Stroke) -> ShapeStyle {
    ShapeStyle {
        color: stroke.ink.light.mix(stroke.opacity),
        filled: false,
        stroke_width: (stroke.width * UNITS).round() as u32,
    }
}

/// Cuts a line into the dashes of a pattern (dash, gap, dash, gap), measured along the line.
fn cut_dashes(points: &[Point], pattern: &[f64]) -> Vec<Vec<Point>> {
    let mut dashes = Vec::new();
    let mut dash: Vec<Point> = points.first().copied().into_iter().collect();
    let mut lengths = pattern.iter().copied().cycle();
    let (mut drawing, mut left) = (true, lengths.next().unwrap_or(f64::INFINITY));
    for pair in points.windows(2) {
        let (mut from, to) = (pair[0], pair[1]);
        loop {
            let length = (to.0 - from.0).hypot(to.1 - from.1);
            if length <= left {
                left -= length;
                if drawing {
                    dash.push(to);
                }
                break;
            }
            let share = left / length;
            from = (from.0 + share * (to.0 - from.0), from.1 + share * (to.1 - from.1));
            if drawing {
                dash.push(from);
                dashes.push(std::mem::take(&mut dash));
            } else {
                dash = vec![from];
            }
            drawing = !drawing;
            left = lengths.next().unwrap_or(f64::INFINITY);
        }
    }
    if drawing {
        dashes.push(dash);
    }
    dashes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn length(line: &[Point]) -> f64 {
        line.windows(2).map(|pair| (pair[1].0 - pair[0].0).hypot(pair[1].1 - pair[0].1)).sum()
    }

    proptest! {
        #[test]
        fn dashes_cover_their_share_of_the_line(ends in prop::collection::vec((0.0..300.0f64, 0.0..300.0f64), 2..20)) {
            let (on, off) = (6.0, 4.0);
            let all = length(&ends);
            let drawn: f64 = cut_dashes(&ends, &[on, off]).iter().map(|dash| length(dash)).sum();
            let periods = (all / (on + off)).floor();
            let wanted = periods * on + (all - periods * (on + off)).min(on);
            prop_assert!((drawn - wanted).abs() < 1e-6, "{drawn} of {all}, wanted {wanted}");
        }
    }
}
