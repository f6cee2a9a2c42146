//! One quantity over steps, all arms in one chart: mean line, band of one standard deviation, every run faint behind it,
//! a cross where a run diverged, and each arm's name at the end of its line.

use plotters::prelude::DrawingBackend;

use super::axes::Axes;
use super::canvas::{Anchor, Canvas, Drawn, PLAIN, Point, SMALL};
use super::labels;
use super::scale::Scale;
use super::style;
use crate::curve::{self, Band, BandPoint, Curve};

/// One arm's lines.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The arm's place in the experiment, which gives its colour.
    pub arm: usize,
    /// Its name.
    pub name: String,
    /// Mean and spread.
    pub band: Band,
    /// Its runs, and whether each diverged.
    pub runs: Vec<(Curve, bool)>,
}

/// What is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Curves {
    /// What the y axis shows.
    pub title: String,
    /// The arms.
    pub series: Vec<Series>,
    /// A value to reach, where it is of this quantity.
    pub target: Option<f64>,
    /// Whether less is more, as for a loss: then the y axis may be logarithmic, and does not show 0 to 1.
    pub lower_is_better: bool,
}

const WIDTH: f64 = 860.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 46.0;
const LEFT: f64 = 74.0;
const NAME_CHARACTERS: usize = 26;
const NAME_LINES: usize = 3;

impl Curves {
    fn names(&self) -> Vec<Vec<String>> {
        self.series
            .iter()
            .map(|series| labels::wrap(&series.name, NAME_CHARACTERS, NAME_LINES))
            .collect()
    }

    /// Width and height in logical pixels: tall enough for every name.
    pub fn size(&self) -> (f64, f64) {
        let names: f64 = self.names().iter().map(|lines| block_height(lines)).sum();
        (WIDTH, (names + TOP + BOTTOM).max(430.0))
    }

    fn axes(&self, right: f64, height: f64) -> Axes {
        let steps =
            self.series.iter().flat_map(|series| series.band.iter().map(|point| point.step));
        let pixels = (height - BOTTOM, TOP);
        let y = value_scale(self.all_values(), self.lower_is_better, pixels);
        Axes { x: Scale::steps(steps, (LEFT, right)), y, target: self.target }
    }

    fn all_values(&self) -> impl Iterator<Item = f64> {
        self.series.iter().flat_map(|series| {
            series.runs.iter().flat_map(|(curve, _)| curve.finite().map(|(_, value)| value))
        })
    }

    /// Draws it.
    ///
    /// # Errors
    /// What the backend says.
    pub fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>) -> Drawn<DB> {
        let names = self.names();
        let label_width =
            names.iter().map(|lines| labels::width_of(lines, style::FONT)).fold(0.0, f64::max);
        let (_, height) = self.size();
        let right = WIDTH - label_width - 46.0;
        let axes = self.axes(right, height);
        axes.draw(canvas, (42.0, 42.0))?;
        axes.value_title(canvas, &self.title, (8.0, 16.0))?;
        axes.steps_title(canvas)?;
        for series in &self.series {
            band(canvas, &axes, series)?;
        }
        for series in &self.series {
            runs(canvas, &axes, series)?;
        }
        axes.draw_target(canvas)?;
        for series in &self.series {
            let means = series.band.iter().map(|point| (point.step, point.mean));
            for stretch in curve::stretches(means) {
                canvas.line(
                    &thin(&axes, &stretch),
                    style::arm(series.arm),
                    style::MEAN_LINE,
                    1.0,
                )?;
            }
        }
        for series in &self.series {
            for (end, _) in ends(series).filter(|(_, diverged)| *diverged) {
                canvas.cross(axes.map(end), 5.0, style::arm(series.arm))?;
            }
        }
        self.draw_names(canvas, &axes, &names, height)
    }

    fn draw_names<DB: DrawingBackend>(
        &self,
        canvas: &Canvas<'_, DB>,
        axes: &Axes,
        names: &[Vec<String>],
        height: f64,
    ) -> Drawn<DB> {
        let last = |series: &Series| {
            let mut valued = series.band.iter().filter_map(|point| Some((point.step, point.mean?)));
            valued.next_back().map(|point| axes.map(point))
        };
        let right = axes.x.pixels().1;
        let ends: Vec<Option<Point>> = self.series.iter().map(last).collect();
        let wanted: Vec<f64> =
            ends.iter().map(|end| end.map_or(height - BOTTOM, |end| end.1)).collect();
        let heights: Vec<f64> = names.iter().map(|lines| block_height(lines)).collect();
        let centres = labels::spread(&wanted, &heights, 24.0, height - 20.0);
        for (((series, lines), end), centre) in self.series.iter().zip(names).zip(ends).zip(centres)
        {
            let ink = style::arm(series.arm);
            if let Some(end) = end {
                let bend = (right + 20.0, centre);
                canvas.line(&[end, (right.max(end.0) + 2.0, end.1), bend], ink, 1.0, 0.6)?;
            }
            canvas.marker((right + 26.0, centre), series.arm)?;
            let top = centre - (lines.len() - 1) as f64 * style::FONT * style::LEADING / 2.0;
            let lettering = if end.is_some() { PLAIN } else { SMALL };
            canvas.lines(lines, (right + 36.0, top), Anchor::Start, lettering)?;
        }
        Ok(())
    }
}

