//! The table for a paper.

use crate::text::visible;

/// A table in LaTeX, the headings first, with the rules of the package `booktabs`.
pub fn latex(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let mut text =
        format!("\\begin{{tabular}}{{l{}}}\n\\toprule\n", "r".repeat(columns.saturating_sub(1)));
    for (index, line) in lines.iter().enumerate() {
        let cells: Vec<String> = line.iter().map(|cell| escape(cell)).collect();
        text += &format!("{} \\\\\n", cells.join(" & "));
        if index == 0 {
            text += "\\midrule\n";
        }
    }
    text + "\\bottomrule\n\\end{tabular}\n"
}

/// Text that stands for itself in LaTeX.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars().map(visible) {
        match character {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                escaped.push('\\');
                escaped.push(character);
            }
            '\\' => escaped.push_str("\\textbackslash{}"),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            '<' => escaped.push_str("\\textless{}"),
            '>' => escaped.push_str("\\textgreater{}"),
            '\u{b1}' => escaped.push_str("$\\pm$"),
            '\u{2013}' => escaped.push_str("--"),
            // A bracket behind `\\\\` would be an option.
            '[' => escaped.push_str("{[}"),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::latex;

    #[test]
    fn names_stand_for_themselves() {
        let lines = [
            ["arm".to_owned(), "a & b".to_owned()],
            ["50 % \\x".to_owned(), "0.9 \u{b1} 0 [1]".to_owned()],
        ];
        assert_eq!(
            latex(&lines.map(|line| line.to_vec())),
            "\\begin{tabular}{lr}\n\\toprule\narm & a \\& b \\\\\n\\midrule\n\
             50 \\% \\textbackslash{}x & 0.9 $\\pm$ 0 {[}1] \\\\\n\\bottomrule\n\\end{tabular}\n"
        );
    }
}
