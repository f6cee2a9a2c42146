//! The template: an experiment with every key of the registry, its default, and what it means. It runs as it stands.

use super::catalog::{Catalog, Known};
use super::registry::Registry;
use crate::keys::{Entry, Presence};

const HEAD: &str = "\
# Every key of an experiment: what it means, what it takes, and its default. It runs as it stands:
#
#     bn-train show template > mine.toml
#     bn-train run mine.toml
#
# A key that has a default may be left out. Keys behind a `#` are absent by default, or belong to another kind, which
# their comment begins with. `--set norm.decay=0.9` replaces a key for one run of the program, in every arm.
# A typo, a wrong type or an impossible value is reported with its line before anything is trained.

";

const ARMS: &str = "
# Without [[arm]] there is one arm, named \"base\". An arm overrides any key of the tables above.

[[arm]]
name = \"batch norm\"

[[arm]]
name = \"no normalization\"
norm.kind = \"none\"
";

/// The column where comments begin.
const COMMENT: usize = 32;
/// No line is longer, unless a word is.
const WIDTH: usize = 118;

/// The text of the template.
pub(super) fn template(registry: &Registry) -> String {
    let catalog = Catalog::new(registry);
    let mut writer = Writer { text: HEAD.to_owned(), table: String::new() };
    for entry in &catalog.experiment {
        // A claim is about measures of its own kind: not all of its keys go together.
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
    /// The table that was opened last.
    table: String,
}

impl Writer {
    /// Adds a line for one key, and more for what its comment needs; behind a `#` unless it `is_set`.
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

/// What a key means and takes, in lines.
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

/// Lines that fit beside the keys; the second and further ones begin with `indent`.
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
