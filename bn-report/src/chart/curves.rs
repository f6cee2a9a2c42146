//! One quantity over steps: a line with its interval for each arm, every run faint behind it, a cross where a run diverged,
//! an arrow where a value is beyond the axes, and in the wide form each arm's name at the end of its line.

mod draw;
mod points;

use super::Look;
use super::axes::{self, Axes};
use super::labels;
use super::range::{Range, Values};
use super::scale::{Scale, Steps};
use super::smooth;
use super::style::{self, ArmStyle};
use super::thin::grain;

/// A value for each step, where there is one.
pub type Line = Vec<(u64, Option<f64>)>;

/// One arm's lines, or those of several arms that are identical here.
#[derive(Debug, Clone, PartialEq)]
pub struct ArmLines {
    /// The arms' places in the experiment; the first gives the style, unless `style` does.
    pub arms: Vec<usize>,
    /// What is written at the end of the line.
    pub name: String,
    /// The style, where it is not the arm's: other evaluations of the same arm.
    pub style: Option<ArmStyle>,
    /// The line, and the number of runs that each value is of. It is broken where that number falls.
    pub mean: Vec<(u64, Option<f64>, usize)>,
    /// Lower and upper end of the interval at each step that has one.
    pub band: Vec<(u64, Option<(f64, f64)>)>,
    /// The runs, and whether each diverged.
    pub runs: Vec<(Line, bool)>,
    /// Whether values hold until the next step.
    pub stepped: bool,
}

impl ArmLines {
    fn style(&self) -> ArmStyle {
        self.style.unwrap_or_else(|| style::arm(self.arms.first().copied().unwrap_or(0)))
    }
}

/// What is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Curves {
    /// What the y axis shows.
    pub title: String,
    /// The lines.
    pub lines: Vec<ArmLines>,
    /// A value to reach, where it is of this quantity.
    pub target: Option<f64>,
    /// A value with a line of its own but no label: no gap.
    pub rule: Option<f64>,
    /// How the values spread.
    pub values: Values,
    /// Logged values that a point of the line is the mean of, the line itself being faint behind it; 1 for lines as logged. See
    /// [`smooth`].
    pub smooth: usize,
    /// Whether bands are measured values, which the axis must cover, and not intervals, which it may cut.
    pub measured_bands: bool,
    /// A part of a page's row of panels: small, with its name above.
    pub panel: Option<String>,
}

/// Points of all runs of a chart, at most about this many.
const BUDGET: usize = 30_000;
const NARROW_BUDGET: usize = 10_000;
const NAME_WIDTH: f64 = 200.0;
const NAME_LINES: usize = 3;
const BOTTOM: f64 = 46.0;
const PANEL_BOTTOM: f64 = 24.0;

/// What the axes of curves have to show: found once for all forms of a chart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extent {
    range: Range,
    steps: Steps,
}

impl Extent {
    /// The look a reader sees first: logarithmic axes where numbers want them.
    pub fn default_look(&self) -> Look {
        Look { narrow: false, log_x: self.steps.want_log(), log_y: self.range.wants_log() }
    }

    /// Whether the y axis can be logarithmic.
    pub fn allows_log_y(&self) -> bool {
        self.range.allows_log()
    }

    /// Whether the x axis can be logarithmic.
    pub fn allows_log_x(&self) -> bool {
        self.steps.allow_log()
    }
}

/// Where everything is.
struct Layout {
    size: (f64, f64),
    axes: Axes,
    title: Vec<String>,
    names: Vec<Vec<String>>,
    grain: f64,
}

impl Curves {
    fn steps(&self) -> impl Iterator<Item = u64> + Clone {
        self.lines.iter().flat_map(|line| {
            let runs = line.runs.iter().flat_map(|(run, _)| run.iter().map(|(step, _)| *step));
            line.mean.iter().map(|(step, _, _)| *step).chain(runs)
        })
    }

    /// All steps of the lines, ascending.
    pub fn mean_steps(&self) -> Vec<u64> {
        let mut steps: Vec<u64> =
            self.lines.iter().flat_map(|line| line.mean.iter().map(|(step, _, _)| *step)).collect();
        steps.sort_unstable();
        steps.dedup();
        steps
    }

    /// Whether any line is smoothed.
    pub fn is_smoothed(&self) -> bool {
        let mut stretches = self.lines.iter().flat_map(|line| points::same_count(&line.mean));
        stretches.any(|stretch| smooth::applies(stretch.len(), self.smooth))
    }

