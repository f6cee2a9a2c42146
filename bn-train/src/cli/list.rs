//! `bn-train list`: the embedded experiments.

use super::print::print_all;
use crate::experiment::{Flags, Registry};
use std::process::ExitCode;

/// Prints name, size and question of each.
pub(super) fn list(registry: &Registry) -> anyhow::Result<ExitCode> {
    let mut text = String::new();
    for shipped in registry.shipped() {
        let experiment = registry.load(shipped.name, &Flags::default())?;
        let arms = counted(experiment.arms.len(), "arm");
        let seeds = counted(experiment.seeds.len(), "seed");
        text += &format!("{}  ({arms}, {seeds})\n", shipped.name);
        text += &experiment.question.map_or(String::new(), |question| format!("    {question}\n"));
    }
    print_all(&text)
}

/// `1 arm`, `7 arms`.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
