//! The experiments that are embedded in the program.

/// An experiment that is known by name.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// What `run` takes for it.
    pub name: &'static str,
    /// The TOML.
    pub text: &'static str,
    /// Whether it needs data that must be fetched first, and hours.
    pub is_full_size: bool,
}

/// The embedded file of this name.
macro_rules! shipped {
    ($name:literal) => {
        Shipped {
            name: $name,
            text: include_str!(concat!("../../experiments/", $name, ".toml")),
            is_full_size: false,
        }
    };
    (full $name:literal) => {
        Shipped {
            name: $name,
            text: include_str!(concat!("../../experiments/full/", $name, ".toml")),
            is_full_size: true,
        }
    };
}

/// What `run` trains when it is not told otherwise.
pub const DEFAULT: &str = "decay-and-renorm";

/// Every embedded experiment, in the order of `list`: the default one, then claim after claim;
/// those of full size come last.
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
    shipped!(full "faster-mnist"),
    shipped!(full "learning-rate-ladder-cifar"),
    shipped!(full "micro-batches-cifar"),
    shipped!(full "non-iid-cifar"),
    shipped!(full "large-batch-cifar"),
    shipped!(full "placement-cifar"),
];

/// The name of no experiment of its own: every key, explained, from the registry.
pub const TEMPLATE: &str = "template";
