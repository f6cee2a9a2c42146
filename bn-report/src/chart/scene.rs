//! A chart as plain data: marks in logical pixels, in the order they are painted, in groups that a page can hang
//! interaction on. Nothing here knows SVG or bitmaps, so laws over charts are tested on scenes.

use super::labels;
use super::style::{self, ArmStyle, Dash, Ink, Marker};
use crate::text::printable;

/// A point in logical pixels, from the top left.
pub type Point = (f64, f64);

/// A rectangle in logical pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rect {
    /// Left edge.
    pub left: f64,
    /// Upper edge.
    pub top: f64,
    /// Right edge.
    pub right: f64,
    /// Lower edge.
    pub bottom: f64,
}

impl Rect {
    /// Whether a point lies within, give or take `slack` pixels.
    pub fn contains(&self, (x, y): Point, slack: f64) -> bool {
        (self.left - slack..=self.right + slack).contains(&x)
            && (self.top - slack..=self.bottom + slack).contains(&y)
    }
}

/// Where text is relative to its point, across.
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
#[derive(Debug, Clone, Copy, PartialEq)]
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

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stroke {
    /// Colour.
    pub ink: Ink,
    /// Width in logical pixels.
    pub width: f64,
    /// 0 is invisible, 1 hides what is behind.
    pub opacity: f64,
    /// Dashes.
    pub dash: Dash,
}

impl Stroke {
    /// A line that is not dashed.
    pub fn solid(ink: Ink, width: f64) -> Self {
        Self { ink, width, opacity: 1.0, dash: style::SOLID }
    }
}

/// The class of the group of a scene's heading, which holds texts and no other group.
pub const HEADING: &str = "heading";

/// Marks that belong together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Group {
    /// What they are: `mean`, `band`, `runs`, `dot`, `label`.
    pub class: &'static str,
    /// The arms they show, by their places in the experiment; empty for what is of no arm.
    pub arms: Vec<usize>,
    /// What a reader who points at them is told.
    pub title: Option<String>,
    /// The axes that data marks must lie in; none for labels.
    pub within: Option<Rect>,
}

impl Group {
    /// A group of data within axes.
    pub fn data(class: &'static str, arms: &[usize], within: Rect) -> Self {
        Self { class, arms: arms.to_vec(), title: None, within: Some(within) }
    }

    /// A group of labels.
    pub fn label(class: &'static str, arms: &[usize]) -> Self {
        Self { class, arms: arms.to_vec(), ..Self::default() }
    }

    /// The same, with a title.
    pub fn titled(self, title: String) -> Self {
        Self { title: Some(title), ..self }
    }
}

/// One thing to paint, or where a group begins or ends.
#[derive(Debug, Clone, PartialEq)]
pub enum Mark {
    /// A group begins.
    Open(Group),
    /// The group that was opened last ends.
    Close,
    /// A line through two points or more.
    Line(Vec<Point>, Stroke),
    /// A filled shape: corners, colour, opacity.
    Shape(Vec<Point>, Ink, f64),
    /// A filled disc: centre, radius, colour, opacity.
    Disc(Point, f64, Ink, f64),
    /// A circle: centre, radius, colour, width.
    Ring(Point, f64, Ink, f64),
    /// One line of text, centred on the point's height.
    Text(String, Point, Anchor, Lettering),
}

/// A chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// Width and height in logical pixels.
    pub size: (f64, f64),
    /// Height of the heading at the top, which a page leaves out: it has headings of its own.
    pub heading: f64,
    /// What is painted, first to last.
    pub marks: Vec<Mark>,
}

impl Scene {
    /// An empty picture.
    pub fn new(size: (f64, f64)) -> Self {
        Self { size, heading: 0.0, marks: Vec::new() }
    }

    /// Begins a group.
    pub fn open(&mut self, group: Group) {
        self.marks.push(Mark::Open(group));
    }

    /// Ends the group that was begun last.
    pub fn close(&mut self) {
        self.marks.push(Mark::Close);
    }

    /// A line; nothing for fewer than two points.
    pub fn line(&mut self, points: Vec<Point>, stroke: Stroke) {
        if points.len() >= 2 {
            self.marks.push(Mark::Line(points, stroke));
        }
    }

    /// A straight line.
    pub fn segment(&mut self, from: Point, to: Point, stroke: Stroke) {
        self.line(vec![from, to], stroke);
    }

    /// A filled shape; nothing for fewer than three corners.
    pub fn shape(&mut self, corners: Vec<Point>, ink: Ink, opacity: f64) {
        if corners.len() >= 3 {
            self.marks.push(Mark::Shape(corners, ink, opacity));
        }
    }

    /// A filled rectangle.
    pub fn rect(&mut self, r: Rect, ink: Ink, opacity: f64) {
        let corners =
            vec![(r.left, r.top), (r.right, r.top), (r.right, r.bottom), (r.left, r.bottom)];
        self.shape(corners, ink, opacity);
    }

