//! Draws a curve in the terminal with block characters.

/// Columns of a curve.
const WIDTH: usize = 60;
/// Lines of a curve.
const HEIGHT: usize = 5;
/// Parts of a character cell, from empty to full.
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Draws `value` over the steps `0..steps`; a constant becomes a single line of text.
pub(super) fn draw(steps: u64, value: impl Fn(u64) -> f64) -> Vec<String> {
    let last = steps.saturating_sub(1);
    draw_between(("0", &format!("step {steps}")), |at| value((at * last as f64).round() as u64))
}

/// Draws `value` over an x axis from 0 to 1 with these labels at its ends; a single line where it is the same everywhere.
pub(super) fn draw_between(ends: (&str, &str), value: impl Fn(f64) -> f64) -> Vec<String> {
    let at = |column: usize| column as f64 / (WIDTH - 1) as f64;
    let values: Vec<f64> = (0..WIDTH).map(|column| value(at(column))).collect();
    let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
    if highest == lowest {
        return vec![format!("{} throughout", number(highest))];
    }
    // The axis starts at 0 unless all values are far from it.
    let floor = if lowest >= 0.0 && lowest < 0.5 * highest { 0.0 } else { lowest };
    let eighths: Vec<usize> = values
        .iter()
        .map(|value| ((value - floor) / (highest - floor) * (8 * HEIGHT) as f64).round() as usize)
        .collect();
    let labels = [number(highest), number(floor)];
    let margin = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for line in (0..HEIGHT).rev() {
        let label = match line {
            0 => &labels[1],
            line if line == HEIGHT - 1 => &labels[0],
            _ => "",
        };
        let cells: String =
            eighths.iter().map(|&height| BLOCKS[height.saturating_sub(8 * line).min(8)]).collect();
        lines.push(format!("{label:>margin$} │{}", cells.trim_end()));
    }
    let (start, end) = ends;
    lines.push(format!("{:margin$} └{}", "", "─".repeat(WIDTH)));
    let room = WIDTH.saturating_sub(start.chars().count());
    lines.push(format!("{:margin$}  {start}{end:>room$}", ""));
    lines
}

/// Formats with up to four significant digits.
pub(super) fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if value.abs() < 1e-3 || value.abs() >= 1e5 {
        return format!("{value:.2e}");
    }
    let digits = (3 - value.abs().log10().floor() as i32).max(0) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_is_one_line_of_text() {
        assert_eq!(draw(100, |_| 0.2), ["0.2 throughout"]);
        assert_eq!(draw(1, |step| step as f64), ["0 throughout"]);
    }

    #[test]
    fn filled_area_is_proportional_to_the_values() {
        let lines = draw(101, |step| step as f64 / 100.0);
        assert_eq!(lines.len(), HEIGHT + 2);
        assert!(lines[0].starts_with("1 │") && lines[0].ends_with('█'), "{lines:#?}");
        assert!(lines[HEIGHT - 1].starts_with("0 │ "), "{lines:#?}");
        let full = |line: &str| line.matches('█').count();
        let heights: Vec<usize> = lines[..HEIGHT].iter().map(|line| full(line)).collect();
        assert!(heights.windows(2).all(|pair| pair[0] < pair[1]), "{heights:?}");
        // The area under a ramp is half the chart, within rounding to cells.
        let eighths: usize = lines[..HEIGHT]
            .iter()
            .flat_map(|line| line.chars())
            .filter_map(|cell| BLOCKS.iter().position(|block| *block == cell).filter(|at| *at > 0))
            .sum();
        assert!((eighths as f64 - 0.5 * (8 * HEIGHT * WIDTH) as f64).abs() < 0.5 * WIDTH as f64);
        assert!(lines[HEIGHT + 1].ends_with("step 101"));
    }

    #[test]
    fn step_function_jumps_at_its_step() {
        let lines = draw(60, |step| if step < 30 { 1.0 } else { 0.1 });
        assert_eq!(lines[0], format!("1 │{}", "█".repeat(30)));
    }

    #[test]
    fn labels_keep_four_significant_digits() {
        for (value, text) in [
            (0.2, "0.2"),
            (1.0, "1"),
            (0.12345, "0.1235"),
            (1500.0, "1500"),
            (1e-5, "1.00e-5"),
            (12.5, "12.5"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