    /// Whether there is any value.
    pub fn is_empty(&self) -> bool {
        self.lines.iter().all(|line| line.mean.iter().all(|(_, value, _)| value.is_none()))
    }

    fn measured(&self) -> impl Iterator<Item = f64> + Clone {
        self.lines.iter().flat_map(|line| {
            let means = line.mean.iter().filter_map(|(_, value, _)| *value);
            let runs =
                line.runs.iter().flat_map(|(run, _)| run.iter().filter_map(|(_, value)| *value));
            let bands = line.band.iter().filter(|_| self.measured_bands);
            let bands = bands.filter_map(|(_, ends)| *ends).flat_map(|(low, high)| [low, high]);
            means.chain(runs).chain(bands)
        })
    }

    fn range(&self) -> Range {
        let bands =
            self.lines.iter().flat_map(|line| line.band.iter().filter_map(|(_, ends)| *ends));
        let kept: Vec<f64> = self.target.into_iter().chain(self.rule).collect();
        Range::of(self.values, self.measured(), &kept).with_bands(bands)
    }

    /// Cuts intervals where no value can be: below 0 and above 1 for shares, below 0 for what is never negative. Quantities that
    /// do have such values are left as they are.
    pub fn cut_bands(&mut self) {
        let (low, high) = match self.values {
            Values::Share => (0.0, 1.0),
            Values::Positive => (0.0, f64::MAX),
            Values::Any => return,
        };
        if self.measured().any(|value| !(low..=high).contains(&value)) {
            return;
        }
        for line in &mut self.lines {
            for (_, ends) in &mut line.band {
                *ends = ends.map(|(lower, upper)| (lower.max(low), upper.min(high)));
            }
        }
    }

    /// What the axes have to show.
    pub fn extent(&self) -> Extent {
        Extent { range: self.range(), steps: Steps::of(self.steps()) }
    }

    fn layout(&self, extent: &Extent, look: Look) -> Layout {
        let is_panel = self.panel.is_some();
        let names: Vec<Vec<String>> = self
            .lines
            .iter()
            .map(|line| labels::wrap(&line.name, style::FONT, NAME_WIDTH, NAME_LINES))
            .collect();
        let width = match (is_panel, look.narrow) {
            (true, _) => 300.0,
            (false, true) => 380.0,
            (false, false) => 900.0,
        };
        let title = match &self.panel {
            Some(name) => labels::wrap(name, style::FONT, width - 30.0, 2),
            None => axes::value_title(&self.title, look.log_y, width - 16.0),
        };
        let top = axes::heading_height(&title) + 10.0;
        let labelled = !look.narrow && !is_panel;
        let blocks: f64 = names.iter().map(|lines| block_height(lines)).sum();
        let height = match (is_panel, look.narrow) {
            (true, _) => 200.0,
            (false, true) => 300.0,
            (false, false) => (blocks + top + BOTTOM).max(400.0),
        };
        let right = if labelled { width - labels_width(&names) - 44.0 } else { width - 14.0 };
        let room = if is_panel { 36.0 } else { 42.0 };
        let bottom = if is_panel { PANEL_BOTTOM } else { BOTTOM };
        let y = extent.range.scale(look.log_y, (height - bottom, top));
        let left = axes::number_room(&y, room, self.target);
        let axes = Axes { x: Scale::steps(extent.steps, look.log_x, (left, right)), y };
        let budget = if look.narrow || is_panel { NARROW_BUDGET } else { BUDGET };
        let lengths = self.lines.iter().flat_map(|line| line.runs.iter().map(|(run, _)| run.len()));
        Layout {
            size: (width, height),
            axes,
            title,
            names,
            grain: grain(lengths, right - left, budget),
        }
    }

    /// The pixels of steps across, for who points at the chart.
    pub fn places(&self, extent: &Extent, look: Look, steps: &[u64]) -> Vec<f64> {
        let layout = self.layout(extent, look);
        steps.iter().map(|&step| layout.axes.x.map(step as f64)).collect()
    }
}

fn block_height(lines: &[String]) -> f64 {
    lines.len() as f64 * style::FONT * style::LEADING + 5.0
}

fn labels_width(names: &[Vec<String>]) -> f64 {
    names.iter().map(|lines| labels::width_of(lines, style::FONT)).fold(0.0, f64::max)
}
