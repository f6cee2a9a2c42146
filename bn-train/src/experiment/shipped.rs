//! The experiments that are embedded in the program.

/// An experiment that is known by name.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// What `run` takes for it.
    pub name: &'static str,
    /// The TOML.
    pub text: &'static str,
}

/// What `run` trains when it is not told otherwise.
pub const DEFAULT: &str = "decay-and-renorm";

/// Every embedded experiment, by name.
pub(super) const ALL: &[Shipped] =
    &[Shipped { name: DEFAULT, text: include_str!("../../experiments/decay-and-renorm.toml") }];

/// The name of no experiment of its own: every key, explained, from the registry.
pub const TEMPLATE: &str = "template";
