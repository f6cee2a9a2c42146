//! `bn-train data list`: the data sets that an experiment may name.

use super::super::print::print_all;
use crate::data::default_folder;
use crate::data::fetch::downloadable;
use crate::experiment::Registry;
use std::process::ExitCode;

/// Prints each data set's name and description, and whether a downloadable one is present.
pub(super) fn list(registry: &Registry) -> anyhow::Result<ExitCode> {
    let remote = downloadable();
    let mut text = String::new();
    for (name, about) in registry.data_kinds() {
        let state = match remote.iter().find(|known| known.name == name) {
            Some(_) if default_folder(&name).is_dir() => "  (downloaded)",
            Some(_) => "  (not downloaded)",
            None => "",
        };
        text += &format!("{name}{state}\n    {about}\n");
    }
    print_all(&text)
}
