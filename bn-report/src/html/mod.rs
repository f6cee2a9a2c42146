//! The page: view structs of strings that are already formatted, and the templates that lay them out.
//!
//! No network, no clock. Everything is there without script; `templates/report.js` adds the legend's switches, values under the
//! pointer, other axes, sorting and files of numbers.

mod figure;
pub(crate) mod inline;
mod methods;
mod numbers;
mod runs;
mod settings;
mod tables;

use askama::Template;

use self::figure::Figure;
use self::inline::Verbatim;
use self::numbers::NumbersTable;
use self::runs::RunsTable;
use self::settings::SettingsTable;
use self::tables::{ComparisonTable, PairsTable, TestsTable};
use crate::chart::{self, Chart, style};
use crate::compare::Comparison;
use crate::compare::table::lost_words;
use crate::error::{Error, Result};
use crate::figures::{Figures, Section};
use crate::findings::{Findings, Piece, Sentence};
use crate::format;
use crate::read::Experiment;
use crate::schema::{self, Measure};
use crate::stats::{Level, Summary};
use crate::text::printable;

/// All that the template shows.
#[derive(Debug, Template)]
#[template(path = "report.html")]
struct Page {
    name: String,
    question: Option<String>,
    headline: Vec<Words>,
    claim: Option<Claim>,
    findings: Vec<Vec<Words>>,
    alerts: Vec<String>,
    table: ComparisonTable,
    numbers: NumbersTable,
    level: Level,
    tests: TestsTable,
    pairs: PairsTable,
    legend: Vec<Entry>,
    main: Option<Figure>,
    sections: Vec<Part>,
    settings: SettingsTable,
    runs: RunsTable,
    command: Option<String>,
    provenance: Vec<(String, Vec<String>)>,
    methods: Vec<(String, String)>,
    style: Verbatim,
    script: Verbatim,
    policy: Verbatim,
    report_version: &'static str,
}

/// Some words of a sentence; those that name an arm have its class.
#[derive(Debug)]
struct Words {
    text: String,
    class: Option<String>,
}

/// An arm in the legend.
#[derive(Debug)]
struct Entry {
    arm: usize,
    key: Verbatim,
    name: String,
}

/// The claim's scorecard.
#[derive(Debug)]
struct Claim {
    said: String,
    source: Option<String>,
    expected: String,
    measured: String,
    verdict: &'static str,
    class: &'static str,
    reason: String,
}

/// A section of charts.
#[derive(Debug)]
struct Part {
    id: &'static str,
    title: String,
    intro: String,
    charts: Vec<Figure>,
    panels: Vec<Figure>,
    folds: Vec<(String, Vec<Figure>)>,
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
    let page = view(experiment, comparison, findings, figures).render();
    page.map_err(|error| Error::Render { file: schema::REPORT, message: error.to_string() })
}

/// All that the page shows, as strings.
fn view(
    experiment: &Experiment,
    comparison: &Comparison,
    findings: &Findings,
    figures: &Figures,
) -> Page {
    let style = inline::style_sheet();
    let mut next = 0..;
    let mut figure =
        |chart: &Chart| Figure::of(chart, &format!("chart-{}", next.next().unwrap_or(0)));
    let main = figures.main.as_ref().map(&mut figure);
    let part = |section: &Section| Part {
        id: section.id,
        title: section.title.clone(),
        intro: section.intro.clone(),
        charts: section.charts.iter().map(&mut figure).collect(),
        panels: section.panels.iter().map(&mut figure).collect(),
        folds: section
            .folds
            .iter()
            .map(|(name, charts)| (printable(name), charts.iter().map(&mut figure).collect()))
            .collect(),
    };
    let sections: Vec<Part> = figures.sections.iter().map(part).collect();
    let legend = experiment.arms.iter().enumerate().map(|(arm, shown)| Entry {
        arm,
        key: Verbatim(chart::key(arm)),
        name: printable(&shown.name),
    });
    Page {
        name: printable(&experiment.name),
        question: experiment.question.as_deref().map(printable),
        headline: words(&findings.headline),
        claim: claim(comparison),
        findings: findings.others.iter().map(words).collect(),
        alerts: tables::alerts(experiment),
        table: ComparisonTable::of(comparison),
        numbers: NumbersTable::of(comparison),
        level: comparison.level,
        tests: TestsTable::of(comparison),
        pairs: PairsTable::of(experiment, comparison),
        legend: legend.collect(),
        main,
        sections,
        settings: SettingsTable::of(experiment),
        runs: RunsTable::of(experiment, comparison),
        command: experiment.command.as_deref().map(printable),
        provenance: tables::provenance(experiment),
        methods: methods::of(comparison),
        policy: Verbatim(inline::policy(&style, Some(inline::SCRIPT))),
        style: Verbatim(style),
        script: Verbatim(inline::SCRIPT.to_owned()),
        report_version: env!("CARGO_PKG_VERSION"),
    }
}

