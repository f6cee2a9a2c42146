//! Experiments: TOML files, validated into arms that can be trained.
//!
//! A [`Registry`] defines what a file may contain. [`Registry::load`] reads a file or an embedded experiment, applies the
//! command-line flags, and reports all problems at once. The result is an [`Experiment`]. [`plan`] expands it into runs,
//! each with a [`digest`] of everything that affects its results.

mod assemble;
mod catalog;
mod claim;
mod data_in_use;
pub mod digest;
mod grid;
mod head;
mod load;
pub mod plan;
mod probes;
mod output;
mod raw;
mod registry;
mod selection;
mod scheduled;
pub mod settings;
pub mod shipped;
mod template;
mod train;

pub use data_in_use::DataInUse;
pub use grid::Grid;
pub use load::{Flags, LoadError};
pub use output::OutputSettings;
pub use probes::PopulationWhen;
pub use registry::Registry;
pub use selection::Selection;
pub use settings::Settings;

use bn_report::schema::{Claim, Target};

/// A validated experiment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Experiment {
    /// Name of the runs' folder; never empty.
    pub name: String,
    /// The question it asks, for the top of the report.
    pub question: Option<String>,
    /// The target metric and value.
    pub target: Option<Target>,
    /// Name of the arm the report compares with; `None` for the claim's or the first arm.
    pub baseline: Option<String>,
    /// The published claim that the report checks.
    pub claim: Option<Claim>,
    /// At least one, without duplicates.
    pub seeds: Vec<u64>,
    /// At least one, with distinct slugs.
    pub arms: Vec<Arm>,
    /// The axes of `[grid]` and each arm's coordinates.
    pub grid: Grid,
    /// The arms and seeds to run.
    pub selection: Selection,
    /// Notes for the user about the flags.
    pub notes: Vec<String>,
}

/// One configuration, trained with every seed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Arm {
    /// Its display name; never empty.
    pub name: String,
    /// Its complete settings, including the experiment's.
    pub settings: Settings,
}

#[cfg(test)]
mod tests;
