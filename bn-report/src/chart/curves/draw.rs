//! How curves become marks.

use super::{ArmLines, BOTTOM, Curves, Extent, Layout, block_height};
use crate::chart::Look;
use crate::chart::axes::{self, Axes};
use crate::chart::labels;
use crate::chart::scene::{Anchor, Group, PLAIN, Point, SMALL, Scene, Stroke};
use crate::chart::smooth::{applies, smoothed};
use crate::chart::style::{self, ArmStyle};
use crate::chart::thin::thin;

impl Curves {
    /// Draws it.
    pub fn draw(&self, extent: &Extent, look: Look) -> Scene {
        let layout = self.layout(extent, look);
        let axes = &layout.axes;
        let mut scene = Scene::new(layout.size);
        let room = if self.panel.is_some() { (40.0, 36.0) } else { (42.0, 42.0) };
        axes.draw(&mut scene, room, self.target);
        if self.panel.is_none() {
            axes.steps_title(&mut scene);
        }
        match &self.panel {
            Some(_) => axes::draw_lines(&mut scene, &layout.title),
            None => axes::draw_value_title(&mut scene, &layout.title),
        }
        for line in &self.lines {
            self.draw_band(&mut scene, axes, line);
        }
        for line in &self.lines {
            self.draw_runs(&mut scene, &layout, line);
        }
        if let Some(rule) = self.rule {
            axes.rule(&mut scene, rule);
        }
        if let Some(target) = self.target {
            axes.target(&mut scene, target);
        }
        for line in &self.lines {
            self.draw_raw(&mut scene, axes, line);
        }
        for line in &self.lines {
            self.draw_mean(&mut scene, axes, line);
        }
        for line in &self.lines {
            draw_divergence(&mut scene, axes, line);
        }
        if !look.narrow && self.panel.is_none() {
            self.draw_names(&mut scene, &layout);
        }
        scene
    }

    fn draw_band(&self, scene: &mut Scene, axes: &Axes, line: &ArmLines) {
        if line.band.iter().all(|(_, ends)| ends.is_none()) {
            return;
        }
        scene.open(Group::data("band", &line.arms, axes.rect()));
        for stretch in stretches(line.band.iter().copied()) {
            let edge = |pick: fn((f64, f64)) -> f64| {
                let ends: Vec<(u64, f64)> =
                    stretch.iter().map(|&(step, ends)| (step, pick(ends))).collect();
                pixels(axes, line.stepped, self.smooth(&ends), 1.0)
            };
            let mut corners = edge(|ends| ends.1);
            corners.extend(edge(|ends| ends.0).into_iter().rev());
            // Many bands one over the other would hide each other.
            let opacity = if self.lines.len() > 4 { 0.6 } else { 1.0 } * style::BAND_OPACITY;
            let edges = [edge(|ends| ends.0), edge(|ends| ends.1)];
            scene.shape(corners, line.style().ink, opacity);
            if self.measured_bands {
                for edge in edges {
                    scene.line(edge, Stroke::solid(line.style().ink, style::SEED_LINE));
                }
            }
        }
        scene.close();
    }

    fn draw_runs(&self, scene: &mut Scene, layout: &Layout, line: &ArmLines) {
        if line.runs.is_empty() {
            return;
        }
        let (axes, ink) = (&layout.axes, line.style().ink);
        scene.open(Group::data("runs", &line.arms, axes.rect()));
        // Many runs one over the other would hide the means.
        let runs: usize = self.lines.iter().map(|line| line.runs.len()).sum();
        let opacity = style::SEED_OPACITY * (50.0 / runs as f64).sqrt().clamp(0.3, 1.0);
        let stroke = Stroke { opacity, ..Stroke::solid(ink, style::SEED_LINE) };
        for (run, _) in &line.runs {
            for stretch in stretches(run.iter().copied()) {
                let points = pixels(axes, line.stepped, stretch, layout.grain);
                scene.line(points, stroke);
            }
            draw_beyond(scene, axes, run.iter().copied(), line.style());
        }
        scene.close();
    }

    /// The lines as logged, faint under their smoothed ones.
    fn draw_raw(&self, scene: &mut Scene, axes: &Axes, line: &ArmLines) {
        let stretches = same_count(&line.mean).into_iter();
        let raw: Vec<Vec<(u64, f64)>> =
            stretches.filter(|stretch| applies(stretch.len(), self.smooth)).collect();
        if raw.is_empty() {
            return;
        }
        scene.open(Group::data("raw", &line.arms, axes.rect()));
        let ink = line.style().ink;
        let stroke = Stroke { opacity: style::RAW_OPACITY, ..Stroke::solid(ink, style::SEED_LINE) };
        for stretch in raw {
            scene.line(pixels(axes, line.stepped, stretch, RAW_GRAIN), stroke);
        }
        scene.close();
    }

    /// A stretch as it is drawn.
    fn smooth(&self, stretch: &[(u64, f64)]) -> Vec<(u64, f64)> {
        let values: Vec<f64> = stretch.iter().map(|(_, value)| *value).collect();
        let steps = stretch.iter().map(|(step, _)| *step);
        steps.zip(smoothed(&values, self.smooth)).collect()
    }

