//! From numbers to pixels: each chart is a function that takes a plotters drawing area, and an SVG that can stand alone.
//!
//! SVG is the only backend here. No font is measured and nothing depends on time or place, so the same numbers give the same
//! bytes.

pub mod axes;
pub mod canvas;
pub mod curves;
pub mod dots;
pub mod labels;
pub mod readings;
pub mod scale;
pub mod style;

use plotters::backend::SVGBackend;
use plotters::drawing::IntoDrawingArea as _;

use self::canvas::{Canvas, Drawn, UNITS};
use crate::error::{Error, Result};

/// A drawn chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chart {
    /// Its file name in the folder of charts.
    pub file: String,
    /// What it shows, in a few words.
    pub title: String,
    /// What can be read from it, for who cannot see it.
    pub description: String,
    size: (u32, u32),
    /// The drawn elements, without the `svg` around them.
    body: String,
}

impl Chart {
    /// Draws a chart of `width` x `height` logical pixels.
    ///
    /// # Errors
    /// [`Error::Chart`] with what the drawing library says.
    pub fn draw(
        file: String,
        title: String,
        description: String,
        (width, height): (f64, f64),
        draw: impl FnOnce(&Canvas<'_, SVGBackend<'_>>) -> Drawn<SVGBackend<'static>>,
    ) -> Result<Self> {
        let failed = |message: String| Error::Chart { chart: file.clone(), message };
        let units = ((width * UNITS).round() as u32, (height * UNITS).round() as u32);
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, units).into_drawing_area();
            draw(&Canvas(&area)).map_err(|error| failed(error.to_string()))?;
            area.present().map_err(|error| failed(error.to_string()))?;
        }
        let start = svg.find('>').map_or(0, |end| end + 1);
        let end = svg.rfind("</svg>").ok_or_else(|| failed("plotters wrote no SVG".to_owned()))?;
        let body = svg[start..end].trim().to_owned();
        Ok(Self {
            file,
            title,
            description,
            size: (width.round() as u32, height.round() as u32),
            body,
        })
    }

    /// The SVG to put into a page, whose style sheet has [`style::dark_rules`]. `id` must be unique in the page.
    pub fn inline(&self, id: &str) -> String {
        self.svg(id, "", "")
    }

    /// The SVG as a file of its own.
    pub fn standalone(&self) -> String {
        let style = format!(
            "<style>\n{}@media (prefers-color-scheme:dark){{\n{}}}\n</style>\n",
            style::FONT_RULE,
            style::dark_rules()
        );
        self.svg("chart", " xmlns=\"http://www.w3.org/2000/svg\"", &style) + "\n"
    }

    fn svg(&self, id: &str, namespace: &str, style: &str) -> String {
        let (width, height) = self.size;
        let view_box = format!("0 0 {} {}", f64::from(width) * UNITS, f64::from(height) * UNITS);
        format!(
            "<svg{namespace} class=\"chart\" viewBox=\"{view_box}\" width=\"{width}\" height=\"{height}\" role=\"img\" \
             aria-labelledby=\"{id}-title {id}-description\">\n\
             <title id=\"{id}-title\">{}</title>\n<desc id=\"{id}-description\">{}</desc>\n{style}{}\n</svg>",
            escape(&self.title),
            escape(&self.description),
            self.body
        )
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
