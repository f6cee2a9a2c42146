//! A table for a terminal, no wider than the terminal is.
//!
//! Where the table is wider, headings are folded onto several lines. Where that is not enough, cells of columns that may be folded are too, down to
//! [`FOLDED`] characters; then columns are left out in the order of their numbers, and named under the table; then all that are
//! left are folded further.

use unicode_width::UnicodeWidthStr as _;

use crate::compare::table::{Room, TextTable};
use crate::text::printable;

/// Cells are folded down to this many characters before a column is left out.
const FOLDED: usize = 22;
/// No column is narrower.
const NARROWEST: usize = 8;
const GAP: usize = 3;

/// The table in at most `width` characters, where that can be; without a width, every column and every cell on one line.
pub fn terminal(table: &TextTable, width: Option<usize>) -> String {
    let lines = shown_as_is(table);
    let Layout { shown, widths, left_out } = Layout::of(table, &lines, width);
    let mut text = print(&lines, &shown, &widths);
    if !left_out.is_empty() {
        let names: Vec<&str> = left_out.iter().map(|&column| lines[0][column].as_str()).collect();
        let note = format!("(without: {}; bn-report table --wide shows all)", names.join(", "));
        text += &(fold(&note, width.unwrap_or(usize::MAX)).join("\n") + "\n");
    }
    text
}

fn shown_as_is(table: &TextTable) -> Vec<Vec<String>> {
    table.lines.iter().map(|line| line.iter().map(|cell| printable(cell)).collect()).collect()
}

/// Which columns are shown, and how wide every column is.
struct Layout {
    shown: Vec<usize>,
    widths: Vec<usize>,
    left_out: Vec<usize>,
}

impl Layout {
    fn of(table: &TextTable, lines: &[Vec<String>], width: Option<usize>) -> Self {
        let mut shown: Vec<usize> = (0..table.columns.len()).collect();
        let Some(room) = width else {
            let widths = shown.iter().map(|&column| widest(lines, column)).collect();
            return Self { shown, widths, left_out: Vec::new() };
        };
        let whole: Vec<usize> = shown.iter().map(|&column| unfolded(lines, column)).collect();
        let least = |column: &usize| match table.columns[*column] {
            Room::Fold => whole[*column].min(FOLDED),
            Room::Stay | Room::Leave(_) => whole[*column],
        };
        let least: Vec<usize> = shown.iter().map(least).collect();
        let mut left_out: Vec<usize> = Vec::new();
        while needed(&shown, &least) > room {
            let Some(next) = first_to_leave(table, &shown) else { break };
            shown.retain(|&column| column != next);
            left_out.push(next);
        }
        left_out.sort_unstable();
        let all: Vec<usize> = (0..whole.len()).map(|column| widest(lines, column)).collect();
        let widths = fit(&shown, &least, [&whole, &all], room);
        Self { shown, widths, left_out }
    }
}

fn widest(lines: &[Vec<String>], column: usize) -> usize {
    lines.iter().map(|line| line[column].width()).max().unwrap_or(0)
}

/// The width of a column whose heading is folded and whose cells are not.
fn unfolded(lines: &[Vec<String>], column: usize) -> usize {
    let (heading, cells) = (&lines[0][column], &lines[1..]);
    let word = heading.split_whitespace().map(|word| word.width()).max().unwrap_or(0);
    // A heading over short cells still has room for two words or so.
    widest(cells, column).max(word).max(heading.width().min(NARROWEST + 2))
}

fn needed(shown: &[usize], widths: &[usize]) -> usize {
    shown.iter().map(|&column| widths[column]).sum::<usize>() + GAP * shown.len().saturating_sub(1)
}

/// Of the columns that are left the one to leave out next.
fn first_to_leave(table: &TextTable, shown: &[usize]) -> Option<usize> {
    let order = |column: usize| match table.columns[column] {
        Room::Leave(order) => Some((order, column)),
        Room::Stay | Room::Fold => None,
    };
    shown.iter().filter_map(|&column| order(column)).min().map(|(_, column)| column)
}

