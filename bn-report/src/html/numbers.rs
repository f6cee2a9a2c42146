//! Every number of every arm, for who wants more than the table of the first screen has.

use super::inline::Verbatim;
use super::tables::within;
use crate::chart;
use crate::compare::{ArmRow, Comparison, Times};
use crate::format;
use crate::stats::Interval;
use crate::text::printable;

/// A line per arm.
#[derive(Debug)]
pub(super) struct NumbersTable {
    pub(super) headings: Vec<String>,
    /// Place, name, line sample and cells of each arm.
    pub(super) rows: Vec<(usize, String, Verbatim, Vec<String>)>,
}

impl NumbersTable {
    pub(super) fn of(comparison: &Comparison) -> Self {
        let end = printable(&comparison.final_heading());
        let watched = comparison.watched();
        let curve = printable(&format!("{} {}", watched.split.name(), watched.metric));
        let mut headings: Vec<String> =
            ["planned", "finished", "diverged", "failed", "other"].map(str::to_owned).to_vec();
        headings.push(format!("{end}: runs that have it"));
        headings.extend(["mean", "sd", "median", "interquartile mean"].map(str::to_owned));
        headings.push(format!("{} interval of the mean", comparison.level));
        headings.push(format!("best {curve}"));
        headings.push(format!("{curve} averaged over its steps"));
        if comparison.target.is_some() {
            headings.push("target first met, median step".to_owned());
            headings.push("target met for good, median step".to_owned());
        }
        let rows = comparison.rows.iter().enumerate().map(|(place, row)| {
            let cells = cells(row, comparison.target.is_some());
            (place, printable(&row.name), Verbatim(chart::key(place)), cells)
        });
        Self { headings, rows: rows.collect() }
    }
}

fn cells(row: &ArmRow, has_target: bool) -> Vec<String> {
    let (states, end) = (row.states, row.final_value);
    let other = states.total() - states.finished - states.diverged - states.failed;
    let counts = [states.total(), states.finished, states.diverged, states.failed, other, end.n];
    let mut cells: Vec<String> = counts.iter().map(usize::to_string).collect();
    cells.extend([end.mean, end.sd, end.median, end.iqm].map(number));
    cells.push(interval(end.interval));
    cells.extend([&row.best, &row.area].map(|summary| format::mean_sd(summary, format::value)));
    if has_target {
        cells.extend([&row.first_touch, &row.sustained].map(steps));
    }
    cells
}

fn number(number: Option<f64>) -> String {
    number.map_or(format::ABSENT.to_owned(), format::value)
}

fn interval(interval: Option<Interval>) -> String {
    format::interval(interval, format::value)
}

/// `450, within 400 to 450, 9 of 10 runs`.
fn steps(times: &Times) -> String {
    let begun = times.runs.len();
    let reached = format!("{} of {}", times.reached, format::plural(begun, "run", "runs"));
    let median = match (times.median, times.watched_to()) {
        (Some(median), _) => format::count(median),
        (None, Some(watched)) => format!("> {}", format::count(watched)),
        (None, None) => return format::ABSENT.to_owned(),
    };
    let bracket = Some(within(times.median, times.median_after)).filter(|text| !text.is_empty());
    let words: Vec<String> = [Some(median), bracket, Some(reached)].into_iter().flatten().collect();
    words.join(", ")
}
