//! A chart in the page: its forms, its numbers, and what stands around it.

use askama::Template;
use rayon::prelude::*;
use serde::Serialize;

use super::inline::Verbatim;
use crate::chart::{Chart, Data, DataLine, Look, View};
use crate::schema;
use crate::text;

/// A chart, ready to be put in.
#[derive(Debug, Template)]
#[template(path = "figure.html")]
pub(super) struct Figure {
    id: String,
    title: String,
    caption: String,
    file: String,
    views: Vec<Form>,
    others: Vec<Form>,
    data: String,
}

/// One form of a chart.
#[derive(Debug)]
struct Form {
    class: &'static str,
    x: &'static str,
    y: &'static str,
    svg: Verbatim,
}

impl Figure {
    /// `id` must be unique in the page.
    pub(super) fn of(chart: &Chart, id: &str) -> Self {
        let first = chart.views.first().map_or(Look::default(), |view| view.look);
        let is_first =
            |view: &&View| (view.look.log_x, view.look.log_y) == (first.log_x, first.log_y);
        let has_narrow = chart.views.iter().any(|view| view.look.narrow);
        let form = |(index, view): (usize, &View)| Form {
            class: match (has_narrow, view.look.narrow) {
                (false, _) => "any",
                (true, false) => "wide",
                (true, true) => "narrow",
            },
            x: spread(view.look.log_x),
            y: spread(view.look.log_y),
            svg: Verbatim(chart.inline(view, &format!("{id}-{index}"))),
        };
        // In parallel, in the order of the forms.
        let forms: Vec<Form> = chart.views.par_iter().enumerate().map(form).collect();
        let forms = chart.views.iter().zip(forms);
        let (views, others): (Vec<_>, Vec<_>) = forms.partition(|(view, _)| is_first(view));
        Self {
            id: id.to_owned(),
            title: text::printable(&chart.title),
            caption: text::printable(&chart.caption),
            file: format!("{}/{}.svg", schema::CHARTS, chart.file),
            views: views.into_iter().map(|(_, form)| form).collect(),
            others: others.into_iter().map(|(_, form)| form).collect(),
            data: json(chart),
        }
    }
}

fn spread(logarithmic: bool) -> &'static str {
    if logarithmic { "log" } else { "linear" }
}

#[derive(Serialize)]
struct Numbers<'a> {
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<&'a [u64]>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lines: Vec<Line<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    columns: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<&'a [Vec<String>]>,
}

#[derive(Serialize)]
struct Line<'a> {
    arms: &'a [usize],
    name: &'a str,
    mean: Vec<Option<f64>>,
    low: Vec<Option<f64>>,
    high: Vec<Option<f64>>,
    n: &'a [usize],
}

/// The numbers of a chart as JSON that can stand in a `script` element.
fn json(chart: &Chart) -> String {
    let mut numbers =
        Numbers { file: &chart.file, steps: None, lines: Vec::new(), columns: None, rows: None };
    match &chart.data {
        Data::Steps { steps, lines } => {
            numbers.steps = Some(steps);
            numbers.lines = lines.iter().map(line).collect();
        }
        Data::Table { columns, rows } => {
            numbers.columns = Some(columns);
            numbers.rows = Some(rows);
        }
    }
    // Text and finite numbers always serialize; `<` could end the element.
    let json = serde_json::to_string(&numbers).unwrap_or_default();
    json.replace('<', "\\u003c")
}

fn line(line: &DataLine) -> Line<'_> {
    let end = |pick: fn((f64, f64)) -> f64| {
        line.interval.iter().map(|ends| ends.map(|ends| rounded(pick(ends)))).collect()
    };
    Line {
        arms: &line.arms,
        name: &line.name,
        mean: line.mean.iter().map(|mean| mean.map(rounded)).collect(),
        low: end(|ends| ends.0),
        high: end(|ends| ends.1),
        n: &line.n,
    }
}

/// Six digits: more than a picture shows.
fn rounded(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_ends_the_data_element() {
        let line = DataLine {
            arms: vec![0],
            name: "</script><script>alert(1)</script>".into(),
            mean: vec![Some(1.0 / 3.0), None],
            interval: vec![Some((0.25, 0.5)), None],
            n: vec![2, 0],
        };
        let chart = Chart {
            file: "a".into(),
            title: String::new(),
            description: String::new(),
            caption: String::new(),
            views: Vec::new(),
            data: Data::Steps { steps: vec![0, 5], lines: vec![line] },
        };
        let json = json(&chart);
        assert!(!json.contains('<'), "{json}");
        assert!(json.contains("\"mean\":[0.333333,null],\"low\":[0.25,null]"), "{json}");
    }
}