/// The widths of the columns: what is needed at least, then more for folded cells and after them for folded headings while there is
/// room, or less for the widest columns while there is not.
fn fit(shown: &[usize], least: &[usize], wanted: [&[usize]; 2], room: usize) -> Vec<usize> {
    let mut widths = least.to_vec();
    for wanted in wanted {
        while needed(shown, &widths) < room {
            let folded = shown.iter().copied().filter(|&column| widths[column] < wanted[column]);
            let Some(narrowest) = folded.min_by_key(|&column| widths[column]) else { break };
            widths[narrowest] += 1;
        }
    }
    while needed(shown, &widths) > room {
        let wide = shown.iter().copied().filter(|&column| widths[column] > NARROWEST);
        let Some(widest) = wide.max_by_key(|&column| widths[column]) else { break };
        widths[widest] -= 1;
    }
    widths
}

/// The lines, cells folded to the widths of their columns.
fn print(lines: &[Vec<String>], shown: &[usize], widths: &[usize]) -> String {
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        let cells: Vec<(usize, Vec<String>)> = shown
            .iter()
            .map(|&column| (widths[column], fold(&line[column], widths[column])))
            .collect();
        let height = cells.iter().map(|(_, folded)| folded.len()).max().unwrap_or(0);
        for row in 0..height {
            let cell = |(width, folded): &(usize, Vec<String>)| {
                // Headings stand on the last line, right over their cells.
                let place =
                    if index == 0 { (row + folded.len()).checked_sub(height) } else { Some(row) };
                let part = place.and_then(|place| folded.get(place)).map_or("", String::as_str);
                format!("{part}{}", " ".repeat(width.saturating_sub(part.width())))
            };
            let row: Vec<String> = cells.iter().map(cell).collect();
            text += row.join(&" ".repeat(GAP)).trim_end();
            text.push('\n');
        }
    }
    text
}

fn fold(cell: &str, width: usize) -> Vec<String> {
    textwrap::wrap(cell, textwrap::Options::new(width.max(1)).break_words(true))
        .into_iter()
        .map(std::borrow::Cow::into_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table() -> TextTable {
        let line = |cells: [&str; 5]| cells.map(str::to_owned).to_vec();
        TextTable {
            columns: vec![Room::Fold, Room::Leave(1), Room::Stay, Room::Fold, Room::Leave(0)],
            lines: vec![
                line(["arm", "runs", "final test accuracy", "against the baseline", "diverged"]),
                line([
                    "batch norm, decay 0.999, both debiased",
                    "10",
                    "0.970 \u{b1} 0.004",
                    "+0.012 [0.003, 0.020], better",
                    "0",
                ]),
                line(["plain", "10 (9 finished)", "0.9", "baseline", "1"]),
            ],
        }
    }

    #[test]
    fn without_a_width_every_column_is_there_on_one_line() {
        assert_eq!(
            terminal(&table(), None),
            "arm                                      runs              final test accuracy   against the baseline            diverged\n\
             batch norm, decay 0.999, both debiased   10                0.970 \u{b1} 0.004         +0.012 [0.003, 0.020], better   0\n\
             plain                                    10 (9 finished)   0.9                   baseline                        1\n"
        );
    }

    #[test]
    fn cells_are_folded_first_and_columns_left_out_in_their_order() {
        let left_out = |width| {
            let table = table();
            Layout::of(&table, &shown_as_is(&table), Some(width)).left_out
        };
        let nothing: [Vec<usize>; 2] = [vec![], vec![]];
        assert_eq!([160, 95].map(left_out), nothing);
        assert_eq!([85, 62].map(left_out), [vec![4], vec![1, 4]]);
        let text = terminal(&table(), Some(62));
        assert!(
            text.ends_with("(without: runs, diverged; bn-report table --wide shows all)\n"),
            "{text}"
        );
        // With room enough nothing is folded.
        assert_eq!(terminal(&table(), Some(160)), terminal(&table(), None));
    }

    proptest! {
        #[test]
        fn lines_fit_and_shown_columns_lose_nothing(
            cells in prop::collection::vec("\\PC{0,40}", 5),
            width in 50usize..200,
        ) {
            let mut table = table();
            table.lines.push(cells);
            let lines = shown_as_is(&table);
            let layout = Layout::of(&table, &lines, Some(width));
            let text = print(&lines, &layout.shown, &layout.widths);
            for line in text.lines() {
                prop_assert!(line.width() <= width, "{line:?}");
            }
            let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count();
            let shown: usize = lines
                .iter()
                .flat_map(|line| layout.shown.iter().map(|&column| letters(&line[column])))
                .sum();
            prop_assert_eq!(letters(&text), shown, "{}", text);
        }
    }
}
