//! The comparison as rows of text: for the terminal, the page and the summaries alike.

use super::{Against, ArmRow, Comparison, Gap, Times};
use crate::format;
use crate::schema::{Direction, Statistics};

/// A table of text, with what becomes of its columns where there is little room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextTable {
    /// What becomes of each column.
    pub columns: Vec<Room>,
    /// The lines, the headings first; as many cells as there are columns.
    pub lines: Vec<Vec<String>>,
}

/// What becomes of a column where there is no room for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// It stays.
    Stay,
    /// Its cells are folded onto several lines.
    Fold,
    /// It is left out, columns with lower numbers first.
    Leave(u8),
}

/// One arm's cells, as a reader sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cells {
    /// Name of the arm.
    pub arm: String,
    /// Number of runs; with the number that finished where some did not.
    pub runs: String,
    /// The metric at the end, mean ± sd, with the number of runs it is over where that is not all.
    pub final_value: String,
    /// The interval of that mean.
    pub interval: String,
    /// The final value against the baseline's: mean difference, interval and decision.
    pub final_against: String,
    /// Steps until the target is met for good: median, with the share of runs that got there where some did not.
    pub steps_to_target: String,
    /// Between which two measurements the median lies: `400 and 500`; absent where that is not known.
    pub steps_bracket: String,
    /// The best value of the watched curve, mean ± sd.
    pub best: String,
    /// Steps until the target is met for the first time.
    pub first_touch: String,
    /// Steps to the target against the baseline's: mean difference, interval and decision.
    pub steps_against: String,
    /// The widest gap, moving minus batch statistics, and its step.
    pub gap: String,
    /// The step from which the gap stays closed.
    pub closed_from: String,
    /// Number of runs that diverged.
    pub diverged: String,
}

impl Comparison {
    /// Heading of the final value: `final test accuracy`, with the statistics where any arm has a choice.
    pub fn final_heading(&self) -> String {
        let heading = format!("final {} {}", self.final_split.name(), self.metric);
        self.with_statistics(heading)
    }

    /// Heading of the best value: `best validation accuracy`.
    pub fn best_heading(&self) -> String {
        let watched = self.watched();
        format!("best {} {}", watched.split.name(), watched.metric)
    }

    /// What an arm has to reach, in words: `validation accuracy 0.9`.
    pub fn target_words(&self) -> Option<String> {
        let target = self.target.as_ref()?;
        Some(format!("{} {} {}", target.split.name(), target.metric, target.value))
    }

    /// `words`, and by which statistics, unless they are the moving ones that evaluation uses anyway.
    fn with_statistics(&self, words: String) -> String {
        match self.statistics {
            Statistics::Moving => words,
            statistics => format!("{words} by {statistics} statistics"),
        }
    }

    /// Name of the arm that the others are compared with; none where there is no other.
    pub fn baseline_name(&self) -> Option<&str> {
        let baseline = self.rows.get(self.baseline)?;
        (self.rows.len() > 1).then_some(baseline.name.as_str())
    }

    /// The cells of every arm.
    pub fn cells(&self) -> Vec<Cells> {
        self.rows.iter().map(|row| self.cells_of(row)).collect()
    }

    /// The table for a terminal, as wide as it comes; columns aligned, lines end in `\n`.
    pub fn render_table(&self) -> String {
        align(&self.table().lines)
    }

    /// The table as text: arm, runs, final value, its interval, its verdict, steps to target and within which
    /// measurements, best value, diverged.
    pub fn table(&self) -> TextTable {
        let target = self.target_words();
        let baseline = self.baseline_name();
        let mut columns = vec![
            (Room::Fold, "arm".to_owned()),
            (Room::Leave(4), "runs".into()),
            (Room::Stay, self.final_heading()),
            (Room::Leave(2), format!("{} interval", self.level)),
        ];
        columns.extend(baseline.map(|name| (Room::Fold, format!("against {name}"))));
        columns.extend(target.iter().flat_map(|target| {
            [
                (Room::Stay, format!("steps to {target}")),
                (Room::Leave(3), "within steps".to_owned()),
            ]
        }));
        columns.push((Room::Leave(0), self.best_heading()));
        // Runs that finished are told too where they are not all.
        columns.push((Room::Leave(1), "diverged".into()));
        let (columns, heading) = columns.into_iter().unzip();
        let mut lines = vec![heading];
        for cells in self.cells() {
            let mut line = vec![cells.arm, cells.runs, cells.final_value, cells.interval];
            line.extend(baseline.map(|_| cells.final_against));
            if target.is_some() {
                line.extend([cells.steps_to_target, cells.steps_bracket]);
            }
            line.extend([cells.best, cells.diverged]);
            lines.push(line);
        }
        TextTable { columns, lines }
    }

