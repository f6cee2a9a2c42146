//! Digests of runs: what decides the numbers of a run, in one word; and which keys differ between two runs.
//!
//! A digest covers the seed, the settings that are not their default, the data, the kind of device, and a version that is
//! raised where a default or the meaning of a key changes. It leaves out the program's version, which is recorded beside
//! it, and keys that only watch. So a new key, at its default, keeps every old digest.

use super::Settings;
use super::registry::Registry;
use crate::keys::dotted;
use bn_report::schema::RunConfig;
use std::collections::BTreeMap;
use std::fmt;

/// Raised when a default changes, or when the same settings give other numbers on purpose.
const VERSION: u32 = 1;

/// What decides a run's numbers beside its seed and settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// `cpu` or `cuda`: devices of one kind are taken to compute the same.
    pub device_kind: String,
    /// Digest of each data set, by [`crate::data::Source::identity`].
    pub data: BTreeMap<String, String>,
    /// How many validation and test examples each data set has; not part of the digest, which has the data's own.
    pub examples: BTreeMap<String, (u64, u64)>,
}

impl Surroundings {
    /// Digest of the data that `settings` name; empty where it is not known.
    pub fn data_digest(&self, settings: &Settings) -> &str {
        self.data.get(settings.data.identity()).map_or("", String::as_str)
    }

    /// How many validation and test examples the data have that `settings` name, where it is known.
    pub fn examples(&self, settings: &Settings) -> Option<(u64, u64)> {
        self.examples.get(settings.data.identity()).copied()
    }

    /// `blake3:<hex>` of all that decides the numbers of the run with this seed and these settings.
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

/// A key on which two runs differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Dotted path, or `seed`, `data`, `device`.
    pub key: String,
    /// Its value in the older run, as TOML; none where it has none.
    pub old: Option<String>,
    /// Its value in the newer run.
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
    /// On which keys the runs of two `config.toml`s differ, by key: settings, seed, data and kind of device.
    ///
    /// A key that an older program did not know has its default in the older run.
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

    /// All values that decide the numbers of a run, defaults included.
    fn deciding(&self, config: &RunConfig) -> BTreeMap<String, String> {
        // What this program cannot read is compared as it is written.
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
