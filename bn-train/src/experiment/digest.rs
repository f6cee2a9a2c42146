//! Digests of runs, which identify everything that affects a run's results, and differences between runs.
//!
//! A digest covers the seed, the settings that differ from their defaults, the data, the kind of device, and a version that
//! is raised when a default or the meaning of a key changes. It leaves out the program's version, which is recorded
//! separately, and keys that do not affect the metrics. A new key at its default therefore keeps old digests valid.

use super::Settings;
use super::registry::Registry;
use crate::keys::dotted;
use bn_report::schema::RunConfig;
use std::collections::BTreeMap;
use std::fmt;

/// Raise this when a default changes, or when the same settings intentionally give different results.
const VERSION: u32 = 1;

/// What affects a run's results besides its seed and settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// `cpu` or `cuda`. Devices of one kind are assumed to compute the same.
    pub device_kind: String,
    /// Digest of each data set, by [`crate::data::Source::identity`].
    pub data: BTreeMap<String, String>,
    /// Number of validation and test examples of each data set. Not part of the digest, which covers the data.
    pub examples: BTreeMap<String, (u64, u64)>,
}

impl Surroundings {
    /// Digest of the data of `settings`; empty if unknown.
    pub fn data_digest(&self, settings: &Settings) -> &str {
        self.data.get(settings.data.identity()).map_or("", String::as_str)
    }

    /// Number of validation and test examples of `settings`, if known.
    pub fn examples(&self, settings: &Settings) -> Option<(u64, u64)> {
        self.examples.get(settings.data.identity()).copied()
    }

    /// `blake3:<hex>` of everything that affects the results of a run with this seed and these settings.
    pub fn digest(&self, seed: u64, settings: &Settings) -> String {
        let mut text = format!(
            "version = {VERSION}\nseed = {seed}\ndevice = {:?}\ndata = {:?}\n",
            self.device_kind,
            self.data_digest(settings)
        );
        for (path, value) in &settings.changed {
            text += &format!("{path} = {value}\n");
        }
        format!("blake3:{}", blake3::hash(text.as_bytes()).to_hex())
    }
}

/// `cpu` of `cpu`, `cuda` of `cuda:1`.
pub fn device_kind(device: &str) -> &str {
    device.split(':').next().unwrap_or(device)
}

/// A key in which two runs differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Dotted path, or `seed`, `data`, `device`.
    pub key: String,
    /// Its value in the older run as TOML, if any.
    pub old: Option<String>,
    /// Its value in the newer run as TOML, if any.
    pub new: Option<String>,
}

/// `train.steps is 100, was 1500`.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let absent = || "absent".to_owned();
        let (new, old) = (self.new.clone(), self.old.clone());
        write!(
            f,
            "{} is {}, was {}",
            self.key,
            new.unwrap_or_else(absent),
            old.unwrap_or_else(absent)
        )
    }
}

impl Registry {
    /// The keys in which the runs of two `config.toml` files differ, sorted: settings, seed, data and kind of device.
    ///
    /// A key that is missing in the older run counts as its default.
    pub fn differences(&self, old: &RunConfig, new: &RunConfig) -> Vec<Difference> {
        let (old, new) = (self.deciding(old), self.deciding(new));
        let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        keys.into_iter()
            .filter(|key| old.get(*key) != new.get(*key))
            .map(|key| Difference {
                key: key.clone(),
                old: old.get(key).cloned(),
                new: new.get(key).cloned(),
            })
            .collect()
    }

    /// All values that affect a run's results, including defaults.
    fn deciding(&self, config: &RunConfig) -> BTreeMap<String, String> {
        // Settings that this program cannot read are compared as written.
        let settings = self.settings(&config.settings.to_string());
        let mut values = match settings {
            Ok(settings) => dotted(&settings.written),
            Err(_) => dotted(&config.settings),
        };
        let watching = self.watching_keys();
        values.retain(|path, _| !watching.contains(path));
        values.insert("seed".to_owned(), config.seed.to_string());
        if let Some(provenance) = &config.provenance {
            let device = provenance.device.as_deref().map(device_kind);
            values.extend(device.map(|device| ("device".to_owned(), format!("{device:?}"))));
            let data = provenance.data_digest.as_ref();
            values.extend(data.map(|data| ("data".to_owned(), format!("{data:?}"))));
        }
        values
    }
}
