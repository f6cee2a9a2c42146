//! Grid, ticks and axis titles.

use super::labels;
use super::scale::{Scale, Tick};
use super::scene::{
    Anchor, BOLD, Group, HEADING, Lettering, PLAIN, Point, Rect, SMALL, Scene, Stroke,
};
use super::style;
use crate::format;

/// The two axes of a chart; `y` runs from the bottom up, so its pixels fall.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Axes {
    /// Across.
    pub x: Scale,
    /// Up.
    pub y: Scale,
}

/// Pixels between the axes and the numbers at their ticks.
const TICK_ROOM: f64 = 7.0;

impl Axes {
    /// Where a step and a value lie; beyond the axes, at their edge.
    pub fn map(&self, step: u64, value: f64) -> Point {
        (self.x.map(step as f64), self.y.map(value))
    }

    /// What the axes enclose.
    pub fn rect(&self) -> Rect {
        let ((left, right), (bottom, top)) = (self.x.pixels(), self.y.pixels());
        Rect { left, top, right, bottom }
    }

    /// Horizontal grid lines with their numbers, steps below, and the x axis itself. A number that would be under the label of
    /// one of `kept` is left out.
    pub fn draw(&self, scene: &mut Scene, room: (f64, f64), kept: Option<f64>) {
        let Rect { left, top: _, right, bottom } = self.rect();
        scene.open(Group::label("axes", &[]));
        let grid = Stroke::solid(style::GRID, 1.0);
        let kept = kept.map(|value| self.y.map(value));
        for tick in self.y.ticks(room.1).into_iter().filter(|tick| tick.labelled) {
            let y = self.y.map(tick.number);
            scene.segment((left, y), (right, y), grid);
            if kept.is_none_or(|kept| (kept - y).abs() > style::FONT) {
                scene.text(&number(tick.number), (left - TICK_ROOM, y), Anchor::End, SMALL);
            }
        }
        let axis = Stroke::solid(style::MUTED, 1.0);
        match self.x.break_at() {
            None => scene.segment((left, bottom), (right, bottom), axis),
            Some(at) => {
                scene.segment((left, bottom), (at - 3.0, bottom), axis);
                scene.segment((at + 3.0, bottom), (right, bottom), axis);
                for side in [at - 3.0, at + 3.0] {
                    scene.segment((side - 2.0, bottom + 5.0), (side + 2.0, bottom - 5.0), axis);
                }
            }
        }
        for tick in with_last(&self.x, room.0) {
            let x = self.x.map(tick.number);
            let length = if tick.labelled { 5.0 } else { 3.0 };
            scene.segment((x, bottom), (x, bottom + length), axis);
            if tick.labelled {
                let text = format::count(tick.number.round() as u64);
                let half = labels::width(&text, style::SMALL_FONT) / 2.0;
                let x = x.min(scene.size.0 - half - 1.0);
                scene.text(&text, (x, bottom + 15.0), Anchor::Middle, SMALL);
            }
        }
        scene.close();
    }

    /// The title of an x axis of steps, below its numbers.
    pub fn steps_title(&self, scene: &mut Scene) {
        let Rect { left, right, bottom, .. } = self.rect();
        let title = if self.x.is_log() { "step (logarithmic)" } else { "step" };
        scene.text(title, ((left + right) / 2.0, bottom + 34.0), Anchor::Middle, SMALL);
    }

    /// A dotted line at a value.
    pub fn rule(&self, scene: &mut Scene, value: f64) {
        let (Rect { left, right, .. }, y) = (self.rect(), self.y.map(value));
        let stroke = Stroke { dash: style::DOTTED, ..Stroke::solid(style::TEXT, 1.0) };
        scene.segment((left, y), (right, y), stroke);
    }

    /// The dotted line at a value to reach, with its label.
    pub fn target(&self, scene: &mut Scene, value: f64) {
        self.rule(scene, value);
        let at = (self.rect().left - TICK_ROOM, self.y.map(value));
        scene.text(&target_label(value), at, Anchor::End, TARGET);
    }
}

const TARGET: Lettering = Lettering { size: style::SMALL_FONT, ..BOLD };

fn target_label(value: f64) -> String {
    format!("\u{2192} {}", number(value))
}

