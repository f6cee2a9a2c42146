//! Charts with one number per run: the metric at the end, steps to the target, and differences from the baseline.

use super::over_steps::with_level;
use super::sheet::{self, Frame, together};
use crate::chart::Chart;
use crate::chart::dots::{DotRow, Dots};
use crate::compare::{Against, ArmRow, Comparison, Times};
use crate::format;
use crate::stats::censored::Time;

const FINALS: &str = "Dot: a finished run. Upright bar: their mean; line: {level} bootstrap interval of the mean. The axis covers the values and need not begin at 0. Rings: runs without a final value.";

const STEPS: &str = "Dot: a run, at the first measured step from which it meets the target to the end. Upright bar: the median over all runs (Kaplan-Meier). Rings: runs that do not.";

/// The metric at the end.
pub(super) fn finals(comparison: &Comparison) -> Option<Chart> {
    let cells = comparison.cells();
    let row = |(place, row): (usize, &ArmRow)| DotRow {
        arms: vec![place],
        name: row.name.clone(),
        values: row.finals.iter().map(|(seed, outcome)| (*seed, outcome.value())).collect(),
        centre: row.final_value.mean,
        interval: row.final_value.interval.map(|interval| (interval.low, interval.high)),
        text: match row.final_value.n {
            0 => "no final value".to_owned(),
            _ => cells[place].final_value.clone(),
        },
    };
    let rows: Vec<DotRow> = comparison.rows.iter().enumerate().map(row).collect();
    let title = comparison.final_heading();
    let frame =
        Frame::new("final", format!("{title}, every run"), with_level(FINALS, comparison.level));
    sheet::dots(frame, dots(title, rows, "no final value", false))
}

/// Steps until the target is met for good; none without a target.
pub(super) fn steps_to_target(comparison: &Comparison) -> Option<Chart> {
    let target = comparison.target_words()?;
    let cells = comparison.cells();
    let row = |(place, row): (usize, &ArmRow)| {
        let Times { runs, median, .. } = &row.sustained;
        let step = |time: &Time| match time {
            Time::At(step) => Some(*step as f64),
            Time::After(_) => None,
        };
        DotRow {
            arms: vec![place],
            name: row.name.clone(),
            values: runs.iter().map(|(seed, time)| (*seed, step(time))).collect(),
            centre: median.map(|median| median as f64),
            interval: None,
            text: cells[place].steps_to_target.clone(),
        }
    };
    let rows: Vec<DotRow> = comparison.rows.iter().enumerate().map(row).collect();
    let title = format!("steps to {target}");
    let frame = Frame::new("steps-to-target", format!("{title}, every run"), STEPS);
    sheet::dots(frame, dots(title, rows, "not reached", true))
}

/// Final values minus the baseline's, paired by seed; none without two arms to compare.
pub(super) fn final_differences(comparison: &Comparison) -> Option<Chart> {
    let title =
        format!("{} minus that of {}", comparison.final_heading(), comparison.baseline_name()?);
    differences(comparison, "final-differences", title, false, |row| row.final_against.as_ref())
}

/// Steps to the target minus the baseline's, paired by seed.
pub(super) fn step_differences(comparison: &Comparison) -> Option<Chart> {
    let baseline = comparison.baseline_name()?;
    let title = format!("steps to {} minus those of {baseline}", comparison.target_words()?);
    differences(comparison, "step-differences", title, true, |row| row.steps_against.as_ref())
}

fn differences<'a>(
    comparison: &'a Comparison,
    file: &str,
    title: String,
    steps: bool,
    of: impl Fn(&'a ArmRow) -> Option<&'a Against>,
) -> Option<Chart> {
    let row = |(place, row): (usize, &'a ArmRow)| {
        let against = of(row)?;
        let pairs = &against.pairs;
        Some(DotRow {
            arms: vec![place],
            name: row.name.clone(),
            values: pairs.differences.iter().map(|&(seed, value)| (seed, Some(value))).collect(),
            centre: pairs.mean,
            interval: pairs.interval.map(|interval| (interval.low, interval.high)),
            text: difference_words(against, if steps { format::steps } else { format::value }),
        })
    };
    let rows: Vec<DotRow> = comparison.rows.iter().enumerate().filter_map(row).collect();
    let better = match (steps, comparison.lower_is_better()) {
        (true, _) | (false, true) => "left",
        (false, false) => "right",
    };
    let caption = format!(
        "Dot: the difference within a seed. Upright bar: their mean; line: {} bootstrap interval. Dotted: no difference; {better} of it is better.",
        comparison.level
    );
    let rows = merge_identical(rows);
    let dots = Dots {
        title: title.clone(),
        rows,
        without: None,
        steps: false,
        rule: Some(0.0),
        connected: false,
    };
    sheet::dots(Frame::new(file, title, caption), dots)
}

/// `+0.012 [0.003, 0.020]`.
fn difference_words(against: &Against, number: fn(f64) -> String) -> String {
    let pairs = &against.pairs;
    let Some(mean) = pairs.mean else {
        return "no pair".to_owned();
    };
    let interval = pairs.interval.map(|_| format::interval(pairs.interval, number));
    let words: Vec<String> = [format::signed(mean, number)].into_iter().chain(interval).collect();
    words.join(" ")
}

fn dots(title: String, rows: Vec<DotRow>, without: &str, steps: bool) -> Dots {
    let any_without = rows.iter().any(|row| row.values.iter().any(|(_, value)| value.is_none()));
    let without = any_without.then(|| without.to_owned());
    Dots { title, rows: merge_identical(rows), without, steps, rule: None, connected: false }
}

/// Rows of the same numbers become one, named after all of them.
fn merge_identical(rows: Vec<DotRow>) -> Vec<DotRow> {
    let mut merged: Vec<(DotRow, Vec<String>)> = Vec::new();
    for row in rows {
        let same = |(other, _): &&mut (DotRow, Vec<String>)| {
            other.values == row.values && other.text == row.text && !row.values.is_empty()
        };
        match merged.iter_mut().find(same) {
            Some((other, names)) => {
                other.arms.extend(&row.arms);
                names.push(row.name);
            }
            None => merged.push((row.clone(), vec![row.name])),
        }
    }
    let named = |(row, names): (DotRow, Vec<String>)| {
        let name = if names.len() == 2 { names.join(" = ") } else { together(&names) };
        DotRow { name, ..row }
    };
    merged.into_iter().map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(place: usize, values: &[f64]) -> DotRow {
        DotRow {
            arms: vec![place],
            name: format!("arm {place}"),
            values: (0..).zip(values).map(|(seed, &value)| (seed, Some(value))).collect(),
            centre: None,
            interval: None,
            text: values[0].to_string(),
        }
    }

    #[test]
    fn rows_of_the_same_numbers_are_drawn_once() {
        let rows = [row(0, &[1.0, 2.0]), row(1, &[3.0]), row(2, &[1.0, 2.0]), row(3, &[1.0, 2.0])];
        let merged = merge_identical(rows.to_vec());
        let names: Vec<&str> = merged.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["3 arms, identical", "arm 1"]);
        assert_eq!(merged[0].arms, [0, 2, 3]);
        assert_eq!(merge_identical(rows[..3].to_vec())[0].name, "arm 0 = arm 2");
    }
}
