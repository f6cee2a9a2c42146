//! Grid, ticks and axis titles.

use plotters::prelude::DrawingBackend;

use super::canvas::{Anchor, BOLD, Canvas, Drawn, Lettering, PLAIN, SMALL};
use super::scale::Scale;
use super::style;
use crate::format;

/// The two axes of a chart; `y` runs from the bottom up, so its pixels fall.
#[derive(Debug, Clone, Copy)]
pub struct Axes {
    /// Across.
    pub x: Scale,
    /// Up.
    pub y: Scale,
    /// A value to reach, which gets a label of its own.
    pub target: Option<f64>,
}

impl Axes {
    /// Where a step and a value lie.
    pub fn map(&self, (step, value): (u64, f64)) -> (f64, f64) {
        (self.x.map(step as f64), self.y.map(value))
    }

    /// Horizontal grid lines with their numbers, ticks of steps below, and the x axis itself.
    pub fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>, room: (f64, f64)) -> Drawn<DB> {
        let ((left, right), (bottom, _)) = (self.x.pixels(), self.y.pixels());
        let target = self.target.map(|target| self.y.map(target));
        for tick in self.y.ticks(room.1) {
            let y = self.y.map(tick);
            canvas.line(&[(left, y), (right, y)], style::GRID, 1.0, 1.0)?;
            // The target's own label covers the place of a tick next to it.
            if target.is_none_or(|target| (target - y).abs() > style::FONT) {
                canvas.text(&number(tick), (left - 7.0, y), Anchor::End, SMALL)?;
            }
        }
        canvas.line(&[(left, bottom), (right, bottom)], style::MUTED, 1.0, 1.0)?;
        for tick in self.x.ticks(room.0) {
            let x = self.x.map(tick);
            canvas.line(&[(x, bottom), (x, bottom + 4.0)], style::MUTED, 1.0, 1.0)?;
            canvas.text(
                &format::count(tick.round() as u64),
                (x, bottom + 14.0),
                Anchor::Middle,
                SMALL,
            )?;
        }
        Ok(())
    }

    /// The title of the x axis, below its ticks.
    pub fn steps_title<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>) -> Drawn<DB> {
        let ((left, right), (bottom, _)) = (self.x.pixels(), self.y.pixels());
        let title = if self.x.is_log() { "step (logarithmic)" } else { "step" };
        canvas.text(title, ((left + right) / 2.0, bottom + 33.0), Anchor::Middle, SMALL)
    }

    /// A dashed line at a value to reach.
    pub fn rule<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>, value: f64) -> Drawn<DB> {
        let ((left, right), y) = (self.x.pixels(), self.y.map(value));
        canvas.dashes(&[(left, y), (right, y)], style::TEXT, 1.0, (2.0, 3.0))
    }

    /// The dashed line at the target, with its label.
    pub fn draw_target<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>) -> Drawn<DB> {
        let Some(value) = self.target else {
            return Ok(());
        };
        self.rule(canvas, value)?;
        let (left, y) = (self.x.pixels().0, self.y.map(value));
        let lettering = Lettering { size: style::SMALL_FONT, ..BOLD };
        canvas.text(&format!("target {value}"), (left - 7.0, y), Anchor::End, lettering)
    }

    /// The title of the y axis: a line of text above it, so that nothing has to be turned.
    pub fn value_title<DB: DrawingBackend>(
        &self,
        canvas: &Canvas<'_, DB>,
        title: &str,
        at: (f64, f64),
    ) -> Drawn<DB> {
        let title =
            if self.y.is_log() { format!("{title} (logarithmic)") } else { title.to_owned() };
        canvas.text(
            &title,
            at,
            Anchor::Start,
            super::canvas::Lettering { ink: style::MUTED, ..PLAIN },
        )
    }
}

/// A tick as it is written: the shortest form.
pub fn number(tick: f64) -> String {
    if tick.abs() >= 10_000.0 { format::count(tick.abs() as u64) } else { format!("{tick}") }
}