/// The title of a y axis, on lines of their own above it, so that nothing has to be turned. Returns the lines.
pub fn value_title(title: &str, logarithmic: bool, width: f64) -> Vec<String> {
    let title = if logarithmic { format!("{title} (logarithmic)") } else { title.to_owned() };
    labels::wrap(&title, style::FONT, width, 2)
}

/// Writes the lines of [`value_title`], from the top left, as the scene's heading.
pub fn draw_value_title(scene: &mut Scene, lines: &[String]) {
    scene.open(Group::label(HEADING, &[]));
    draw_lines(scene, lines);
    scene.close();
    scene.heading = heading_height(lines);
}

/// How high the heading of these lines is.
pub fn heading_height(lines: &[String]) -> f64 {
    8.0 + lines.len() as f64 * style::FONT * style::LEADING
}

/// Writes lines from the top left.
pub fn draw_lines(scene: &mut Scene, lines: &[String]) {
    let lettering = Lettering { ink: style::MUTED, ..PLAIN };
    scene.lines(lines, (8.0, 14.0), Anchor::Start, lettering);
}

/// How far left the numbers of a y axis, and the label of a value to reach, extend.
pub fn number_room(y: &Scale, room: f64, target: Option<f64>) -> f64 {
    let ticks = y.ticks(room).into_iter().filter(|tick| tick.labelled);
    let widths = ticks.map(|tick| labels::width(&number(tick.number), style::SMALL_FONT));
    let target = target.map(|value| labels::width(&target_label(value), style::SMALL_FONT));
    widths.chain(target).fold(0.0, f64::max) + TICK_ROOM + 3.0
}

/// The ticks of an axis of steps, the last step among them: labels that would touch its label are left out.
fn with_last(x: &Scale, room: f64) -> Vec<Tick> {
    let last = x.numbers().1;
    let half = labels::width(&format::count(last as u64), style::SMALL_FONT) / 2.0;
    let mut ticks = x.ticks(room);
    ticks.retain(|tick| tick.number != last);
    for tick in &mut ticks {
        let own = labels::width(&format::count(tick.number as u64), style::SMALL_FONT) / 2.0;
        tick.labelled &= (x.map(last) - x.map(tick.number)).abs() > half + own + 4.0;
    }
    ticks.push(Tick { number: last, labelled: true });
    ticks
}

/// A number at a tick: the shortest form, with thousands apart; scientific where that would be long.
pub fn number(tick: f64) -> String {
    let size = tick.abs();
    if size != 0.0 && !(1e-4..1e7).contains(&size) {
        return format!("{tick:e}").replace('-', "\u{2212}");
    }
    let sign = if tick < 0.0 { "\u{2212}" } else { "" };
    if size >= 10_000.0 {
        format!("{sign}{}", format::count(size as u64))
    } else {
        format!("{sign}{size}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::scale::Steps;
    use super::*;

    #[test]
    fn numbers_at_ticks_keep_their_sign_and_stay_short() {
        let numbers = [0.0, -0.2, -25_000.0, 1500.0, 1e7, -1e-5, 0.0001];
        assert_eq!(
            numbers.map(number),
            ["0", "\u{2212}0.2", "\u{2212}25,000", "1500", "1e7", "\u{2212}1e\u{2212}5", "0.0001"]
        );
    }

    #[test]
    fn the_last_step_has_a_label_that_no_other_touches() {
        for logarithmic in [false, true] {
            for last in [1, 7, 1010, 1500, 50_000, 1_000_001] {
                let scale = Scale::steps(Steps::of([0, 1, last]), logarithmic, (40.0, 640.0));
                let ticks = with_last(&scale, 42.0);
                let labelled: Vec<f64> =
                    ticks.iter().filter(|tick| tick.labelled).map(|tick| tick.number).collect();
                assert_eq!(labelled.last(), Some(&(last as f64)));
                for pair in labelled.windows(2) {
                    let width =
                        |step: f64| labels::width(&format::count(step as u64), style::SMALL_FONT);
                    let room = scale.map(pair[1]) - scale.map(pair[0]);
                    assert!(
                        room > (width(pair[0]) + width(pair[1])) / 2.0 || pair[0] == 0.0,
                        "{pair:?}"
                    );
                }
            }
        }
    }
}
