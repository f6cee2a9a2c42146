//! Which runs a command is about: an experiment, and flags that change it or pick a part of it.

use crate::experiment::{Experiment, Flags, LoadError, Registry, shipped};
use clap::Args;

/// An experiment and what the command line says of it.
#[derive(Debug, Args)]
pub(super) struct Choice {
    /// Name of an embedded experiment, or path of a TOML file
    #[arg(default_value = shipped::DEFAULT)]
    experiment: String,
    /// Replace a key in every arm, for instance train.steps=100 or norm={decay=0.9}; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Name of the experiment's folder, in place of its own
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Seeds in place of the experiment's own, for instance 0,1,5-9
    #[arg(long, value_name = "SEED,...", allow_hyphen_values = true)]
    seeds: Option<String>,
    /// Only these arms, by name or folder; may be repeated
    #[arg(long, value_name = "NAME,...")]
    arms: Vec<String>,
}

impl Choice {
    /// The experiment, checked.
    ///
    /// # Errors
    /// [`LoadError`], with every problem that the file and the flags have.
    pub(super) fn load(&self, registry: &Registry) -> Result<Experiment, LoadError> {
        self.load_other(registry, &self.experiment)
    }

    /// Whether the flags name seeds.
    pub(super) fn names_seeds(&self) -> bool {
        self.seeds.is_some()
    }

    /// Another experiment with the same flags, checked.
    ///
    /// # Errors
    /// As [`Choice::load`].
    pub(super) fn load_other(
        &self,
        registry: &Registry,
        experiment: &str,
    ) -> Result<Experiment, LoadError> {
        let flags = Flags {
            set: self.set.clone(),
            name: self.name.clone(),
            seeds: self.seeds.clone(),
            arms: self.arms.clone(),
        };
        registry.load(experiment, &flags)
    }
}