fn block_height(lines: &[String]) -> f64 {
    lines.len() as f64 * style::FONT * style::LEADING + 6.0
}

/// The y axis for values: 0 to 1 for a share, logarithmic for a loss over more than a decade and a half, else around them.
pub(super) fn value_scale(
    values: impl Iterator<Item = f64>,
    lower_is_better: bool,
    pixels: (f64, f64),
) -> Scale {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return Scale::linear((0.0, 1.0), pixels);
    }
    if !lower_is_better && low >= 0.0 && high <= 1.0 {
        return Scale::linear((0.0, 1.0), pixels);
    }
    if lower_is_better && low > 0.0 && high / low > 30.0 {
        return Scale::log((low, high), pixels);
    }
    let low = if lower_is_better && low > 0.0 { 0.0 } else { low };
    Scale::linear_around((low, high), pixels)
}

fn band<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, axes: &Axes, series: &Series) -> Drawn<DB> {
    let at = |sign: f64| -> Vec<(u64, Option<f64>)> {
        let edge = |point: &BandPoint| Some(point.mean? + sign * point.sd?);
        series.band.iter().map(|point| (point.step, edge(point))).collect()
    };
    // Both edges are cut at the same steps, so they pair up.
    for (upper, lower) in curve::stretches(at(1.0)).into_iter().zip(curve::stretches(at(-1.0))) {
        let mut corners = thin(axes, &upper);
        corners.extend(thin(axes, &lower).into_iter().rev());
        canvas.shape(&corners, style::arm(series.arm), style::BAND_OPACITY)?;
    }
    Ok(())
}

fn runs<DB: DrawingBackend>(canvas: &Canvas<'_, DB>, axes: &Axes, series: &Series) -> Drawn<DB> {
    for (curve, _) in &series.runs {
        for stretch in curve::stretches(curve.iter()) {
            canvas.line(
                &thin(axes, &stretch),
                style::arm(series.arm),
                style::SEED_LINE,
                style::SEED_OPACITY,
            )?;
        }
    }
    Ok(())
}

/// The last valued point of each run, and whether the run diverged.
fn ends(series: &Series) -> impl Iterator<Item = ((u64, f64), bool)> {
    series.runs.iter().filter_map(|(curve, diverged)| {
        let end = curve.finite().next_back()?;
        Some((end, *diverged))
    })
}

/// Pixels of a line. Of many points in one pixel column the first, lowest, highest and last are kept, so no spike is lost.
pub(super) fn thin(axes: &Axes, line: &[(u64, f64)]) -> Vec<Point> {
    let points = line.iter().map(|&point| axes.map(point));
    let mut thinned: Vec<Point> = Vec::new();
    let mut column: Vec<Point> = Vec::new();
    let flush = |column: &mut Vec<Point>, thinned: &mut Vec<Point>| {
        if column.len() <= 4 {
            thinned.append(column);
            return;
        }
        let by_height = |a: &&(usize, Point), b: &&(usize, Point)| a.1.1.total_cmp(&b.1.1);
        let numbered: Vec<(usize, Point)> = column.drain(..).enumerate().collect();
        let extremes = [numbered.iter().min_by(by_height), numbered.iter().max_by(by_height)];
        let mut kept: Vec<(usize, Point)> = [numbered.first(), numbered.last()]
            .into_iter()
            .chain(extremes)
            .flatten()
            .copied()
            .collect();
        kept.sort_by_key(|(index, _)| *index);
        kept.dedup_by_key(|(index, _)| *index);
        thinned.extend(kept.into_iter().map(|(_, point)| point));
    };
    for point in points {
        if column.first().is_some_and(|first| first.0.floor() != point.0.floor()) {
            flush(&mut column, &mut thinned);
        }
        column.push(point);
    }
    flush(&mut column, &mut thinned);
    thinned
}
