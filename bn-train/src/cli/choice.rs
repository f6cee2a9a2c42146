//! The flags that name an experiment, change it, or select part of it.

use crate::experiment::{Experiment, Flags, LoadError, Registry, shipped};
use clap::Args;

/// An experiment, and the flags that apply to it.
#[derive(Debug, Args)]
pub(super) struct Choice {
    /// Name of an embedded experiment, or path to a TOML file
    #[arg(default_value = shipped::DEFAULT)]
    experiment: String,
    /// Set a key in every arm, for example train.steps=100 or norm={decay=0.9}; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Name of the experiment's folder [default: the experiment's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Seeds to train, for example 0,1,5-9 [default: the experiment's seeds]
    #[arg(long, value_name = "SEED,...", allow_hyphen_values = true)]
    seeds: Option<String>,
    /// Train only these arms, by name or folder; may be repeated
    #[arg(long, value_name = "NAME,...")]
    arms: Vec<String>,
}

impl Choice {
    /// Loads and validates the experiment.
    ///
    /// # Errors
    /// [`LoadError`] lists every problem in the file and the flags.
    pub(super) fn load(&self, registry: &Registry) -> Result<Experiment, LoadError> {
        self.load_other(registry, &self.experiment)
    }

    /// Whether seeds were given on the command line.
    pub(super) fn names_seeds(&self) -> bool {
        self.seeds.is_some()
    }

    /// Loads and validates another experiment with the same flags.
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