/// The style-sheet class of an arm: its colour.
fn arm_class(index: usize) -> String {
    format!("arm arm-{}", index % style::ARMS.len())
}

fn words(sentence: &Sentence) -> Vec<Words> {
    let words = |piece: &Piece| match piece {
        Piece::Text(text) => Words { text: printable(text), class: None },
        Piece::Arm { index, name } => {
            Words { text: printable(name), class: Some(arm_class(*index)) }
        }
    };
    sentence.0.iter().map(words).collect()
}

fn claim(comparison: &Comparison) -> Option<Claim> {
    let card = comparison.claim.as_ref()?;
    let claim = &card.claim;
    let said = match &claim.number {
        Some(number) => format!("{} ({number})", claim.text),
        None => claim.text.clone(),
    };
    let name = |place: Option<usize>| {
        place.and_then(|place| comparison.rows.get(place)).map_or("?", |row| row.name.as_str())
    };
    let is_time = matches!(claim.measure, Measure::StepsToTarget | Measure::FirstTouch);
    let number = if is_time { format::steps } else { format::value };
    let [arm, baseline] = [card.arm, card.baseline].map(name);
    let against = card.against.as_ref().map(|against| &against.pairs);
    let measured = match against.and_then(|pairs| Some((pairs.mean?, pairs))) {
        Some((mean, pairs)) => {
            let interval = pairs.interval.map(|_| format::interval(pairs.interval, number));
            let numbers = [Some(format::signed(mean, number)), interval];
            let numbers: Vec<String> = numbers.into_iter().flatten().collect();
            let over = format::plural(pairs.n(), "pair of runs", "pairs of runs");
            format!("difference {}, mean over {over}", numbers.join(" "))
        }
        None => "no pair of runs has two numbers".to_owned(),
    };
    let value = |name: &str, place: Option<usize>, summary: &Summary| {
        let states = place.and_then(|place| comparison.rows.get(place)).map(|row| row.states);
        let diverged = states
            .filter(|states| states.diverged > 0)
            .map(|states| format!("diverged on {} of {} seeds", states.diverged, states.total()));
        let runs = format::plural(summary.n, "run", "runs");
        let value =
            (summary.n > 0).then(|| format!("{} ({runs})", format::mean_sd(summary, number)));
        let words: Vec<String> = value.into_iter().chain(diverged).collect();
        format!("\u{201c}{name}\u{201d} {}", words.join(", "))
    };
    let [of_arm, of_baseline] = [
        value(arm, card.arm, &card.arm_value),
        value(baseline, card.baseline, &card.baseline_value),
    ];
    let lost = card.against.as_ref().and_then(lost_words);
    let lost = lost.map_or(String::new(), |lost| format!("; {lost}"));
    let measured = printable(&format!("{of_arm}, {of_baseline}; {measured}{lost}"));
    Some(Claim {
        said: printable(&said),
        source: claim.source.as_deref().map(printable),
        expected: printable(&format!(
            "{} of \u{201c}{arm}\u{201d} {} that of \u{201c}{baseline}\u{201d}",
            card.measure,
            match claim.expected {
                schema::Expected::Higher => "above",
                schema::Expected::Lower => "below",
                schema::Expected::Same => "the same as",
            }
        )),
        measured,
        verdict: card.verdict.name(),
        class: card.verdict.class(),
        reason: printable(&card.reason),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::read::read_experiment;

    #[test]
    fn the_view_of_a_small_experiment_is_as_before() {
        let folder = tempfile::tempdir().expect("a folder");
        fixture::write(folder.path());
        let experiment = read_experiment(folder.path()).expect("an experiment");
        let comparison = Comparison::of(&experiment);
        let findings = Findings::of(&comparison);
        let figures = Figures::draw(&experiment, &comparison, chart::smooth::WINDOW);
        let view = view(&experiment, &comparison, &findings, &figures);
        fixture::golden("page.txt", &format!("{view:#?}\n"));
        let page = view.render().expect("a page");
        // The text of every view ends up in the page, escaped.
        assert!(
            page.contains("Which of &#60;b&#62;three&#60;/b&#62; arms?")
                && !page.contains("<b>three")
        );
    }
}
