//! The experiments that are embedded in the program.

/// A named experiment.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// Its name on the command line.
    pub name: &'static str,
    /// The TOML.
    pub text: &'static str,
    /// Whether it needs downloaded data and takes hours or days.
    pub is_full_size: bool,
}

/// Embeds the file with this name.
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

/// The experiment that `run` trains by default.
pub const DEFAULT: &str = "decay-and-renorm";

/// Every embedded experiment, in the order of `list`: the default one first, full-size ones last.
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
    shipped!(full "covariate-shift-mnist"),
    shipped!(full "learning-rate-ladder-cifar"),
    shipped!(full "micro-batches-cifar"),
    shipped!(full "non-iid-cifar"),
    shipped!(full "large-batch-cifar"),
    shipped!(full "placement-cifar"),
];

/// A reserved name: an experiment generated from the registry, with every key explained.
pub const TEMPLATE: &str = "template";
