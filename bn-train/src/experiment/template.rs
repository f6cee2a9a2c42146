//! The template: an experiment with every key of the registry, its default and its meaning. It is valid as it is.

use super::catalog::{Catalog, Known};
use super::registry::Registry;
use crate::keys::{Entry, Presence};

const HEAD: &str = "\
# Every key of an experiment: its meaning, the values it takes, and its default. The file runs as it is:
#
#     bn-train show template > mine.toml
#     bn-train run mine.toml
#
# Keys with a default may be left out. Keys behind a `#` are absent by default, or belong to another kind, which is
# named at the start of their comment. `--set norm.decay=0.9` overrides a key in every arm for one invocation.
# A typo, a wrong type or an invalid value is reported with its line before training starts.

";

const ARMS: &str = "
# Without [[arm]] there is one arm, named \"base\". An arm can override any key of the tables above.

[[arm]]
name = \"batch norm\"

[[arm]]
name = \"no normalization\"
norm.kind = \"none\"
";

/// The column where comments begin.
const COMMENT: usize = 32;
/// Maximum line length, unless a single word is longer.
const WIDTH: usize = 118;

/// The text of the template.
pub(super) fn template(registry: &Registry) -> String {
    let catalog = Catalog::new(registry);
    let mut writer = Writer { text: HEAD.to_owned(), table: String::new() };
    for entry in &catalog.experiment {
        // The keys of a claim exclude each other, so they are commented out.
        writer.push(entry, "", entry.table() != "claim");
    }
    for Known { entry, condition } in &catalog.arm {
        let is_optional = matches!(entry.presence, Presence::Optional { .. });
        match condition {
            Some((selector, kinds)) if !catalog.is_default(selector, kinds) => {
                writer.push(entry, &format!("{}: ", kinds.join(", ")), false);
            }
            _ => writer.push(entry, "", !is_optional),
        }
    }
    writer.text + ARMS
}

struct Writer {
    text: String,
    /// The current table.
    table: String,
}

impl Writer {
    /// Adds a key and its comment; the key is commented out unless `is_set`.
    fn push(&mut self, entry: &Entry, kinds: &str, is_set: bool) {
        let name = match entry.path.split_once('.') {
            Some((table, name)) => {
                self.open(table);
                name
            }
            None => entry.path.as_str(),
        };
        let mark = if is_set { "" } else { "# " };
        let mut line = format!("{mark}{name} = {}", entry.shown());
        if line.len() > COMMENT {
            self.text += &format!("{line}\n");
            line.clear();
        }
        for comment in comments(entry, kinds) {
            self.text += &format!("{line:COMMENT$} # {comment}\n");
            line.clear();
        }
    }

    fn open(&mut self, table: &str) {
        if self.table != table {
            self.text += &format!("\n[{table}]\n");
            table.clone_into(&mut self.table);
        }
    }
}

/// The comment lines of a key: its meaning and the values it takes.
fn comments(entry: &Entry, kinds: &str) -> Vec<String> {
    let has_meanings = entry.words.iter().any(|(_, meaning)| !meaning.is_empty());
    let about = if has_meanings {
        entry.about.clone()
    } else {
        format!("{} ({})", entry.about, entry.accepts)
    };
    let mut lines = Vec::new();
    if !about.is_empty() {
        lines.extend(wrap(&format!("{kinds}{about}"), "  "));
    }
    if has_meanings {
        for (word, meaning) in &entry.words {
            let meaning = if meaning.is_empty() { String::new() } else { format!(": {meaning}") };
            lines.extend(wrap(&format!("{word:?}{meaning}"), "  "));
        }
    }
    lines
}

/// Wraps a comment to the width beside the keys. Continuation lines start with `indent`.
fn wrap(text: &str, indent: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_inclusive(' ') {
        if !line.trim().is_empty() && line.len() + word.trim_end().len() > WIDTH - COMMENT - 3 {
            lines.push(line.trim_end().to_owned());
            indent.clone_into(&mut line);
        }
        line += word;
    }
    lines.push(line.trim_end().to_owned());
    lines
}
