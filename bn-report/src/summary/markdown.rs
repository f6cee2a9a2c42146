//! `summary.md`, and tables in Markdown.

use crate::compare::Comparison;
use crate::findings::Findings;
use crate::read::Experiment;
use crate::text::visible;

/// `summary.md`: question, findings, scorecard and the table.
pub fn markdown(experiment: &Experiment, comparison: &Comparison, findings: &Findings) -> String {
    let mut text = format!("# {}\n\n", escape(&experiment.name));
    if let Some(question) = &experiment.question {
        text += &format!("{}\n\n", escape(question));
    }
    text += &format!("**{}**\n\n", escape(&findings.headline.plain()));
    for finding in &findings.others {
        text += &format!("- {}\n", escape(&finding.plain()));
    }
    text += "\n";
    text += &table(&comparison.table().lines);
    for notice in experiment.damage.iter().chain(&experiment.notices) {
        text += &format!("\nNote: {}\n", escape(notice));
    }
    text
}

/// A table in Markdown, the headings first.
pub fn table(lines: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        let cells: Vec<String> = line.iter().map(|cell| escape(cell)).collect();
        text += &format!("| {} |\n", cells.join(" | "));
        if index == 0 {
            text += &format!("|{}\n", "---|".repeat(line.len()));
        }
    }
    text
}

/// Text that stands for itself in Markdown: no markup, no HTML, no end of a cell or a line.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '#' => {
                escaped.push('\\');
                escaped.push(character);
            }
            _ if character.is_control() => escaped.push(visible(character)),
            _ => escaped.push(character),
        }
    }
    escaped
}