    fn draw_mean(&self, scene: &mut Scene, axes: &Axes, line: &ArmLines) {
        let style = line.style();
        scene.open(Group::data("mean", &line.arms, axes.rect()).titled(line.name.clone()));
        let stroke = Stroke { dash: style.dash, ..Stroke::solid(style.ink, style::MEAN_LINE) };
        for stretch in same_count(&line.mean) {
            let points = pixels(axes, line.stepped, self.smooth(&stretch), 1.0);
            if let [point] = points[..] {
                scene.marker(point, style);
            }
            for marker in along(&points, axes, line.arms.first().copied().unwrap_or(0)) {
                scene.marker(marker, style);
            }
            scene.line(points, stroke);
        }
        draw_beyond(scene, axes, line.mean.iter().map(|&(step, value, _)| (step, value)), style);
        scene.close();
    }

    fn draw_names(&self, scene: &mut Scene, layout: &Layout) {
        let axes = &layout.axes;
        let (_, height) = layout.size;
        let right = axes.x.pixels().1;
        let ends: Vec<Option<Point>> =
            self.lines.iter().map(|line| last_point(axes, line)).collect();
        let wanted: Vec<f64> =
            ends.iter().map(|end| end.map_or(height - BOTTOM, |end| end.1)).collect();
        let heights: Vec<f64> = layout.names.iter().map(|lines| block_height(lines)).collect();
        let centres = labels::spread(&wanted, &heights, axes.rect().top - 10.0, height - 10.0);
        for (((line, name), end), centre) in
            self.lines.iter().zip(&layout.names).zip(ends).zip(centres)
        {
            let style = line.style();
            scene.open(Group::label("label", &line.arms));
            // A line that ends early is not drawn on to its name.
            if let Some(end) = end.filter(|end| end.0 > right - 30.0) {
                let stroke = Stroke { opacity: 0.6, ..Stroke::solid(style.ink, 1.0) };
                scene.line(
                    vec![end, (right.max(end.0) + 2.0, end.1), (right + 20.0, centre)],
                    stroke,
                );
            }
            scene.marker((right + 26.0, centre), style);
            let top = centre - (name.len() - 1) as f64 * style::FONT * style::LEADING / 2.0;
            let lettering = if end.is_some() { PLAIN } else { SMALL };
            scene.lines(name, (right + 36.0, top), Anchor::Start, lettering);
            scene.close();
        }
    }
}

/// Width of the columns in which a line under its smoothed one is thinned.
const RAW_GRAIN: f64 = 1.5;

/// Pixels of a stretch, thinned; with steps where values hold.
fn pixels(axes: &Axes, stepped: bool, stretch: Vec<(u64, f64)>, grain: f64) -> Vec<Point> {
    let mut before: Option<Point> = None;
    let points = stretch.into_iter().flat_map(|(step, value)| {
        let point = axes.map(step, value);
        let corner = before.filter(|_| stepped).map(|before| (point.0, before.1));
        before = Some(point);
        corner.into_iter().chain([point])
    });
    thin(points, grain)
}

fn last_point(axes: &Axes, line: &ArmLines) -> Option<Point> {
    let (step, value) =
        line.mean.iter().rev().find_map(|&(step, value, _)| Some((step, value?)))?;
    Some(axes.map(step, value))
}

/// Cuts a line at its absent values: the stretches of neighbouring steps that have one.
fn stretches<T>(line: impl Iterator<Item = (u64, Option<T>)>) -> Vec<Vec<(u64, T)>> {
    let mut stretches = vec![Vec::new()];
    for (step, value) in line {
        match (value, stretches.last_mut()) {
            (Some(value), Some(stretch)) => stretch.push((step, value)),
            _ => stretches.push(Vec::new()),
        }
    }
    stretches.retain(|stretch| !stretch.is_empty());
    stretches
}

/// Cuts a mean line at its absent values, and where it becomes the mean of fewer runs: it would leap there.
pub(super) fn same_count(mean: &[(u64, Option<f64>, usize)]) -> Vec<Vec<(u64, f64)>> {
    let mut stretches: Vec<Vec<(u64, f64)>> = vec![Vec::new()];
    let mut before = 0;
    for &(step, value, n) in mean {
        if value.is_none() || n < before {
            stretches.push(Vec::new());
        }
        if let (Some(value), Some(stretch)) = (value, stretches.last_mut()) {
            stretch.push((step, value));
        }
        before = n;
    }
    stretches.retain(|stretch| !stretch.is_empty());
    stretches
}

/// An arrow where a line leaves the axes, once each time.
fn draw_beyond(
    scene: &mut Scene,
    axes: &Axes,
    line: impl Iterator<Item = (u64, Option<f64>)>,
    style: ArmStyle,
) {
    let (low, high) = axes.y.numbers();
    let mut side = 0;
    for (step, value) in line {
        let now = match value {
            Some(value) if value > high => 1,
            Some(value) if value < low => -1,
            _ => 0,
        };
        if let Some(value) = value.filter(|_| now != 0 && now != side) {
            scene.arrow(axes.map(step, value), now > 0, style.ink);
        }
        side = now;
    }
}

