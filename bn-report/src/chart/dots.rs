//! One number per run: a row per arm with every seed as a dot, the middle as an upright bar and its interval as a line.
//! Runs without the number are in a column of their own at the right, so none is lost.

use super::Look;
use super::axes::number;
use super::labels;
use super::range::{Range, Values};
use super::scale::{Scale, Steps};
use super::scene::{Anchor, Group, PLAIN, Rect, SMALL, Scene, Stroke};
use super::style;
use crate::format;

/// One arm's row, or that of several arms that are identical here.
#[derive(Debug, Clone, PartialEq)]
pub struct DotRow {
    /// The arms' places in the experiment; the first gives the style.
    pub arms: Vec<usize>,
    /// What the row is called.
    pub name: String,
    /// Seed and number of each run, in the order of the seeds.
    pub values: Vec<(u64, Option<f64>)>,
    /// The middle of the numbers.
    pub centre: Option<f64>,
    /// The interval of the middle.
    pub interval: Option<(f64, f64)>,
    /// What stands at the end of the row.
    pub text: String,
}

/// What is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Dots {
    /// What the x axis shows.
    pub title: String,
    /// The rows.
    pub rows: Vec<DotRow>,
    /// Title of the column for runs without the number; none draws no column.
    pub without: Option<String>,
    /// Whether the numbers are steps.
    pub steps: bool,
    /// A number with an upright line of its own: no difference.
    pub rule: Option<f64>,
    /// Whether a line goes through the middles of the rows: they are values of one key, in order.
    pub connected: bool,
}

const NAME_WIDTH: f64 = 230.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 48.0;
const ROW_PADDING: f64 = 14.0;

/// Where everything is.
struct Layout {
    size: (f64, f64),
    names: Vec<Vec<String>>,
    scale: Scale,
    left: f64,
    right: f64,
    text_left: f64,
    column: Option<(f64, f64)>,
    bottom: f64,
    narrow: bool,
}

impl Layout {
    fn row_height(&self, row: usize) -> f64 {
        row_height(&self.names[row], self.narrow)
    }

    /// The height at which the dots of a row are.
    fn centre(&self, row: usize) -> f64 {
        let top = TOP + (0..row).map(|above| self.row_height(above)).sum::<f64>();
        if self.narrow {
            top + self.names[row].len() as f64 * style::FONT * style::LEADING + 22.0
        } else {
            top + self.row_height(row) / 2.0
        }
    }

    fn rect(&self, top: f64, height: f64) -> Rect {
        Rect { left: self.left, top, right: self.right, bottom: top + height }
    }
}

fn row_height(name: &[String], narrow: bool) -> f64 {
    let lines = name.len() as f64 * style::FONT * style::LEADING;
    if narrow { lines + 42.0 } else { lines.max(2.0 * style::FONT) + ROW_PADDING }
}

impl Dots {
    /// The range of the axis, to be told beside the chart: it need not begin at 0. None without numbers.
    pub fn range(&self) -> Option<(f64, f64)> {
        self.values().next()?;
        Some(self.scale(self.default_look(), (0.0, 1.0)).numbers())
    }

    /// The look a reader sees first.
    pub fn default_look(&self) -> Look {
        let steps = self.values().map(|value| value.round() as u64);
        Look { log_x: self.steps && Steps::of(steps).want_log(), ..Look::default() }
    }

    fn values(&self) -> impl Iterator<Item = f64> + Clone {
        self.rows.iter().flat_map(|row| row.values.iter().filter_map(|(_, value)| *value))
    }

    fn scale(&self, look: Look, pixels: (f64, f64)) -> Scale {
        if self.steps {
            return Scale::steps(
                Steps::of(self.values().map(|value| value.round() as u64)),
                look.log_x,
                pixels,
            );
        }
        let middles = self.rows.iter().flat_map(|row| {
            row.centre
                .into_iter()
                .chain(row.interval.into_iter().flat_map(|(low, high)| [low, high]))
        });
        let kept: Vec<f64> = middles.chain(self.rule).collect();
        Range::of(Values::Any, self.values(), &kept).scale(false, pixels)
    }

