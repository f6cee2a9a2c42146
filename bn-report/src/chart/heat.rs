//! A heat map: a table of numbers as colours, with a key. Numbers are written into the cells where there is room.

use super::Look;
use super::axes::number;
use super::labels;
use super::scene::{Anchor, Group, PLAIN, Rect, SMALL, Scene};
use super::style;
use crate::format;

/// What is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Heat {
    /// What the colours show.
    pub title: String,
    /// What the columns are.
    pub x_title: String,
    /// What the rows are.
    pub y_title: String,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Names of the rows, first at the top.
    pub rows: Vec<String>,
    /// A number for each row and column, where there is one.
    pub cells: Vec<Vec<Option<f64>>>,
    /// Arms of each cell, by their places in the experiment; empty where cells are of no arm.
    pub arms: Vec<Vec<usize>>,
}

const NAME_WIDTH: f64 = 260.0;
const CELL_LIMIT: usize = 12;
const BOTTOM: f64 = 44.0;
const KEY_HEIGHT: f64 = 44.0;

/// The smallest and largest number, and whether colours are of ratios.
#[derive(Debug, Clone, Copy)]
struct Colours {
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Colours {
    fn of(values: impl Iterator<Item = f64> + Clone) -> Option<Self> {
        let low = values.clone().reduce(f64::min)?;
        let high = values.reduce(f64::max)?;
        Some(Self { low, high, logarithmic: low > 0.0 && high / low > 100.0 })
    }

    /// Which of the colours a number has.
    fn step(&self, value: f64) -> usize {
        let last = style::HEAT.len() - 1;
        let share = if self.logarithmic {
            (value.ln() - self.low.ln()) / (self.high.ln() - self.low.ln())
        } else {
            (value / 4.0 - self.low / 4.0) / (self.high / 4.0 - self.low / 4.0)
        };
        // A single number gives 0/0.
        if share.is_finite() { ((share * (last + 1) as f64) as usize).min(last) } else { last / 2 }
    }

    /// The smallest number of a colour.
    fn edge(&self, step: usize) -> f64 {
        let share = step as f64 / style::HEAT.len() as f64;
        if self.logarithmic {
            (self.low.ln() + share * (self.high.ln() - self.low.ln())).exp()
        } else {
            self.low + share * (self.high - self.low)
        }
    }
}

impl Heat {
    fn colours(&self) -> Option<Colours> {
        Colours::of(self.cells.iter().flatten().filter_map(|cell| *cell))
    }

    /// Whether there is any number.
    pub fn is_empty(&self) -> bool {
        self.colours().is_none()
    }

    /// Draws it.
    pub fn draw(&self, look: Look) -> Scene {
        let width = if look.narrow { 380.0 } else { 900.0 };
        let name_width = if look.narrow { 96.0 } else { NAME_WIDTH };
        let names: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| labels::wrap(row, style::SMALL_FONT, name_width, 1))
            .collect();
        let left =
            names.iter().map(|name| labels::width_of(name, style::SMALL_FONT)).fold(0.0, f64::max)
                + 14.0;
        let title = labels::wrap(&self.title, style::FONT, width - 16.0, 2);
        let top = super::axes::heading_height(&title) + 22.0;
        let written = self.columns.len() <= if look.narrow { 5 } else { CELL_LIMIT };
        let row_height = if written { 34.0 } else { 20.0 };
        let bottom = top + row_height * self.rows.len() as f64;
        let mut scene = Scene::new((width, bottom + BOTTOM + KEY_HEIGHT));
        super::axes::draw_value_title(&mut scene, &title);
        scene.text(&self.y_title, (8.0, top - 9.0), Anchor::Start, SMALL);
        let rect = Rect { left, top, right: width - 12.0, bottom };
        for (index, name) in names.iter().enumerate() {
            let y = top + (index as f64 + 0.5) * row_height;
            scene.lines(name, (left - 8.0, y), Anchor::End, SMALL);
        }
        self.draw_columns(&mut scene, rect);
        if let Some(colours) = self.colours() {
            self.draw_cells(&mut scene, rect, colours, written);
            draw_key(&mut scene, (left, bottom + BOTTOM), rect.right, colours);
        }
        scene
    }

