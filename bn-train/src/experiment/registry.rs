//! The registry: every kind of data, network, norm, optimizer and schedule that a file may name, and the embedded
//! experiments.

use super::catalog::Catalog;
use super::shipped::{self, Shipped};
use crate::data::{self, Provider, Sampler};
use crate::keys::{Kind, Kinds};
use crate::model::{self, Architecture, NormSettings};
use crate::optimizer::{self, AverageSettings, BuildOptimizer};
use crate::schedule::{self, Shape};
use crate::task::{self, Task};
use std::sync::Arc;

/// Everything that experiments may name. Programs can add their own kinds.
#[derive(Clone, Debug)]
pub struct Registry {
    pub(super) data: Kinds<Arc<dyn Provider>>,
    pub(super) samplers: Kinds<Arc<dyn Sampler>>,
    pub(super) tasks: Kinds<Arc<dyn Task>>,
    pub(super) models: Kinds<Arc<dyn Architecture>>,
    pub(super) norms: Kinds<Option<NormSettings>>,
    pub(super) optimizers: Kinds<Arc<dyn BuildOptimizer>>,
    pub(super) schedules: Kinds<Shape>,
    pub(super) averages: Kinds<Option<AverageSettings>>,
    shipped: Vec<Shipped>,
}

impl Registry {
    /// Everything that this crate provides.
    pub fn built_in() -> Self {
        Self {
            data: data::sources(),
            samplers: data::samplers(),
            tasks: task::tasks(),
            models: model::models(),
            norms: model::norms(),
            optimizers: optimizer::optimizers(),
            schedules: schedule::shapes(),
            averages: optimizer::averages(),
            shipped: shipped::ALL.to_vec(),
        }
    }

    /// Adds a data set, or replaces the one with the same name.
    pub fn add_data(&mut self, kind: Kind<Arc<dyn Provider>>) {
        self.data.add(kind);
    }

    /// Adds a task, or replaces the one with the same name.
    pub fn add_task(&mut self, kind: Kind<Arc<dyn Task>>) {
        self.tasks.add(kind);
    }

    /// Adds a sampler of training examples, or replaces the one with the same name.
    pub fn add_sampler(&mut self, kind: Kind<Arc<dyn Sampler>>) {
        self.samplers.add(kind);
    }

    /// Adds a family of networks, or replaces the one with the same name.
    pub fn add_model(&mut self, kind: Kind<Arc<dyn Architecture>>) {
        self.models.add(kind);
    }

    /// Adds an optimizer, or replaces the one with the same name.
    pub fn add_optimizer(&mut self, kind: Kind<Arc<dyn BuildOptimizer>>) {
        self.optimizers.add(kind);
    }

    /// Adds a named experiment, or replaces the one with the same name.
    pub fn add_experiment(&mut self, experiment: Shipped) {
        self.shipped.retain(|known| known.name != experiment.name);
        self.shipped.push(experiment);
    }

    /// The named experiments.
    pub fn shipped(&self) -> &[Shipped] {
        &self.shipped
    }

    /// The TOML of the experiment called `name`. `template` has every key.
    pub fn find(&self, name: &str) -> Option<String> {
        if name == shipped::TEMPLATE {
            return Some(super::template::template(self));
        }
        let found = self.shipped.iter().find(|shipped| shipped.name == name);
        found.map(|shipped| shipped.text.to_owned())
    }

    /// The names that [`Registry::find`] accepts.
    pub fn names(&self) -> Vec<&str> {
        self.shipped.iter().map(|shipped| shipped.name).chain([shipped::TEMPLATE]).collect()
    }

    /// The keys that take a path.
    pub(super) fn path_keys(&self) -> Vec<String> {
        let arm = Catalog::new(self).arm.into_iter().map(|known| known.entry);
        arm.filter(|entry| entry.is_path).map(|entry| entry.path).collect()
    }

    /// Names and descriptions of the kinds of data.
    pub fn data_kinds(&self) -> Vec<(String, String)> {
        self.data.abouts()
    }

    /// The keys that do not affect a run's `metrics.csv`.
    pub(super) fn watching_keys(&self) -> Vec<String> {
        let arm = Catalog::new(self).arm.into_iter().map(|known| known.entry);
        arm.filter(|entry| !entry.decides).map(|entry| entry.path).collect()
    }
}