    fn cells_of(&self, row: &ArmRow) -> Cells {
        let total = row.states.total();
        let of_all = |number: usize| {
            if number == total { String::new() } else { format!(" ({number} of {total})") }
        };
        let better = self.definition.better;
        let against = |against: &Option<Against>, better, number: fn(f64) -> String| match against {
            Some(against) => against_words(against, better, number),
            None if self.rows.len() > 1 => "baseline".to_owned(),
            None => format::ABSENT.to_owned(),
        };
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
            interval: format::interval(row.final_value.interval, format::value),
            final_against: against(&row.final_against, better, format::value),
            steps_to_target: time_words(row, &row.sustained),
            steps_bracket: bracket_words(row.sustained.median, row.sustained.median_after)
                .unwrap_or(format::ABSENT.to_owned()),
            best: format::mean_sd(&row.best, format::value),
            first_touch: time_words(row, &row.first_touch),
            steps_against: against(&row.steps_against, Direction::Lower, format::steps),
            gap: row.gap.map_or(format::ABSENT.to_owned(), |gap| {
                let size = format::signed(gap.signed(), format::short);
                format!("{size} at step {}", format::count(gap.step))
            }),
            closed_from: match row.gap {
                None => format::ABSENT.to_owned(),
                Some(Gap { closed_from: None, .. }) => "still open".to_owned(),
                Some(Gap { closed_from: Some(step), .. }) => {
                    format!("closed from step {}", format::count(step))
                }
            },
            diverged: row.states.diverged.to_string(),
        }
    }
}

/// `+0.012 [0.003, 0.020], better`.
fn against_words(against: &Against, better: Direction, number: fn(f64) -> String) -> String {
    let decision = against.decision.words(Some(better));
    let lost = lost_words(against).map_or(String::new(), |lost| format!(" ({lost})"));
    let Some(mean) = against.pairs.mean else {
        return decision + &lost;
    };
    let mean = format::signed(mean, number);
    let interval = match against.pairs.interval {
        Some(_) => format!(" {}", format::interval(against.pairs.interval, number)),
        None => String::new(),
    };
    format!("{mean}{interval}, {decision}{lost}")
}

/// Which seeds have a result in one of both arms only; none where there are none.
pub fn lost_words(against: &Against) -> Option<String> {
    let seeds = |number: usize| format::plural(number, "seed", "seeds");
    match against.lost {
        (0, 0) => None,
        (0, baseline) => Some(format!("{} diverged in the baseline only", seeds(baseline))),
        (arm, 0) => Some(format!("{} diverged in this arm only", seeds(arm))),
        (arm, baseline) => Some(format!(
            "{} diverged in this arm only, {baseline} in the baseline only",
            seeds(arm)
        )),
    }
}

/// `25`, `> 1,500 (2 of 5)`: the median, or what it is known to exceed, with the share of runs where not all got there.
fn time_words(row: &ArmRow, times: &Times) -> String {
    let begun = times.runs.len();
    let Some(watched) = times.watched_to() else {
        return format::ABSENT.to_owned();
    };
    let share = if times.reached == begun {
        String::new()
    } else {
        format!(" ({} of {begun})", times.reached)
    };
    match times.median {
        Some(median) => format::count(median) + &share,
        None if times.reached == 0 && row.states.running > 0 => format!("not yet (0 of {begun})"),
        None => format!("> {}{share}", format::count(watched)),
    }
}

/// `400 to 500`: the measured step before another, and that; none where one of them is not known.
pub fn bracket_words(step: Option<u64>, after: Option<u64>) -> Option<String> {
    Some(format!("{} to {}", format::count(after?), format::count(step?)))
}

/// A comparison in full: seeds, mean difference, its interval, probability of improvement, p, p after Holm's correction, verdict.
pub fn test_cells(against: &Against, better: Direction, number: fn(f64) -> String) -> [String; 7] {
    let or_absent = |text: Option<String>| text.unwrap_or(format::ABSENT.to_owned());
    [
        against.n.to_string(),
        or_absent(against.pairs.mean.map(|mean| format::signed(mean, number))),
        format::interval(against.pairs.interval, number),
        or_absent(against.improvement.map(|share| format!("{share:.2}"))),
        or_absent(against.p_value.map(format::p_value)),
        or_absent(against.p_adjusted.map(format::p_value)),
        against.decision.words(Some(better)),
    ]
}

/// Lines of equal columns, two blanks or more between them.
pub fn align(lines: &[Vec<String>]) -> String {
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
