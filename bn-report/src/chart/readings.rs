//! The same weights, read twice: one small panel per arm with validation by moving statistics (solid), by batch statistics
//! (dashed), and the gap between them shaded.

use plotters::prelude::DrawingBackend;

use super::axes::Axes;
use super::canvas::{Anchor, BOLD, Canvas, Drawn, SMALL};
use super::curves::thin;
use super::scale::Scale;
use super::{labels, style};
use crate::compare::Gap;
use crate::curve::{self, Band, Curve};
use crate::format;

/// One arm's panel. All panels of an experiment share their ranges.
#[derive(Debug, Clone, PartialEq)]
pub struct Readings {
    /// The arm's place in the experiment.
    pub arm: usize,
    /// Its name.
    pub name: String,
    /// Means of what the target looks at: by moving statistics, or the only reading of a net without batch norm.
    pub main: Band,
    /// The runs behind `main`.
    pub runs: Vec<Curve>,
    /// Means by moving and by batch statistics at the steps that have both; none where only one reading was logged.
    pub pair: Option<(Band, Band)>,
    /// Where the two lie furthest apart.
    pub gap: Option<Gap>,
    /// Within this a gap counts as closed.
    pub tolerance: f64,
    /// The value to reach.
    pub target: Option<f64>,
    /// All logged steps of all arms.
    pub steps: Vec<u64>,
    /// Range of the values of all arms, and whether it is logarithmic: as [`super::curves`] has it.
    pub values: Vec<f64>,
    /// Whether less is more.
    pub lower_is_better: bool,
}

/// Width and height of a panel in logical pixels.
pub const SIZE: (f64, f64) = (300.0, 236.0);

impl Readings {
    /// What the panel says in a line.
    pub fn remark(&self) -> String {
        match &self.gap {
            None => "one reading only".to_owned(),
            Some(gap) if gap.size() <= self.tolerance => {
                format!("readings never differ by more than {}", format::short(gap.size()))
            }
            Some(gap) => {
                let [moving, batch] = [gap.moving, gap.batch].map(format::short);
                format!("step {}: {moving} moving, {batch} batch", format::count(gap.step))
            }
        }
    }

    /// Draws it.
    ///
    /// # Errors
    /// What the backend says.
    pub fn draw<DB: DrawingBackend>(&self, canvas: &Canvas<'_, DB>) -> Drawn<DB> {
        let ink = style::arm(self.arm);
        canvas.marker((9.0, 13.0), self.arm)?;
        let name = labels::wrap(&self.name, 32, 2);
        let name_bottom = 13.0 + (name.len() - 1) as f64 * style::FONT * style::LEADING;
        canvas.lines(&name, (20.0, 13.0), Anchor::Start, BOLD)?;
        canvas.text(&self.remark(), (20.0, name_bottom + 16.0), Anchor::Start, SMALL)?;
        let top = 66.0;
        let y = super::curves::value_scale(
            self.values.iter().copied(),
            self.lower_is_better,
            (SIZE.1 - 24.0, top),
        );
        let axes = Axes {
            x: Scale::steps(self.steps.iter().copied(), (34.0, SIZE.0 - 12.0)),
            y,
            target: None,
        };
        axes.draw(canvas, (36.0, 36.0))?;
        if let Some((moving, batch)) = &self.pair {
            let mut corners = thin(&axes, &means(moving));
            corners.extend(thin(&axes, &means(batch)).into_iter().rev());
            canvas.shape(&corners, ink, style::GAP_OPACITY)?;
        }
        if let Some(target) = self.target {
            axes.rule(canvas, target)?;
        }
        for run in &self.runs {
            for stretch in curve::stretches(run.iter()) {
                canvas.line(&thin(&axes, &stretch), ink, style::SEED_LINE, style::SEED_OPACITY)?;
            }
        }
        for stretch in curve::stretches(self.main.iter().map(|point| (point.step, point.mean))) {
            canvas.line(&thin(&axes, &stretch), ink, style::MEAN_LINE, 1.0)?;
        }
        if let Some((_, batch)) = &self.pair {
            canvas.dashes(&thin(&axes, &means(batch)), style::TEXT, 1.6, (5.0, 3.0))?;
        }
        if let Some(gap) = self.gap.filter(|gap| gap.size() > self.tolerance) {
            let x = axes.x.map(gap.step as f64);
            let ends = [gap.moving, gap.batch].map(|value| (x, axes.y.map(value)));
            canvas.line(&ends, style::TEXT, 1.2, 1.0)?;
            for end in ends {
                canvas.disc(end, 2.6, style::TEXT, 1.0)?;
            }
        }
        Ok(())
    }
}

fn means(band: &Band) -> Vec<(u64, f64)> {
    band.iter().filter_map(|point| Some((point.step, point.mean?))).collect()
}