fn draw_divergence(scene: &mut Scene, axes: &Axes, line: &ArmLines) {
    if line.runs.iter().all(|(_, diverged)| !diverged) {
        return;
    }
    let group = Group::data("diverged", &line.arms, axes.rect());
    scene.open(group.titled(format!("{}: a run diverged", line.name)));
    for (run, _) in line.runs.iter().filter(|(_, diverged)| *diverged) {
        if let Some((step, value)) =
            run.iter().rev().find_map(|&(step, value)| Some((step, value?)))
        {
            scene.cross(axes.map(step, value), 5.0, line.style().ink);
        }
    }
    scene.close();
}

/// Places of markers along a line: about four across the axes, shifted from arm to arm so that they do not cover each other.
fn along(points: &[Point], axes: &Axes, arm: usize) -> Vec<Point> {
    let (left, right) = axes.x.pixels();
    let apart = (right - left) / 4.0;
    let shift = (arm as f64 * 0.381_966).fract();
    let wanted = (0..4).map(|index| left + (f64::from(index) + 0.1 + 0.8 * shift) * apart);
    let between = |x: f64| {
        let pair = points.windows(2).find(|pair| pair[0].0 <= x && x <= pair[1].0)?;
        let width = pair[1].0 - pair[0].0;
        let share = if width > 0.0 { (x - pair[0].0) / width } else { 0.0 };
        Some((x, pair[0].1 + share * (pair[1].1 - pair[0].1)))
    };
    wanted.filter_map(between).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::range::Values;
    use crate::chart::scale::Scale;
    use crate::chart::scene::Mark;

    #[test]
    fn a_mean_is_broken_where_values_are_absent_or_runs_drop_out() {
        let mean = [
            (0, Some(1.0), 3),
            (1, Some(2.0), 3),
            (2, Some(9.0), 2),
            (3, Some(9.0), 2),
            (4, None, 0),
            (5, Some(3.0), 3),
        ];
        assert_eq!(
            same_count(&mean),
            [vec![(0, 1.0), (1, 2.0)], vec![(2, 9.0), (3, 9.0)], vec![(5, 3.0)]]
        );
    }

    /// Lowest and highest point of the lines in a group of a class; none where there is no such group.
    fn heights(scene: &Scene, class: &str) -> Option<(f64, f64)> {
        let start = scene
            .marks
            .iter()
            .position(|mark| matches!(mark, Mark::Open(group) if group.class == class))?;
        let inside = scene.marks[start..].iter().take_while(|mark| **mark != Mark::Close);
        let points = inside.filter_map(|mark| match mark {
            Mark::Line(points, _) => Some(points.clone()),
            _ => None,
        });
        let heights: Vec<f64> = points.flatten().map(|(_, y)| y).collect();
        let lowest = heights.iter().copied().reduce(f64::min)?;
        Some((lowest, heights.iter().copied().reduce(f64::max)?))
    }

    #[test]
    fn under_a_smoothed_line_the_logged_one_is_seen_with_its_spikes() {
        let noisy = |step: u64| if step == 150 { 9.0 } else { 1.0 + (step % 2) as f64 };
        let mean = (0..300).map(|step| (step, Some(noisy(step)), 3)).collect();
        let line = ArmLines {
            arms: vec![0],
            name: "an arm".into(),
            style: None,
            mean,
            band: Vec::new(),
            runs: Vec::new(),
            stepped: false,
        };
        let curves = |smooth| Curves {
            title: String::new(),
            lines: vec![line.clone()],
            target: None,
            rule: None,
            values: Values::Any,
            smooth,
            measured_bands: false,
            panel: None,
        };
        let draw = |curves: &Curves| curves.draw(&curves.extent(), Look::default());
        let (smooth, plain) = (curves(25), curves(1));
        assert!(smooth.is_smoothed() && !plain.is_smoothed());
        let (smooth, plain) = (draw(&smooth), draw(&plain));
        let mean = heights(&plain, "mean");
        assert_eq!((heights(&plain, "raw"), heights(&smooth, "raw")), (None, mean));
        let ((highest, _), (smoothed, _)) = (mean.unwrap(), heights(&smooth, "mean").unwrap());
        assert!(smoothed > highest + 50.0, "the spike of one value is averaged away: {smoothed}");
    }

    #[test]
    fn a_line_that_leaves_the_axes_has_one_arrow_each_time() {
        let pixels = (100.0, 0.0);
        let axes = Axes {
            x: Scale::linear((0.0, 9.0), (0.0, 90.0)),
            y: Scale::linear((0.0, 1.0), pixels),
        };
        let mut scene = Scene::new((100.0, 100.0));
        let values = [0.5, 2.0, 3.0, 0.5, 4.0, -1.0, 0.1];
        let line = values.iter().enumerate().map(|(step, &value)| (step as u64, Some(value)));
        draw_beyond(&mut scene, &axes, line, style::arm(0));
        assert_eq!(scene.marks.len(), 3);
    }
}