    /// A filled disc.
    pub fn disc(&mut self, centre: Point, radius: f64, ink: Ink, opacity: f64) {
        self.marks.push(Mark::Disc(centre, radius, ink, opacity));
    }

    /// A circle.
    pub fn ring(&mut self, centre: Point, radius: f64, ink: Ink, width: f64) {
        self.marks.push(Mark::Ring(centre, radius, ink, width));
    }

    /// A diagonal cross: a run that diverged.
    pub fn cross(&mut self, (x, y): Point, radius: f64, ink: Ink) {
        let stroke = Stroke::solid(ink, 2.0);
        for slope in [-1.0, 1.0] {
            self.segment(
                (x - radius, y - slope * radius),
                (x + radius, y + slope * radius),
                stroke,
            );
        }
    }

    /// An arrow head at the edge of the axes: there is a value beyond. `up` is towards the top of the picture.
    pub fn arrow(&mut self, (x, y): Point, up: bool, ink: Ink) {
        let tail = if up { 7.0 } else { -7.0 };
        self.shape(vec![(x, y), (x - 4.0, y + tail), (x + 4.0, y + tail)], ink, 1.0);
    }

    /// An arrow head at the left or right edge of the axes.
    pub fn side_arrow(&mut self, (x, y): Point, right: bool, ink: Ink) {
        let tail = if right { -7.0 } else { 7.0 };
        self.shape(vec![(x, y), (x + tail, y - 4.0), (x + tail, y + 4.0)], ink, 1.0);
    }

    /// An arm's marker.
    pub fn marker(&mut self, (x, y): Point, style: ArmStyle) {
        let (ink, r) = (style.ink, 4.0);
        let square: &[Point] = &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)];
        let up: &[Point] = &[(0.0, -1.15), (1.1, 0.85), (-1.1, 0.85)];
        let corners: &[Point] = match style.marker {
            Marker::Disc => return self.disc((x, y), r, ink, 1.0),
            Marker::Ring => return self.ring((x, y), r - 0.4, ink, 1.8),
            Marker::Plus => {
                let stroke = Stroke::solid(ink, 2.4);
                self.segment((x - r, y), (x + r, y), stroke);
                return self.segment((x, y - r), (x, y + r), stroke);
            }
            Marker::Square | Marker::HollowSquare => square,
            Marker::Up | Marker::HollowUp => up,
            Marker::Down => &[(0.0, 1.15), (1.1, -0.85), (-1.1, -0.85)],
            Marker::Diamond => &[(0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)],
        };
        let mut corners: Vec<Point> =
            corners.iter().map(|&(dx, dy)| (x + r * dx, y + r * dy)).collect();
        if matches!(style.marker, Marker::HollowSquare | Marker::HollowUp) {
            // Past the first corner, so that the outline is closed.
            corners.extend_from_within(..2);
            return self.line(corners, Stroke::solid(ink, 1.6));
        }
        self.shape(corners, ink, 1.0);
    }

    /// One line of text, centred on the point's height. Characters that cannot be shown are shown as a stand-in.
    pub fn text(&mut self, text: &str, at: Point, anchor: Anchor, lettering: Lettering) {
        if !text.is_empty() {
            self.marks.push(Mark::Text(printable(text), at, anchor, lettering));
        }
    }

    /// Lines of text, the first centred on the point's height.
    pub fn lines(&mut self, lines: &[String], (x, y): Point, anchor: Anchor, lettering: Lettering) {
        for (index, line) in lines.iter().enumerate() {
            let y = y + index as f64 * lettering.size * style::LEADING;
            self.text(line, (x, y), anchor, lettering);
        }
    }

    /// The marks below the heading.
    pub fn without_heading(&self) -> impl Iterator<Item = &Mark> {
        let mut inside = false;
        self.marks.iter().filter(move |mark| match mark {
            Mark::Open(group) if group.class == HEADING => {
                inside = true;
                false
            }
            Mark::Close if inside => {
                inside = false;
                false
            }
            _ => !inside,
        })
    }

    /// Every text with the box that it needs, by the estimate of [`labels::width`].
    pub fn texts(&self) -> impl Iterator<Item = (&str, Rect)> {
        self.marks.iter().filter_map(|mark| {
            let Mark::Text(text, (x, y), anchor, lettering) = mark else { return None };
            let width = labels::width(text, lettering.size);
            let left = match anchor {
                Anchor::Start => *x,
                Anchor::Middle => x - width / 2.0,
                Anchor::End => x - width,
            };
            let half = lettering.size * 0.6;
            Some((
                text.as_str(),
                Rect { left, top: y - half, right: left + width, bottom: y + half },
            ))
        })
    }
}
