//! Resolves a data set by name, or the data sets of an experiment's arms, without training.

use super::catalog::Catalog;
use super::load::{Flags, LoadError};
use super::raw::{self, Raw};
use super::registry::Registry;
use super::settings;
use crate::data::Source;
use crate::keys::{Found, Invalid, Place, Problem};
use std::path::Path;

/// A data set and the arms that use it.
#[derive(Clone, Debug)]
pub struct DataInUse {
    /// Where it comes from.
    pub source: Source,
    /// Names of the arms that train on it; empty if the data set was named directly.
    pub arms: Vec<String>,
}

impl Registry {
    /// The data set called `name` with the `[data]` keys in `flags.set`, or the data sets of the experiment `name`.
    ///
    /// # Errors
    /// As [`Registry::load`].
    pub fn data_in_use(&self, name: &str, flags: &Flags) -> Result<Vec<DataInUse>, LoadError> {
        if self.data.entries().iter().any(|(kind, _)| *kind == name) {
            let source = self.named_data(name, &flags.set)?;
            return Ok(vec![DataInUse { source, arms: Vec::new() }]);
        }
        let flags =
            Flags { set: flags.set.iter().map(|flag| of_data(flag)).collect(), ..flags.clone() };
        let mut all: Vec<DataInUse> = Vec::new();
        for arm in self.load(name, &flags)?.arms {
            let source = arm.settings.data;
            match all.iter_mut().find(|known| known.source == source) {
                Some(known) => known.arms.push(arm.name),
                None => all.push(DataInUse { source, arms: vec![arm.name] }),
            }
        }
        Ok(all)
    }

    fn named_data(&self, name: &str, set: &[String]) -> Result<Source, Invalid> {
        let mut raw = Raw::default();
        for flag in set {
            raw::parse_set(&of_data(flag), &mut raw);
        }
        let place = Place::Flag(format!("data {name}"));
        raw::set("data.name", toml::Value::String(name.to_owned()), &place, &mut raw);
        raw::locate(&mut raw, &self.path_keys(), Path::new(""));
        let mut found = Found::default();
        let source = settings::data(self, &raw.set, &mut found);
        let mut problems = raw.problems;
        problems.append(&mut found.problems);
        let catalog = Catalog::new(self);
        let idle = raw.set.iter().filter(|(path, _)| !found.listens_to(path));
        problems.extend(idle.map(|(path, leaf)| Problem {
            place: leaf.key_place.clone(),
            message: catalog.explain(path, true),
        }));
        match (Invalid::from_problems(name, problems), source) {
            (None, Some(source)) => Ok(source),
            (Some(invalid), _) => Err(invalid),
            (None, None) => unreachable!("data that cannot be read is a problem"),
        }
    }
}

/// Adds the optional prefix `data.` to a flag's key.
fn of_data(flag: &str) -> String {
    if flag.trim_start().starts_with("data.") { flag.to_owned() } else { format!("data.{flag}") }
}