    fn layout(&self, look: Look) -> Layout {
        let (width, name_width) = if look.narrow { (380.0, 340.0) } else { (900.0, NAME_WIDTH) };
        let names: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| labels::wrap(&row.name, style::FONT, name_width, 3))
            .collect();
        let widest = |lines: &[String]| labels::width_of(lines, style::FONT);
        let texts: Vec<String> = self.rows.iter().map(|row| row.text.clone()).collect();
        let (left, end) = if look.narrow {
            (16.0, width - 8.0)
        } else {
            let names = names.iter().map(|lines| widest(lines)).fold(0.0, f64::max);
            (names + 44.0, width - widest(&texts).min(250.0) - 6.0)
        };
        let room = if look.narrow { 60.0 } else { 96.0 };
        let column = self.without.as_ref().map(|_| (end - room - 8.0, end - 8.0));
        let right = column.map_or(end, |column| column.0) - 18.0;
        let heights: f64 = names.iter().map(|lines| row_height(lines, look.narrow)).sum();
        let scale = self.scale(look, (left + 8.0, right - 8.0));
        let bottom = TOP + heights;
        let text_left = end + 2.0;
        Layout {
            size: (width, bottom + BOTTOM),
            names,
            scale,
            left,
            right,
            text_left,
            column,
            bottom,
            narrow: look.narrow,
        }
    }

    /// Draws it.
    pub fn draw(&self, look: Look) -> Scene {
        let layout = self.layout(look);
        let mut scene = Scene::new(layout.size);
        self.draw_axis(&mut scene, &layout);
        if self.connected {
            self.connect(&mut scene, &layout);
        }
        let mut top = TOP;
        for (index, row) in self.rows.iter().enumerate() {
            let height = layout.row_height(index);
            draw_row(&mut scene, &layout, index, row, (top, height));
            top += height;
        }
        scene
    }

    /// The line through the middles; it is broken where a row has none.
    fn connect(&self, scene: &mut Scene, layout: &Layout) {
        let stroke = Stroke { opacity: 0.7, ..Stroke::solid(style::MUTED, 1.6) };
        let mut points = Vec::new();
        scene.open(Group::label("line", &[]));
        for (index, row) in self.rows.iter().enumerate() {
            match row.centre {
                Some(centre) => points.push((layout.scale.map(centre), layout.centre(index))),
                None => scene.line(std::mem::take(&mut points), stroke),
            }
        }
        scene.line(points, stroke);
        scene.close();
    }

    fn draw_axis(&self, scene: &mut Scene, layout: &Layout) {
        let Layout { scale, left, right, bottom, .. } = layout;
        let (left, right, bottom) = (*left, *right, *bottom);
        scene.open(Group::label("axes", &[]));
        let grid = Stroke::solid(style::GRID, 1.0);
        if let Some((from, to)) = layout.column {
            scene.rect(Rect { left: from, top: TOP, right: to, bottom }, style::GRID, 0.5);
            let title = labels::wrap(
                self.without.as_deref().unwrap_or(""),
                style::SMALL_FONT,
                to - from + 6.0,
                2,
            );
            scene.lines(&title, ((from + to) / 2.0, bottom + 14.0), Anchor::Middle, SMALL);
        }
        let room = if layout.narrow { 52.0 } else { 56.0 };
        if self.values().next().is_some() {
            for tick in scale.ticks(room).into_iter().filter(|tick| tick.labelled) {
                let x = scale.map(tick.number);
                scene.segment((x, TOP), (x, bottom), grid);
                let text = if self.steps {
                    format::count(tick.number as u64)
                } else {
                    number(tick.number)
                };
                let half = labels::width(&text, style::SMALL_FONT) / 2.0;
                let x = x.clamp(half + 1.0, scene.size.0 - half - 1.0);
                scene.text(&text, (x, bottom + 14.0), Anchor::Middle, SMALL);
            }
        }
        if let Some(rule) = self.rule {
            let x = scale.map(rule);
            let stroke = Stroke { dash: style::DOTTED, ..Stroke::solid(style::TEXT, 1.2) };
            scene.segment((x, TOP), (x, bottom), stroke);
        }
        scene.segment((left, bottom), (right, bottom), Stroke::solid(style::MUTED, 1.0));
        let title = if scale.is_log() {
            format!("{} (logarithmic)", self.title)
        } else {
            self.title.clone()
        };
        let width = if layout.narrow { right - left } else { right - left + 120.0 };
        // On a phone the heading above says it; half a title says less than none.
        let fits = labels::width(&title, style::SMALL_FONT) <= width;
        if fits || !layout.narrow {
            let title = labels::wrap(&title, style::SMALL_FONT, width, 1);
            scene.lines(&title, ((left + right) / 2.0, bottom + 34.0), Anchor::Middle, SMALL);
        }
        scene.close();
    }
}

