//! The page: view structs of strings that are already formatted, and the template that lays them out.
//!
//! No script, no network, no clock: `templates/report.html` and `templates/report.css` are compiled in.

mod settings;
mod tables;

use askama::Template;

use self::settings::SettingsTable;
use self::tables::{ComparisonTable, RunsTable};
use crate::chart::{Chart, style};
use crate::compare::Comparison;
use crate::error::{Error, Result};
use crate::figures::Figures;
use crate::findings::{Findings, Piece, Sentence};
use crate::read::Experiment;
use crate::schema;

/// All that the template shows.
#[derive(Debug, Template)]
#[template(path = "report.html")]
struct Page {
    name: String,
    question: Option<String>,
    headline: Vec<Words>,
    findings: Vec<Vec<Words>>,
    alerts: Vec<String>,
    table: ComparisonTable,
    main: Option<Figure>,
    readings: Vec<Figure>,
    steps: Option<Figure>,
    finals: Option<Figure>,
    more: Vec<Figure>,
    settings: SettingsTable,
    runs: RunsTable,
    command: Option<String>,
    provenance: Vec<(String, Vec<String>)>,
    arm_rules: String,
    dark_arm_rules: String,
    dark_chart_rules: String,
    closed_gap: String,
    measured_every: Option<String>,
    report_version: &'static str,
}

/// Some words of a sentence; those that name an arm have its class.
#[derive(Debug)]
struct Words {
    text: String,
    class: Option<String>,
}

/// A chart, ready to be put in, with the name of its file.
#[derive(Debug)]
struct Figure {
    title: String,
    file: String,
    svg: String,
}

/// The whole page.
///
/// # Errors
/// [`Error::Render`], should the template library refuse.
pub fn page(
    experiment: &Experiment,
    comparison: &Comparison,
    findings: &Findings,
    figures: &Figures,
) -> Result<String> {
    let (arm_rules, dark_arm_rules) = arm_rules();
    let mut ids = 0..;
    let mut figure = |chart: &Chart| Figure {
        title: chart.title.clone(),
        file: format!("{}/{}", schema::CHARTS, chart.file),
        svg: chart.inline(&format!("chart-{}", ids.next().unwrap_or(0))),
    };
    let page = Page {
        name: experiment.name.clone(),
        question: experiment.question.clone(),
        headline: words(&findings.headline),
        findings: findings.others.iter().map(words).collect(),
        alerts: tables::alerts(experiment),
        table: ComparisonTable::of(comparison),
        main: figures.main.as_ref().map(&mut figure),
        readings: figures.readings.iter().map(&mut figure).collect(),
        steps: figures.steps.as_ref().map(&mut figure),
        finals: figures.finals.as_ref().map(&mut figure),
        more: figures.more.iter().map(&mut figure).collect(),
        settings: SettingsTable::of(experiment),
        runs: RunsTable::of(experiment),
        command: experiment.command.clone(),
        provenance: tables::provenance(experiment),
        arm_rules,
        dark_arm_rules,
        dark_chart_rules: style::dark_rules(),
        measured_every: comparison.measured_every.map(crate::format::count),
        closed_gap: crate::format::value(comparison.gap_tolerance),
        report_version: env!("CARGO_PKG_VERSION"),
    };
    let page = page.render();
    page.map_err(|error| Error::Render { file: schema::REPORT, message: error.to_string() })
}

/// The style-sheet class of an arm: its colour.
fn arm_class(index: usize) -> String {
    format!("arm arm-{}", index % style::ARMS.len())
}

/// Each arm's colour as a rule, on a light page and on a dark one.
fn arm_rules() -> (String, String) {
    let rules = |color: fn(&style::Ink) -> plotters::style::RGBColor| -> String {
        let arms = style::ARMS.iter().enumerate();
        arms.map(|(index, ink)| format!(".arm-{index}{{--arm:{}}}\n", style::hex(color(ink))))
            .collect()
    };
    (rules(|ink| ink.light), rules(|ink| ink.dark))
}

fn words(sentence: &Sentence) -> Vec<Words> {
    let words = |piece: &Piece| match piece {
        Piece::Text(text) => Words { text: text.clone(), class: None },
        Piece::Arm { index, name } => Words { text: name.clone(), class: Some(arm_class(*index)) },
    };
    sentence.0.iter().map(words).collect()
}
