//! Experiments whose arms form a grid: over one key as lines, over two as heat maps.

use std::collections::BTreeMap;

use super::over_steps::with_level;
use super::sheet::{self, Frame};
use crate::chart::Chart;
use crate::chart::dots::{DotRow, Dots};
use crate::chart::heat::Heat;
use crate::compare::{ArmRow, Comparison};
use crate::read::Experiment;
use crate::schema::{self, Axis};

const LINE: &str = "Dot: a finished run. Upright bars, and the line through them: the mean at each value of the key, in the order of the grid; thick line: its {level} bootstrap interval.";
const PLACES: &str =
    "Each place is an arm: the mean over its runs that have the value. An empty place has none.";

/// The final value over the grid's keys; none where the arms form no grid, or one of more than two keys.
pub(super) fn charts(experiment: &Experiment, comparison: &Comparison) -> Vec<Chart> {
    match &experiment.axes[..] {
        [key] => over_one(experiment, comparison, key).into_iter().collect(),
        [rows, columns] => over_two(experiment, comparison, rows, columns),
        _ => Vec::new(),
    }
}

fn coordinates(experiment: &Experiment, place: usize) -> &BTreeMap<String, String> {
    &experiment.arms[place].coordinates
}

fn frame(what: &str, keys: &str, caption: &str) -> Frame {
    let file = format!("grid-{}", schema::slug(what));
    Frame::new(file, format!("{what} over {keys}"), caption)
}

/// A row per value of the key, in the order of the grid.
fn over_one(experiment: &Experiment, comparison: &Comparison, key: &Axis) -> Option<Chart> {
    let mut rows = Vec::new();
    for value in &key.values {
        let here = |(place, _): &(usize, &ArmRow)| {
            coordinates(experiment, *place).get(&key.key) == Some(value)
        };
        for (place, row) in comparison.rows.iter().enumerate().filter(here) {
            rows.push(DotRow {
                arms: vec![place],
                name: format!("{} = {value}", key.key),
                values: row.finals.iter().map(|(seed, outcome)| (*seed, outcome.value())).collect(),
                centre: row.final_value.mean,
                interval: row.final_value.interval.map(|interval| (interval.low, interval.high)),
                text: comparison.cells()[place].final_value.clone(),
            });
        }
    }
    let title = comparison.final_heading();
    let dots = Dots {
        title: title.clone(),
        rows,
        without: None,
        steps: false,
        rule: None,
        connected: true,
    };
    sheet::dots(frame(&title, &key.key, &with_level(LINE, comparison.level)), dots)
}

/// A heat map of each number of an arm.
fn over_two(
    experiment: &Experiment,
    comparison: &Comparison,
    rows: &Axis,
    columns: &Axis,
) -> Vec<Chart> {
    type Number = fn(&ArmRow) -> Option<f64>;
    let mut numbers: Vec<(String, Number)> =
        vec![(comparison.final_heading(), |row| row.final_value.mean)];
    if let Some(target) = comparison.target_words() {
        let steps: Number = |row| row.sustained.median.map(|median| median as f64);
        numbers.push((format!("median steps to {target}"), steps));
    }
    let diverged = comparison.rows.iter().any(|row| row.states.diverged > 0);
    if diverged {
        let share: Number = |row| Some(row.states.diverged as f64 / row.states.total() as f64);
        numbers.push(("share of runs that diverged".to_owned(), share));
    }
    let arm_at = |row: &String, column: &String| {
        (0..comparison.rows.len()).find(|&place| {
            let here = coordinates(experiment, place);
            here.get(&rows.key) == Some(row) && here.get(&columns.key) == Some(column)
        })
    };
    let chart = |(what, number): (String, Number)| {
        let mut cells = Vec::new();
        let mut arms = Vec::new();
        for row in &rows.values {
            let places: Vec<Option<usize>> =
                columns.values.iter().map(|column| arm_at(row, column)).collect();
            let value =
                |place: &Option<usize>| place.and_then(|place| number(&comparison.rows[place]));
            cells.push(places.iter().map(value).collect());
            arms.extend(places.into_iter().map(|place| place.into_iter().collect::<Vec<usize>>()));
        }
        let heat = Heat {
            title: what.clone(),
            x_title: columns.key.clone(),
            y_title: rows.key.clone(),
            columns: columns.values.clone(),
            rows: rows.values.clone(),
            cells,
            arms,
        };
        let keys = format!("{} and {}", rows.key, columns.key);
        sheet::heat(frame(&what, &keys, PLACES), &heat)
    };
    numbers.into_iter().filter_map(chart).collect()
}
