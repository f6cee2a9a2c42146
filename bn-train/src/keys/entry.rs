//! A key without its type, for messages and the template.

/// Whether a key must be given, and what holds where it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It may be left out; then this holds, in TOML.
    Default(String),
    /// It must be given.
    Required {
        /// A value to show in the template, in TOML.
        example: String,
    },
    /// It may be absent, which means something of its own.
    Optional {
        /// A value to show in the template, in TOML.
        example: String,
    },
}

/// What is known of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Dotted path, as `--set` takes it: `norm.decay`.
    pub path: String,
    /// What it means, in a few words.
    pub about: String,
    /// What a message says is expected: `a number, 0 <= decay < 1`.
    pub accepts: String,
    /// The words it takes, each with its meaning; empty for other keys.
    pub words: Vec<(String, String)>,
    /// What other programs call it.
    pub also: Vec<String>,
    /// Whether it decides numbers of a run's `metrics.csv`, and so is part of its digest.
    pub decides: bool,
    /// Whether it is the path of a file or folder.
    pub is_path: bool,
    /// What holds where it is not given.
    pub presence: Presence,
}

impl Entry {
    /// The path's last part: `decay` of `norm.decay`.
    pub fn name(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or(&self.path)
    }

    /// The path's first part: `norm` of `norm.renorm.decay`; the name itself at the top of a file.
    pub fn table(&self) -> &str {
        self.path.split('.').next().unwrap_or(&self.path)
    }

    /// The default, or an example, in TOML.
    pub fn shown(&self) -> &str {
        match &self.presence {
            Presence::Default(value)
            | Presence::Required { example: value }
            | Presence::Optional { example: value } => value,
        }
    }
}
