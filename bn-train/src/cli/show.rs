//! `bn-train show`: the text of an embedded experiment.

use super::print::print_all;
use crate::experiment::shipped;
use anyhow::bail;
use std::process::ExitCode;

/// Prints the experiment called `name`.
pub(super) fn show(name: &str) -> anyhow::Result<ExitCode> {
    let Some(shipped) = shipped::find(name) else {
        let names: Vec<&str> =
            shipped::ALL.iter().chain([&shipped::TEMPLATE]).map(|shipped| shipped.name).collect();
        bail!("there is no embedded experiment {name:?}; there are {}", names.join(", "));
    };
    print_all(shipped.text)
}
