//! Colours, durations and tables for the terminal. Colours are off if `NO_COLOR` is set or output is not a terminal.

use std::io::IsTerminal as _;

/// A standard terminal colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Red,
    Green,
    Yellow,
    Cyan,
    Grey,
}

/// Adds colour codes to words, if colours are on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Painter {
    has_colours: bool,
}

impl Painter {
    /// A painter for standard output.
    pub(super) fn of_stdout() -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { has_colours: std::io::stdout().is_terminal() && !no_colour }
    }

    /// `text` in `colour`.
    pub(super) fn paint(self, text: &str, colour: Colour) -> String {
        let code = match colour {
            Colour::Red => 31,
            Colour::Green => 32,
            Colour::Yellow => 33,
            Colour::Cyan => 36,
            Colour::Grey => 90,
        };
        if self.has_colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    #[cfg(test)]
    pub(super) fn with_colours(has_colours: bool) -> Self {
        Self { has_colours }
    }
}

/// `8 s`, `3 min 20 s`, `2 h 5 min`.
pub(super) fn duration(seconds: f64) -> String {
    let seconds = seconds.round().max(0.0) as u64;
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (48.., _) => format!("{} days", (hours + 12) / 24),
        (0, 0) => format!("{rest} s"),
        (0, minutes) => format!("{minutes} min {rest} s"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

/// Formats rows as lines with aligned columns: the first to the left, the others to the right.
pub(super) fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let pad = |(column, cell): (usize, &String)| {
        let padding = " ".repeat(widths[column] - cell.chars().count());
        if column == 0 { format!("{cell}{padding}") } else { format!("{padding}{cell}") }
    };
    rows.iter()
        .map(|row| row.iter().enumerate().map(pad).collect::<Vec<_>>().join("  "))
        .map(|line| line.trim_end().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_has_at_most_two_units() {
        for (seconds, text) in [
            (0.2, "0 s"),
            (8.4, "8 s"),
            (59.9, "1 min 0 s"),
            (200.0, "3 min 20 s"),
            (7500.0, "2 h 5 min"),
            (47.99 * 3600.0, "47 h 59 min"),
            (61.0 * 3600.0, "3 days"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn columns_line_up() {
        let rows = [["ab", "1"], ["c", "22"]].map(|row| row.map(ToOwned::to_owned).to_vec());
        assert_eq!(table(&rows), ["ab   1", "c   22"]);
    }

    #[test]
    fn colour_codes_only_when_enabled() {
        assert_eq!(Painter::with_colours(false).paint("x", Colour::Red), "x");
        assert_eq!(Painter::with_colours(true).paint("x", Colour::Red), "\x1b[31mx\x1b[0m");
    }
}
