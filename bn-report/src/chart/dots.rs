//! One number per run: a row per arm with every seed as a dot, the mean as a bar and one standard deviation as a line.
//! Runs without the number stand in a column of their own at the right, where there is one, so none is lost.

use plotters::prelude::DrawingBackend;

use super::axes::number;
use super::canvas::{Anchor, Canvas, Drawn, PLAIN, SMALL};
use super::scale::Scale;
use super::{labels, style};
use crate::stats::Summary;

/// One arm's row.
#[derive(Debug, Clone, PartialEq)]
pub struct DotRow {
    /// The arm's place in the experiment.
    pub arm: usize,
    /// Its name.
    pub name: String,
    /// One number per run, in the order of the seeds.
    pub values: Vec<Option<f64>>,
    /// Summary of the numbers that are there.
    pub summary: Summary,
    /// What stands at the right end of the row.
    pub text: String,
}

/// What is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Dots {
    /// What the x axis shows.
    pub title: String,
    /// The arms.
    pub rows: Vec<DotRow>,
    /// Title of the column for runs without the number; none draws no column.
    pub without: Option<String>,
    /// Whether the axis may be logarithmic (steps) or is around the values (everything else).
    pub steps: bool,
}

const WIDTH: f64 = 860.0;
const NAME_CHARACTERS: usize = 30;
const ROW_PADDING: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 50.0;

impl Dots {
    fn names(&self) -> Vec<Vec<String>> {
        self.rows.iter().map(|row| labels::wrap(&row.name, NAME_CHARACTERS, 3)).collect()
    }

    /// Width and height in logical pixels.
    pub fn size(&self) -> (f64, f64) {
        let rows: f64 = self.names().iter().map(|lines| row_height(lines)).sum();
        (WIDTH, TOP + rows + BOTTOM)
    }

    /// The range of the axis, named beside the chart: it does not begin at 0 unless the numbers do.
    pub fn range(&self) -> Option<(f64, f64)> {
        self.rows.iter().any(|row| row.summary.n > 0).then(|| self.scale((0.0, 1.0)).numbers())
    }

    fn scale(&self, pixels: (f64, f64)) -> Scale {
        let edges = |row: &DotRow| {
            let sd = row.summary.sd.filter(|_| !self.steps).unwrap_or(0.0);
            let edges = row.summary.mean.map(|mean| [mean - sd, mean + sd]);
            row.values
                .iter()
                .copied()
                .flatten()
                .chain(edges.into_iter().flatten())
                .collect::<Vec<_>>()
        };
        let values: Vec<f64> = self.rows.iter().flat_map(edges).collect();
        if self.steps {
            return Scale::steps(values.iter().map(|&value| value.round() as u64), pixels);
        }
        let (low, high) = values
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
        if low > high {
            Scale::linear((0.0, 1.0), pixels)
        } else {
            Scale::linear_around((low, high), pixels)
        }
    }

    /// Draws it.
    ///
    /// # Errors
    /// What the backend says.
    pub fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>) -> Drawn<DB> {
        let names = self.names();
        let (_, height) = self.size();
        let bottom = height - BOTTOM;
        let left =
            names.iter().map(|lines| labels::width_of(lines, style::FONT)).fold(0.0, f64::max)
                + 44.0;
        let texts: Vec<String> = self.rows.iter().map(|row| row.text.clone()).collect();
        let text_left = WIDTH - labels::width_of(&texts, style::FONT) - 6.0;
        let column = self.without.as_ref().map(|_| (text_left - 104.0, text_left - 24.0));
        let right = column.map_or(text_left, |column| column.0) - 22.0;
        let scale = self.scale((left + 8.0, right));
        let range = self.range();
        for tick in scale.ticks(46.0).into_iter().filter(|_| range.is_some()) {
            let x = scale.map(tick);
            canvas.line(&[(x, TOP), (x, bottom)], style::GRID, 1.0, 1.0)?;
            let text = if self.steps { crate::format::count(tick as u64) } else { number(tick) };
            canvas.text(&text, (x, bottom + 14.0), Anchor::Middle, SMALL)?;
        }
        canvas.line(&[(left, bottom), (right + 8.0, bottom)], style::MUTED, 1.0, 1.0)?;
        let title = if scale.is_log() {
            format!("{} (logarithmic)", self.title)
        } else {
            self.title.clone()
        };
        canvas.text(&title, ((left + right) / 2.0, bottom + 34.0), Anchor::Middle, SMALL)?;
        if let (Some((from, to)), Some(title)) = (column, &self.without) {
            let corners = [(from, TOP), (to, TOP), (to, bottom), (from, bottom)];
            canvas.shape(&corners, style::GRID, 0.5)?;
            canvas.text(title, ((from + to) / 2.0, bottom + 14.0), Anchor::Middle, SMALL)?;
        }
        let mut top = TOP;
        for (row, lines) in self.rows.iter().zip(&names) {
            let centre = top + row_height(lines) / 2.0;
            top += row_height(lines);
            canvas.marker((10.0, centre), row.arm)?;
            let first = centre - (lines.len() - 1) as f64 * style::FONT * style::LEADING / 2.0;
            canvas.lines(lines, (22.0, first), Anchor::Start, PLAIN)?;
            canvas.line(&[(left, centre), (right + 8.0, centre)], style::GRID, 1.0, 1.0)?;
            draw_row(canvas, &scale, row, centre, column.map(|(from, to)| (from + to) / 2.0))?;
            canvas.text(&row.text, (text_left, centre), Anchor::Start, PLAIN)?;
        }
        Ok(())
    }
}

fn row_height(lines: &[String]) -> f64 {
    (lines.len() as f64 * style::FONT * style::LEADING).max(2.0 * style::FONT) + ROW_PADDING
}

fn draw_row<DB: DrawingBackend>(
    canvas: &Canvas<'_, DB>,
    scale: &Scale,
    row: &DotRow,
    centre: f64,
    without: Option<f64>,
) -> Drawn<DB> {
    let ink = style::arm(row.arm);
    let count = row.values.len();
    // The same seed stands at the same height in every row.
    let offset =
        |index: usize| (index as f64 + 0.5 - count as f64 / 2.0) * (18.0 / count as f64).min(4.0);
    if let (Some(mean), Some(sd)) = (row.summary.mean, row.summary.sd) {
        let ends = [mean - sd, mean + sd].map(|value| (scale.map(value), centre));
        canvas.line(&ends, ink, 3.0, 0.55)?;
    }
    for (index, value) in row.values.iter().enumerate() {
        let y = centre + offset(index);
        match (value, without) {
            (Some(value), _) => canvas.disc((scale.map(*value), y), 4.0, ink, 0.6)?,
            (None, Some(x)) => {
                let spread =
                    (index as f64 + 0.5 - count as f64 / 2.0) * (70.0 / count as f64).min(12.0);
                canvas.ring((x + spread, centre), 4.0, ink, 1.4)?;
            }
            (None, None) => {}
        }
    }
    if let Some(mean) = row.summary.mean {
        let x = scale.map(mean);
        canvas.line(&[(x, centre - 12.0), (x, centre + 12.0)], style::TEXT, 2.4, 1.0)?;
    }
    Ok(())
}
