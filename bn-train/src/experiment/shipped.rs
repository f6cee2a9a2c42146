//! The experiments that are embedded in the program.

/// An experiment that is known by name.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// What `run` takes for it.
    pub name: &'static str,
    /// The TOML.
    pub text: &'static str,
}

/// The embedded file of this name.
macro_rules! shipped {
    ($name:literal) => {
        Shipped { name: $name, text: include_str!(concat!("../../experiments/", $name, ".toml")) }
    };
}

/// What `run` trains when it is not told otherwise.
pub const DEFAULT: &str = "decay-and-renorm";

/// Every embedded experiment, in the order of `list`: the default one, then claim after claim.
pub(super) const ALL: &[Shipped] = &[
    shipped!("decay-and-renorm"),
    shipped!("faster"),
    shipped!("learning-rate-ladder"),
    shipped!("deep-sigmoid"),
    shipped!("exploding-gradients"),
    shipped!("covariate-shift"),
    shipped!("regularization"),
    shipped!("poor-minima"),
    shipped!("gan"),
    shipped!("decay-grid"),
    shipped!("zero-debias"),
    shipped!("batch-weights"),
    shipped!("micro-batches"),
    shipped!("non-iid"),
    shipped!("large-batch"),
    shipped!("distribution-shift"),
    shipped!("placement"),
];

/// The name of no experiment of its own: every key, explained, from the registry.
pub const TEMPLATE: &str = "template";
