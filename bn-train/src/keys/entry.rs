//! An untyped description of a key, for messages and the template.

/// Whether a key is required, and what applies if it is not given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It may be left out. Holds the default, as TOML.
    Default(String),
    /// It must be given.
    Required {
        /// An example for the template, as TOML.
        example: String,
    },
    /// It may be absent, which has its own meaning.
    Optional {
        /// An example for the template, as TOML.
        example: String,
    },
}

/// The description of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Dotted path, as `--set` takes it: `norm.decay`.
    pub path: String,
    /// What it means, in a few words.
    pub about: String,
    /// The values it takes, as messages name them: `a number, 0 <= decay < 1`.
    pub accepts: String,
    /// The words it takes, each with its meaning. Empty if it does not take words.
    pub words: Vec<(String, String)>,
    /// Its names in other programs, for suggestions.
    pub also: Vec<String>,
    /// Whether it affects a run's `metrics.csv`, and so is part of its digest.
    pub decides: bool,
    /// Whether it is the path of a file or folder.
    pub is_path: bool,
    /// Whether it is required, and what applies if it is not given.
    pub presence: Presence,
}

impl Entry {
    /// The path's last part: `decay` of `norm.decay`.
    pub fn name(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or(&self.path)
    }

    /// The path's first part: `norm` of `norm.renorm.decay`. For a top-level key, its name.
    pub fn table(&self) -> &str {
        self.path.split('.').next().unwrap_or(&self.path)
    }

    /// The default, or an example, as TOML.
    pub fn shown(&self) -> &str {
        match &self.presence {
            Presence::Default(value)
            | Presence::Required { example: value }
            | Presence::Optional { example: value } => value,
        }
    }
}
