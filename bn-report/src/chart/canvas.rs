//! What charts are drawn with: lines, shapes and text on a plotters drawing area, in logical pixels.
//!
//! Plotters places everything on whole units, so the area has [`UNITS`] of them to a logical pixel; that keeps curves smooth.

use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind};
use plotters::element::{Circle, PathElement, Polygon, Text};
use plotters::prelude::DrawingBackend;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color as _, FontStyle, IntoFont as _, RGBAColor, ShapeStyle, TextStyle};

use super::style::{self, Ink};

/// Units of the drawing area to a logical pixel.
pub const UNITS: f64 = 4.0;

/// A point in logical pixels, from the top left.
pub type Point = (f64, f64);

/// What drawing on a backend comes to.
pub type Drawn<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

/// Where text stands relative to its point, across.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// It starts there.
    Start,
    /// Its middle is there.
    Middle,
    /// It ends there.
    End,
}

/// How text looks.
#[derive(Debug, Clone, Copy)]
pub struct Lettering {
    /// Height in logical pixels.
    pub size: f64,
    /// Colour.
    pub ink: Ink,
    /// Bold.
    pub bold: bool,
}

/// Plain text.
pub const PLAIN: Lettering = Lettering { size: style::FONT, ink: style::TEXT, bold: false };
/// Titles.
pub const BOLD: Lettering = Lettering { bold: true, ..PLAIN };
/// Ticks and remarks.
pub const SMALL: Lettering = Lettering { size: style::SMALL_FONT, ink: style::MUTED, bold: false };

/// A drawing area, spoken to in logical pixels.
pub struct Canvas<'a, DB: DrawingBackend>(pub &'a DrawingArea<DB, Shift>);

fn units((x, y): Point) -> (i32, i32) {
    ((x * UNITS).round() as i32, (y * UNITS).round() as i32)
}

fn stroke(ink: Ink, width: f64, opacity: f64) -> ShapeStyle {
    ShapeStyle {
        color: ink.light.mix(opacity),
        filled: false,
        stroke_width: (width * UNITS).round() as u32,
    }
}

impl<DB: DrawingBackend> Canvas<'_, DB> {
    /// A line through points; nothing for fewer than two.
    pub fn line(&self, points: &[Point], ink: Ink, width: f64, opacity: f64) -> Drawn<DB> {
        if points.len() < 2 {
            return Ok(());
        }
        let points: Vec<(i32, i32)> = points.iter().copied().map(units).collect();
        self.0.draw(&PathElement::new(points, stroke(ink, width, opacity)))
    }

    /// A dashed line through points.
    pub fn dashes(
        &self,
        points: &[Point],
        ink: Ink,
        width: f64,
        (on, off): (f64, f64),
    ) -> Drawn<DB> {
        for dash in cut_dashes(points, on, off) {
            self.line(&dash, ink, width, 1.0)?;
        }
        Ok(())
    }

    /// A filled shape; nothing for fewer than three corners.
    pub fn shape(&self, corners: &[Point], ink: Ink, opacity: f64) -> Drawn<DB> {
        if corners.len() < 3 {
            return Ok(());
        }
        let corners: Vec<(i32, i32)> = corners.iter().copied().map(units).collect();
        let color: RGBAColor = ink.light.mix(opacity);
        self.0.draw(&Polygon::new(corners, color.filled()))
    }

    /// A disc.
    pub fn disc(&self, centre: Point, radius: f64, ink: Ink, opacity: f64) -> Drawn<DB> {
        let color: RGBAColor = ink.light.mix(opacity);
        self.0.draw(&Circle::new(units(centre), radius * UNITS, color.filled()))
    }

    /// A circle.
    pub fn ring(&self, centre: Point, radius: f64, ink: Ink, width: f64) -> Drawn<DB> {
        self.0.draw(&Circle::new(units(centre), radius * UNITS, stroke(ink, width, 1.0)))
    }

    /// A cross: a run that diverged.
    pub fn cross(&self, (x, y): Point, radius: f64, ink: Ink) -> Drawn<DB> {
        for slope in [-1.0, 1.0] {
            self.line(
                &[(x - radius, y - slope * radius), (x + radius, y + slope * radius)],
                ink,
                2.0,
                1.0,
            )?;
        }
        Ok(())
    }

    /// An arm's marker: its shape tells apart arms whose colours come close.
    pub fn marker(&self, (x, y): Point, arm: usize) -> Drawn<DB> {
        let (ink, r) = (style::arm(arm), 4.0);
        let corner = |(dx, dy): Point| (x + r * dx, y + r * dy);
        match arm % 5 {
            0 => self.disc((x, y), r, ink, 1.0),
            1 => self.shape(
                &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)].map(corner),
                ink,
                1.0,
            ),
            2 => self.shape(&[(0.0, -1.2), (1.15, 0.9), (-1.15, 0.9)].map(corner), ink, 1.0),
            3 => self.shape(
                &[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)].map(corner),
                ink,
                1.0,
            ),
            _ => self.shape(&[(0.0, 1.2), (1.15, -0.9), (-1.15, -0.9)].map(corner), ink, 1.0),
        }
    }

    /// One line of text, centred on the point's height.
    pub fn text(&self, text: &str, at: Point, anchor: Anchor, lettering: Lettering) -> Drawn<DB> {
        let across = match anchor {
            Anchor::Start => HPos::Left,
            Anchor::Middle => HPos::Center,
            Anchor::End => HPos::Right,
        };
        // plotters-svg divides by 1.24 what it is given.
        let mut font = ("sans-serif", lettering.size * UNITS * 1.24).into_font();
        if lettering.bold {
            font = font.style(FontStyle::Bold);
        }
        let style =
            TextStyle::from(font).color(&lettering.ink.light).pos(Pos::new(across, VPos::Center));
        self.0.draw(&Text::new(text.to_owned(), units(at), style))
    }

    /// Lines of text, the first centred on the point's height.
    pub fn lines(
        &self,
        lines: &[String],
        (x, y): Point,
        anchor: Anchor,
        lettering: Lettering,
    ) -> Drawn<DB> {
        for (index, line) in lines.iter().enumerate() {
            let y = y + index as f64 * lettering.size * style::LEADING;
            self.text(line, (x, y), anchor, lettering)?;
        }
        Ok(())
    }
}

/// Cuts a line into dashes of length `on`, `off` apart, measured along the line.
fn cut_dashes(points: &[Point], on: f64, off: f64) -> Vec<Vec<Point>> {
    let mut dashes = Vec::new();
    let mut dash: Vec<Point> = points.first().copied().into_iter().collect();
    let (mut drawing, mut left) = (true, on);
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
            left = if drawing { on } else { off };
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

    proptest! {
        #[test]
        fn dashes_cover_their_share_of_the_line(ends in prop::collection::vec((0.0..300.0f64, 0.0..300.0f64), 2..20)) {
            let length = |line: &[Point]| -> f64 {
                line.windows(2).map(|pair| (pair[1].0 - pair[0].0).hypot(pair[1].1 - pair[0].1)).sum()
            };
            let (on, off) = (6.0, 4.0);
            let whole = length(&ends);
            let drawn: f64 = cut_dashes(&ends, on, off).iter().map(|dash| length(dash)).sum();
            let periods = (whole / (on + off)).floor();
            let wanted = periods * on + (whole - periods * (on + off)).min(on);
            prop_assert!((drawn - wanted).abs() < 1e-6, "{drawn} of {whole}, wanted {wanted}");
        }
    }
}
