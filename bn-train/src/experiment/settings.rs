//! The validated settings of one arm.
//!
//! Only [`super::Registry`] creates [`Settings`], so they need no further checks.

use super::output::{self, OutputSettings};
use super::probes::{self, ProbeSettings};
use super::registry::Registry;
use super::train::{self, TrainSettings};
use crate::data::{Augmentation, Description, Sampling, Source, Standardize};
use crate::keys::{Found, Keys, Leaves, RunLength};
use crate::model::{self, Misfit, ModelSettings, NormSettings, Sizes};
use crate::optimizer::{self, AverageSettings, BuildOptimizer};
use crate::schedule::{self, Schedule};
use crate::task::{Blueprint, Networks, Task};
use candle::Device;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything that affects a run's results, apart from its seed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// `[data]`.
    pub data: Source,
    /// `[sampler]`.
    pub sampling: Sampling,
    /// `[augment]`.
    pub augmentation: Augmentation,
    /// `[model]`.
    pub model: ModelSettings,
    /// `[task]`.
    pub task: Arc<dyn Task>,
    /// `[norm]`; `None` if `norm.kind` is `"none"`.
    pub norm: Option<NormSettings>,
    /// `[optimizer]`, without the learning rate.
    pub optimizer: Arc<dyn BuildOptimizer>,
    /// `optimizer.learning_rate`, above 0.
    pub learning_rate: f64,
    /// `[schedule]`.
    pub schedule: Schedule,
    /// `[train]`.
    pub train: TrainSettings,
    /// `[evaluate]`, `[population]` and `[shadow]`.
    pub probes: ProbeSettings,
    /// `[average]`; `None` if `average.kind` is `"none"`.
    pub average: Option<AverageSettings>,
    /// `[layers]`, `[checkpoint]` and `[tensorboard]`.
    pub output: OutputSettings,
    /// All of the above as TOML, including defaults.
    pub written: toml::Table,
    /// Values that affect the results and differ from their defaults, as TOML by dotted key.
    pub changed: BTreeMap<String, String>,
}

/// Settings are equal if their TOML is.
impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Settings {
    /// Builds the untrained networks.
    ///
    /// # Errors
    /// As [`Networks::build`].
    pub fn networks(&self, sizes: Sizes, seed: u64, device: &Device) -> candle::Result<Networks> {
        let (model, norm, precision) = (&self.model, self.norm.as_ref(), self.train.precision);
        Networks::build(&self.task, &Blueprint { model, norm, sizes, precision, seed, device })
    }
}

/// Reads the settings of one arm; `None` if something is wrong.
pub(super) fn read(registry: &Registry, leaves: &Leaves) -> (Option<Settings>, Found) {
    let mut found = Found::default();
    let settings = read_into(registry, leaves, &mut found);
    let settings = settings.filter(|_| found.problems.is_empty());
    (settings, found)
}

/// Reads `[data]`; `None` if something is wrong.
pub(super) fn data(registry: &Registry, leaves: &Leaves, found: &mut Found) -> Option<Source> {
    let mut keys = Keys::new(leaves, RunLength::UNKNOWN, found);
    let provider = registry.data.read(&mut keys);
    let standardize = Standardize::read(&mut keys.table("data"));
    let identity = found.written.get("data").map(ToString::to_string).unwrap_or_default();
    Some(Source::new(identity, provider?, standardize?))
}

/// Records a problem if the sampler or the augmentation does not fit the data or the batch size.
fn refuse_misfits(
    keys: &mut Keys<'_>,
    data: Description,
    train: &TrainSettings,
    sampling: Option<&Sampling>,
    augmentation: Option<Augmentation>,
) {
    let of_sampler = sampling.and_then(|sampling| sampling.sampler.misfit(data, train.batch_size));
    let of_augment = augmentation.and_then(|augmentation| augmentation.misfit(data.shape));
    for (table, misfit) in [("sampler", of_sampler), ("augment", of_augment)] {
        if let Some((key, message)) = misfit {
            keys.table(table).refuse(key, format!("`{table}.{key}` {message}"));
        }
    }
}

/// Reads every table, even if others have problems.
fn read_into(registry: &Registry, leaves: &Leaves, found: &mut Found) -> Option<Settings> {
    let source = data(registry, leaves, found);
    let data = source.as_ref().map(Source::describe);
    let mut keys = Keys::new(leaves, RunLength::UNKNOWN, found);
    let train = train::read(&mut keys.table("train"), data);

    let length = train.as_ref().map_or(RunLength::UNKNOWN, |train| train.length);
    let mut keys = Keys::new(leaves, length, found);
    let sampler = registry.samplers.read(&mut keys);
    let sampling = Sampling::read(&mut keys.table("sampler"), sampler);
    let augmentation = Augmentation::read(&mut keys.table("augment"));
    if let (Some(data), Some(train)) = (data, &train) {
        refuse_misfits(&mut keys, data, train, sampling.as_ref(), augmentation);
    }
    let task = registry.tasks.read(&mut keys);
    let kind = registry.models.read(&mut keys);
    let activation = model::activation(&mut keys.table("model"));
    let initial_scale = model::initial_scale(&mut keys.table("model"));
    let sizes = data.map(|data| Sizes { input: data.shape, classes: data.classes });
    let misfit = kind.as_ref().zip(sizes).and_then(|(kind, sizes)| kind.misfit(sizes));
    if let Some(Misfit { key, message }) = misfit {
        keys.table("model").refuse(key, message);
    }
    let norm = registry.norms.read(&mut keys);
    let has_norm =
        norm.as_ref().is_some_and(|norm| norm.as_ref().is_some_and(|n| n.batch_norm().is_some()));
    if let Some(train) = train.as_ref().filter(|train| has_norm && train.pass_size() == 1) {
        let (key, found) = if train.accumulate == 1 {
            ("batch_size", "`train.batch_size` is 1".to_owned())
        } else {
            (
                "accumulate",
                format!(
                    "`train.accumulate` is {}, which leaves 1 example per pass",
                    train.accumulate
                ),
            )
        };
        let message = format!(
            "{found}; batch statistics need at least 2 examples (or set norm.kind = \"none\")"
        );
        keys.table("train").refuse(key, message);
    }
    let probes = probes::read(&mut keys, norm.as_ref());
    let optimizer = registry.optimizers.read(&mut keys);
    let learning_rate = optimizer::learning_rate(&mut keys.table("optimizer"));
    let shape = registry.schedules.read(&mut keys);
    let warmup_steps = schedule::warmup_steps(&mut keys.table("schedule"));
    let average = registry.averages.read(&mut keys);
    let output = output::read(&mut keys);

    Some(Settings {
        data: source?,
        sampling: sampling?,
        augmentation: augmentation?,
        model: ModelSettings {
            initial_scale: initial_scale?,
            ..ModelSettings::new(kind?, activation?)
        },
        task: task?,
        norm: norm?,
        optimizer: optimizer?,
        learning_rate: learning_rate?,
        schedule: Schedule { shape: shape?, warmup_steps: warmup_steps? },
        train: train?,
        probes: probes?,
        average: average?,
        output: output?,
        written: found.written.clone(),
        changed: found.changed.clone(),
    })
}
