//! From numbers to pixels: a chart is drawn as a [`scene`] of marks, and a scene is painted through plotters, as SVG or PNG.
//!
//! No font of the system is measured and nothing depends on time or place, so the same numbers give the same bytes.

pub mod axes;
pub mod bitmap;
pub mod curves;
pub mod dots;
pub mod heat;
pub mod labels;
pub mod paint;
pub mod pdf;
pub mod range;
pub mod scale;
pub mod scene;
pub mod smooth;
pub mod style;
pub mod svg;
pub mod thin;

use self::paint::{UNITS, paint, units_of};
use self::scene::Scene;
use self::svg::{Document, escape};
use crate::text::printable;

/// The form in which a chart is drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Look {
    /// For a phone: names are left to the page.
    pub narrow: bool,
    /// Steps on a logarithmic axis.
    pub log_x: bool,
    /// Values on a logarithmic axis.
    pub log_y: bool,
}

/// One form of a chart, drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Which form.
    pub look: Look,
    /// The marks.
    pub scene: Scene,
    /// Where the steps of the chart's data are, across, in logical pixels; empty where the data is not by step.
    pub places: Vec<f64>,
}

/// The numbers of a chart, for who points at it or wants them as a file.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// Lines over steps.
    Steps {
        /// The steps.
        steps: Vec<u64>,
        /// The lines.
        lines: Vec<DataLine>,
    },
    /// Anything else, as a table of text.
    Table {
        /// Names of the columns.
        columns: Vec<String>,
        /// Rows of as many cells.
        rows: Vec<Vec<String>>,
    },
}

/// One line of [`Data::Steps`]; a value for each step, where there is one.
#[derive(Debug, Clone, PartialEq)]
pub struct DataLine {
    /// The arms' places in the experiment.
    pub arms: Vec<usize>,
    /// Its name.
    pub name: String,
    /// Means over runs.
    pub mean: Vec<Option<f64>>,
    /// Ends of their intervals.
    pub interval: Vec<Option<(f64, f64)>>,
    /// How many runs each is of.
    pub n: Vec<usize>,
}

/// A chart, in all its forms.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// The name of its file, without extension.
    pub file: String,
    /// What it shows, in a few words.
    pub title: String,
    /// What can be read from it, for who cannot see it.
    pub description: String,
    /// How to read it.
    pub caption: String,
    /// Its forms: the first is that of the file.
    pub views: Vec<View>,
    /// Its numbers.
    pub data: Data,
}

impl Chart {
    /// The SVG of a form, to put into a page whose style sheet has [`style::dark_rules`]. `id` must be unique in the page.
    pub fn inline(&self, view: &View, id: &str) -> String {
        self.svg(view, id, None)
    }

    /// The SVG as a file of its own.
    pub fn standalone(&self) -> String {
        let style = format!(
            "<style>\n{}@media (prefers-color-scheme:dark){{\n{}}}\n</style>\n",
            style::FONT_RULE,
            style::dark_rules()
        );
        let svg = self.views.first().map(|view| self.svg(view, "chart", Some(&style)));
        svg.unwrap_or_default() + "\n"
    }

    /// The bytes of the chart as a PNG file.
    ///
    /// # Errors
    /// What the drawing library or the encoder says.
    pub fn png(&self) -> Result<Vec<u8>, String> {
        let view = self.views.first().ok_or("a chart without a form")?;
        bitmap::png(&view.scene)
    }

    /// The bytes of the chart as a PDF file.
    ///
    /// # Errors
    /// What the library says.
    pub fn pdf(&self) -> Result<Vec<u8>, String> {
        let view = self.views.first().ok_or("a chart without a form")?;
        pdf::pdf(&view.scene, &printable(&self.title))
    }

    /// The SVG of a form: with a style sheet, a file of its own; without, a part of a page, which has the heading already.
    fn svg(&self, view: &View, id: &str, style: Option<&str>) -> String {
        let scene = &view.scene;
        let document = Document::new(units_of(scene));
        let (top, painted) = match style {
            Some(_) => (0.0, paint(&scene.marks, document.clone(), &document)),
            None => (scene.heading, paint(scene.without_heading(), document.clone(), &document)),
        };
        let Ok(()) = painted.map_err(never);
        let namespace = if style.is_some() { " xmlns=\"http://www.w3.org/2000/svg\"" } else { "" };
        let style = style.unwrap_or("");
        let (width, height) = (scene.size.0, scene.size.1 - top);
        let top = (top * UNITS).round();
        let (units_width, units_height) = units_of(scene);
        let units_height = f64::from(units_height) - top;
        let mut places = String::new();
        if !view.places.is_empty() {
            let units: Vec<String> =
                view.places.iter().map(|place| (place * UNITS).round().to_string()).collect();
            places = format!(" data-places=\"{}\"", units.join(" "));
        }
        format!(
            "<svg{namespace} class=\"chart\" viewBox=\"0 {top} {units_width} {units_height}\" width=\"{width}\" height=\"{height}\" \
             role=\"img\" aria-labelledby=\"{id}-title\" aria-describedby=\"{id}-description\"{places}>\n\
             <title id=\"{id}-title\">{}</title>\n<desc id=\"{id}-description\">{}</desc>\n{style}\
             <g stroke-linejoin=\"round\">\n{}</g>\n</svg>",
            escape(&printable(&self.title)),
            escape(&printable(&self.description)),
            document.into_body()
        )
    }
}

/// Writing text into memory has no way to fail.
fn never(
    error: plotters::drawing::DrawingAreaErrorKind<std::convert::Infallible>,
) -> std::convert::Infallible {
    unreachable!("{error}")
}

/// A sample of an arm's line and marker, for legends and tables. It says nothing that the name beside it does not.
pub fn key(arm: usize) -> String {
    let style = style::arm(arm);
    let mut scene = Scene::new((30.0, 12.0));
    let stroke = scene::Stroke { dash: style.dash, ..scene::Stroke::solid(style.ink, 2.2) };
    scene.segment((1.0, 6.0), (29.0, 6.0), stroke);
    scene.marker((15.0, 6.0), style);
    let document = Document::new(units_of(&scene));
    let Ok(()) = paint(&scene.marks, document.clone(), &document).map_err(never);
    let (width, height) = units_of(&scene);
    format!(
        "<svg class=\"chart key\" viewBox=\"0 0 {width} {height}\" width=\"30\" height=\"12\" aria-hidden=\"true\">{}</svg>",
        document.into_body().replace('\n', "")
    )
}
