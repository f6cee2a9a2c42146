//! Experiments: a TOML file, read and checked into arms that can be trained.
//!
//! A [`Registry`] knows what a file may say. [`Registry::load`] finds and reads a file or an embedded experiment, applies the
//! flags of the command line, and reports every problem at once. What is checked is an [`Experiment`]; [`plan`] unfolds it
//! into runs, each with a [`digest`] of what decides its numbers.

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

/// A checked experiment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Experiment {
    /// Names the folder of its runs; never empty.
    pub name: String,
    /// What it asks, for the head of the report.
    pub question: Option<String>,
    /// What an arm has to reach.
    pub target: Option<Target>,
    /// Name of the arm that the report compares the others with; none for the first, or the claim's.
    pub baseline: Option<String>,
    /// What its source says, for the report to judge.
    pub claim: Option<Claim>,
    /// No seed twice; at least one.
    pub seeds: Vec<u64>,
    /// At least one; no two with the same slug.
    pub arms: Vec<Arm>,
    /// The axes of `[grid]`, and where on them each arm is.
    pub grid: Grid,
    /// The arms and seeds to run.
    pub selection: Selection,
    /// What a user should know who gave these flags.
    pub notes: Vec<String>,
}

/// One way of training, repeated for every seed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Arm {
    /// As a reader should see it; never empty.
    pub name: String,
    /// Its settings, those of the experiment included.
    pub settings: Settings,
}

#[cfg(test)]
mod tests;
