//! `bn-train show`: the text of an embedded experiment.

use super::print::print_all;
use crate::experiment::Registry;
use std::process::ExitCode;

/// Prints the experiment called `name`.
pub(super) fn show(registry: &Registry, name: &str) -> anyhow::Result<ExitCode> {
    print_all(&registry.find(name).ok_or_else(|| registry.unknown(name))?)
}
