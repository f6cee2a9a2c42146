//! The comparison as rows of text: for the terminal, the page and the summaries alike.

use super::{ArmRow, Comparison, Gap};
use crate::format;

/// One arm's cells, as a reader sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cells {
    /// Name of the arm.
    pub arm: String,
    /// Number of runs; with the number that finished where some did not.
    pub runs: String,
    /// The metric at the end, mean ± sd, with the number of runs it is over where that is not all.
    pub final_value: String,
    /// Steps to the target; with the share of runs that reached it where some did not.
    pub steps_to_target: String,
    /// The widest gap between batch and moving statistics, and its step.
    pub gap: String,
    /// The step from which the gap stays closed.
    pub closed_from: String,
    /// Number of runs that diverged.
    pub diverged: String,
}

impl Comparison {
    /// Heading of the final value: `final test accuracy`.
    pub fn final_heading(&self) -> String {
        format!("final {} {}", self.final_split.name(), self.metric)
    }

    /// What an arm has to reach, in words: `validation accuracy 0.9`.
    pub fn target_words(&self) -> Option<String> {
        let target = self.target.as_ref()?;
        Some(format!("{} {} {}", target.split.name(), target.metric, target.value))
    }

    /// The cells of every arm.
    pub fn cells(&self) -> Vec<Cells> {
        self.rows.iter().map(cells).collect()
    }

    /// The table for a terminal: arm, runs, final value, steps to target, diverged; columns aligned, lines end in `\n`.
    pub fn render_table(&self) -> String {
        let final_heading = self.final_heading();
        let mut lines: Vec<Vec<String>> = vec![vec!["arm".into(), "runs".into(), final_heading]];
        lines.extend(
            self.cells().into_iter().map(|cells| vec![cells.arm, cells.runs, cells.final_value]),
        );
        if let Some(target) = self.target_words() {
            lines[0].push(format!("steps to {target}"));
            for (line, cells) in lines[1..].iter_mut().zip(self.cells()) {
                line.push(cells.steps_to_target);
            }
        }
        lines[0].push("diverged".into());
        for (line, cells) in lines[1..].iter_mut().zip(self.cells()) {
            line.push(cells.diverged);
        }
        align(&lines)
    }
}

fn align(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width =
        |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let cells: Vec<String> =
            line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("   ").trim_end());
        text.push('\n');
    }
    text
}

fn cells(row: &ArmRow) -> Cells {
    let total = row.states.total();
    let of_all = |number: usize| {
        if number == total { String::new() } else { format!(" ({number} of {total})") }
    };
    let reached = row.steps_to_target.n;
    let begun = row.reached.len();
    Cells {
        arm: row.name.clone(),
        runs: match row.states.finished {
            finished if finished == total => total.to_string(),
            finished => format!("{total} ({finished} finished)"),
        },
        final_value: match row.final_value.n {
            0 => format::ABSENT.to_owned(),
            n => format::mean_sd(&row.final_value, format::value) + &of_all(n),
        },
        steps_to_target: match reached {
            0 if begun == 0 => format::ABSENT.to_owned(),
            0 if row.states.running > 0 => format!("not yet (0 of {begun})"),
            0 if row.states.finished + row.states.diverged < begun => {
                format!("not reached (0 of {begun})")
            }
            0 => format!("never (0 of {begun})"),
            _ if reached < begun => format!(
                "{} ({reached} of {begun})",
                format::mean_sd(&row.steps_to_target, format::steps)
            ),
            _ => format::mean_sd(&row.steps_to_target, format::steps),
        },
        gap: row.gap.map_or(format::ABSENT.to_owned(), |gap| {
            format!("{} at step {}", format::short(gap.size()), format::count(gap.step))
        }),
        closed_from: match row.gap {
            None => format::ABSENT.to_owned(),
            Some(Gap { closed_from: None, .. }) => "still open".to_owned(),
            Some(Gap { closed_from: Some(step), .. }) => format!("step {}", format::count(step)),
        },
        diverged: row.states.diverged.to_string(),
    }
}
