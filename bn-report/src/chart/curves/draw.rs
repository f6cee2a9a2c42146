//! How curves become marks.

use super::points::{along, last_point, pixels, same_count, stretches};
use super::{ArmLines, BOTTOM, Curves, Extent, Layout, block_height};
use crate::chart::Look;
use crate::chart::axes::{self, Axes};
use crate::chart::labels;
use crate::chart::scene::{Anchor, Group, PLAIN, Point, SMALL, Scene, Stroke};
use crate::chart::smooth::{applies, smoothed};
use crate::chart::style::{self, ArmStyle};

/// Width of the columns in which a line under its smoothed one is thinned.
const RAW_GRAIN: f64 = 1.5;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::range::Values;
    use crate::chart::scale::Scale;
    use crate::chart::scene::Mark;

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
