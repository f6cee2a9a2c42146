//! The experiments that are embedded in the program.

/// An embedded file.
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
pub const ALL: &[Shipped] =
    &[Shipped { name: DEFAULT, text: include_str!("../../experiments/decay-and-renorm.toml") }];

/// Not an experiment of its own: every key, explained.
pub const TEMPLATE: Shipped =
    Shipped { name: "template", text: include_str!("../../experiments/template.toml") };

/// The embedded experiment of that name, or the template.
pub fn find(name: &str) -> Option<Shipped> {
    ALL.iter().chain([&TEMPLATE]).find(|shipped| shipped.name == name).copied()
}