    fn draw_columns(&self, scene: &mut Scene, rect: Rect) {
        let width = (rect.right - rect.left) / self.columns.len().max(1) as f64;
        let mut free = 0.0;
        for (index, column) in self.columns.iter().enumerate() {
            let x = rect.left + (index as f64 + 0.5) * width;
            let half = labels::width(column, style::SMALL_FONT) / 2.0;
            if x - half > free && x + half < scene.size.0 {
                scene.text(column, (x, rect.bottom + 13.0), Anchor::Middle, SMALL);
                free = x + half + 6.0;
            }
        }
        let middle = (rect.left + rect.right) / 2.0;
        scene.text(&self.x_title, (middle, rect.bottom + 30.0), Anchor::Middle, SMALL);
    }

    fn draw_cells(&self, scene: &mut Scene, rect: Rect, colours: Colours, written: bool) {
        let width = (rect.right - rect.left) / self.columns.len().max(1) as f64;
        let height = (rect.bottom - rect.top) / self.rows.len().max(1) as f64;
        let mut values = self.cells.iter().flatten().filter_map(|cell| *cell);
        let whole =
            values.clone().all(|value| value.fract() == 0.0) && values.any(|value| value > 1.0);
        for (y, row) in self.cells.iter().enumerate() {
            for (x, &cell) in row.iter().enumerate() {
                let Some(value) = cell else { continue };
                let (left, top) = (rect.left + x as f64 * width, rect.top + y as f64 * height);
                let gap = if written { 1.0 } else { 0.0 };
                let cell =
                    Rect { left, top, right: left + width - gap, bottom: top + height - gap };
                let arms = self.arms.get(y * self.columns.len() + x).cloned().unwrap_or_default();
                let title =
                    format!("{}, {}: {}", self.rows[y], self.columns[x], format::value(value));
                scene.open(Group::data("cell", &arms, rect).titled(title));
                let step = colours.step(value);
                scene.rect(cell, style::HEAT[step], 1.0);
                let text = if whole { format::steps(value) } else { format::value(value) };
                if written && labels::width(&text, style::SMALL_FONT) < width {
                    // The darker colours are as far from the page as text is.
                    let ink = if step > 4 { style::PAPER } else { style::TEXT };
                    let at = (left + width / 2.0, top + height / 2.0);
                    scene.text(&text, at, Anchor::Middle, super::scene::Lettering { ink, ..SMALL });
                }
                scene.close();
            }
        }
    }
}

/// The colours in a row, with the numbers at their edges.
fn draw_key(scene: &mut Scene, (left, top): (f64, f64), right: f64, colours: Colours) {
    let width = ((right - left) / style::HEAT.len() as f64).min(56.0);
    for (index, ink) in style::HEAT.into_iter().enumerate() {
        let x = left + index as f64 * width;
        scene.rect(Rect { left: x, top, right: x + width, bottom: top + 10.0 }, ink, 1.0);
    }
    let shown = if width > 50.0 { 1 } else { 3 };
    for index in (0..=style::HEAT.len()).step_by(shown) {
        let text = key_number(colours.edge(index));
        let half = labels::width(&text, style::SMALL_FONT) / 2.0;
        let x = (left + index as f64 * width).clamp(half, scene.size.0 - half);
        scene.text(&text, (x, top + 22.0), Anchor::Middle, SMALL);
    }
    if colours.logarithmic {
        let x = left + style::HEAT.len() as f64 * width + 40.0;
        if x + labels::width("(ratios)", style::FONT) < scene.size.0 {
            scene.text("(ratios)", (x, top + 5.0), Anchor::Start, PLAIN);
        }
    }
}

/// Two digits that count.
fn key_number(value: f64) -> String {
    let rounded: f64 = format!("{value:.1e}").parse().unwrap_or(value);
    number(rounded)
}
