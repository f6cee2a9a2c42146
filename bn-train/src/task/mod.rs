//! Tasks: what networks learn, with which losses, and how they are evaluated.
//!
//! A task defines its networks, their gradients and its metrics. It holds no variables and opens no files; `run::Trainer`
//! owns the networks and their optimizers.

mod classification;
mod distance;
mod gan;
mod kinds;
mod networks;
mod scores;

pub use crate::ops::LossFunction;
pub use classification::{Classification, Measure};
pub use gan::{Gan, Output};
pub use kinds::tasks;
pub use networks::{MODEL, Networks};
pub use scores::Scores;

use crate::data::Batch;
use crate::model::{
    Gradients, Mode, Model, ModelSettings, NormSettings, Observer, Parameters, Pass, Precision,
    Sizes,
};
use crate::random::{Purpose, Stream};
use bn_core::Updates;
use bn_report::schema::MetricDefinition;
use candle::{Device, Result, Tensor};
use candle_nn::VarBuilder;
use std::fmt::Debug;

/// A learning task of one or more networks.
pub trait Task: Debug + Send + Sync {
    /// Names of the networks, in the order in which a step updates them. A single network has an empty name.
    fn networks(&self) -> &'static [&'static str];

    /// Builds the untrained networks. The paths of each start with its name.
    ///
    /// # Errors
    /// Errors of candle or the norm layers, for example too little memory on the device.
    fn build(&self, plan: &Blueprint<'_>) -> Result<Vec<Model>>;

    /// Index of the network that is evaluated and whose statistics are probed.
    fn evaluated(&self) -> usize;

    /// Names of the metrics of a training step, the loss first.
    fn training_metrics(&self) -> &'static [&'static str];

    /// Names of the metrics of an evaluation. If the first metric is not finite, the run has diverged.
    fn metrics(&self, classes: usize) -> Vec<String>;

    /// Direction and unit of the metric `name`, for the manifest.
    fn define(&self, name: &str) -> MetricDefinition {
        MetricDefinition::by_name(name)
    }

    /// The main metric among [`Task::metrics`].
    fn headline(&self) -> Headline;

    /// Computes scores and gradients of network `network` for one batch. Updates the moving statistics of this network
    /// only.
    ///
    /// # Errors
    /// Errors of candle or the norm layers.
    fn learn(
        &self,
        network: usize,
        models: &[Model],
        batch: &Batch,
        turn: &mut Turn<'_>,
    ) -> Result<Learned>;

    /// Inputs of the evaluated network: `images`, or as much noise.
    ///
    /// # Errors
    /// Errors of candle.
    fn inputs(&self, images: &Tensor) -> Result<Tensor>;

    /// The values of [`Task::metrics`] for the evaluated network on `examples`, at most `batch_size` at a time.
    ///
    /// # Errors
    /// Errors of candle or the norm layers.
    ///
    /// # Panics
    /// There are no examples, or `batch_size` is 0.
    fn evaluate(
        &self,
        model: &Model,
        examples: &Batch,
        mode: Mode<'_>,
        batch_size: usize,
    ) -> Result<Vec<f64>>;
}

/// The main metric, which selects the best checkpoint and is shown in progress bars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headline {
    /// One of the task's metrics.
    pub metric: &'static str,
    /// Whether higher values are better.
    pub is_higher_better: bool,
}

/// Everything that networks are built from.
#[derive(Clone, Copy, Debug)]
pub struct Blueprint<'a> {
    /// `[model]`.
    pub model: &'a ModelSettings,
    /// `[norm]`.
    pub norm: Option<&'a NormSettings>,
    /// Image shape and classes of the data.
    pub sizes: Sizes,
    /// What the networks compute in.
    pub precision: Precision,
    /// Seed of the initial values.
    pub seed: u64,
    /// Device of the variables.
    pub device: &'a Device,
}

impl Blueprint<'_> {
    /// A builder of variables with initial values from the seed.
    pub fn parameters(&self) -> VarBuilder<'static> {
        Parameters::new(self.seed).scaled(self.model.initial_scale).into_builder(self.device)
    }
}

/// Scores and gradients of a network on one batch.
#[derive(Debug)]
pub struct Learned {
    /// Values of this network's [`Task::training_metrics`], in order. On a GPU they should stay there, so that no step waits.
    pub scores: Scores,
    /// Gradients of the network's loss; meaningless if the loss is not finite.
    pub gradients: Gradients,
}

/// Context of one training pass besides the batch.
#[derive(Default)]
pub struct Turn<'a> {
    /// Observer of the first pass.
    pub observer: Option<&'a mut dyn Observer>,
    /// Where updates of moving statistics are collected; `None` if each layer commits at once.
    pub updates: Option<&'a Updates>,
    /// Seed of the run.
    pub seed: u64,
    /// Number of previous steps.
    pub step: u64,
    /// Index of the batch's part when gradients are accumulated.
    pub part: u64,
}

impl<'a> Turn<'a> {
    /// A training pass. The first one gets the observer.
    pub fn pass<'b>(&mut self) -> Pass<'b>
    where
        'a: 'b,
    {
        let pass = match self.observer.take() {
            Some(observer) => Pass::train().with_observer(observer),
            None => Pass::train(),
        };
        match self.updates {
            Some(updates) => pass.with_updates(updates),
            None => pass,
        }
    }

    /// The random stream of this pass.
    pub fn stream(&self) -> Stream {
        Stream::new(self.seed, Purpose::Noise(self.step, self.part))
    }
}

#[cfg(test)]
mod torch;