fn draw_row(
    scene: &mut Scene,
    layout: &Layout,
    index: usize,
    row: &DotRow,
    (top, height): (f64, f64),
) {
    let arm = style::arm(row.arms.first().copied().unwrap_or(0));
    let name = &layout.names[index];
    let (width, _) = layout.size;
    let line = style::FONT * style::LEADING;
    let centre = layout.centre(index);
    let name_at = if layout.narrow {
        top + line / 2.0
    } else {
        centre - (name.len() - 1) as f64 * line / 2.0
    };
    scene.open(Group::label("row", &row.arms));
    scene.marker((10.0, name_at), arm);
    scene.lines(name, (22.0, name_at), Anchor::Start, PLAIN);
    scene.segment((layout.left, centre), (layout.right, centre), Stroke::solid(style::GRID, 1.0));
    let text_width = if layout.narrow { width - 60.0 } else { 250.0 };
    let text = labels::wrap(&row.text, style::FONT, text_width, if layout.narrow { 1 } else { 2 });
    if layout.narrow {
        // Above the dots, at the right, unless the name takes up the line.
        let free = labels::width_of(name, style::FONT) + labels::width_of(&text, style::FONT)
            < width - 40.0;
        let at = if free { (width - 6.0, name_at) } else { (width - 6.0, centre - 17.0) };
        scene.lines(&text, at, Anchor::End, SMALL);
    } else {
        let first = centre - (text.len() - 1) as f64 * line / 2.0;
        scene.lines(&text, (layout.text_left, first), Anchor::Start, PLAIN);
    }
    scene.open(Group::data("dots", &row.arms, layout.rect(top, height)));
    draw_dots(scene, layout, row, centre);
    scene.close();
    if let Some((from, to)) = layout.column {
        let without = row.values.iter().filter(|(_, value)| value.is_none()).count();
        let middle = (from + to) / 2.0;
        for place in 0..without {
            let step = ((to - from - 12.0) / without as f64).min(12.0);
            let x = middle + (place as f64 + 0.5 - without as f64 / 2.0) * step;
            scene.ring((x, centre), 4.0, arm.ink, 1.4);
        }
    }
    scene.close();
}

fn draw_dots(scene: &mut Scene, layout: &Layout, row: &DotRow, centre: f64) {
    let ink = style::arm(row.arms.first().copied().unwrap_or(0)).ink;
    let scale = &layout.scale;
    if let Some((low, high)) = row.interval {
        let stroke = Stroke { opacity: 0.6, ..Stroke::solid(ink, 3.0) };
        scene.segment((scale.map(low), centre), (scale.map(high), centre), stroke);
    }
    let count = row.values.len() as f64;
    for (index, &(seed, value)) in row.values.iter().enumerate() {
        let Some(value) = value else { continue };
        // The same seed is at the same height in every row.
        let y = centre + (index as f64 + 0.5 - count / 2.0) * (18.0 / count).min(4.0);
        scene.open(Group::default().titled(format!("seed {seed}: {}", format::value(value))));
        if scale.contains(value) {
            scene.disc((scale.map(value), y), 4.0, ink, 0.6);
        } else {
            scene.side_arrow((scale.map(value), y), value > scale.numbers().1, ink);
        }
        scene.close();
    }
    if let Some(middle) = row.centre {
        let x = scale.map(middle);
        scene.segment((x, centre - 12.0), (x, centre + 12.0), Stroke::solid(style::TEXT, 2.4));
    }
}
