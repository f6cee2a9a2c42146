//! Tasks: what networks learn together, by which losses, and how the result is judged.
//!
//! A task says which networks there are, how the gradients of each are found, and what is measured. It holds no variables
//! and opens no file; the `run::Trainer` owns the networks and their optimizers.

mod classification;
mod distance;
mod gan;
mod kinds;
mod networks;

pub use crate::ops::LossFunction;
pub use classification::{Classification, Measure};
pub use gan::{Gan, Output};
pub use kinds::tasks;
pub use networks::{MODEL, Networks};

use crate::data::Batch;
use crate::model::{
    Gradients, Mode, Model, ModelSettings, NormSettings, Observer, Parameters, Pass, Sizes,
};
use crate::random::{Purpose, Stream};
use bn_core::Updates;
use bn_report::schema::MetricDefinition;
use candle::{Device, Result, Tensor};
use candle_nn::VarBuilder;
use std::fmt::Debug;

/// What networks learn together.
pub trait Task: Debug + Send + Sync {
    /// The networks by name, in the order in which a step updates them. A single network has the empty name.
    fn networks(&self) -> &'static [&'static str];

    /// The networks, untrained. The paths of each begin with its name.
    ///
    /// # Errors
    /// What candle or the norm layers report, for instance too little memory on the device.
    fn build(&self, plan: &Blueprint<'_>) -> Result<Vec<Model>>;

    /// Index of the network that is evaluated, and whose statistics are taken.
    fn evaluated(&self) -> usize;

    /// What each step measures on its batch, the loss first.
    fn training_metrics(&self) -> &'static [&'static str];

    /// What an evaluation measures. A network whose first metric is not a finite number has diverged.
    fn metrics(&self, classes: usize) -> Vec<String>;

    /// Direction and unit of the metric `name`, for the run directory.
    fn define(&self, name: &str) -> MetricDefinition {
        MetricDefinition::by_name(name)
    }

    /// Name of the metric of [`Task::metrics`] by which a run is judged.
    fn headline(&self) -> Headline;

    /// The gradients of the network with this index for one batch. Its norm layers' moving statistics are updated, those of
    /// other networks are not.
    ///
    /// # Errors
    /// What candle or the norm layers report.
    fn learn(
        &self,
        network: usize,
        models: &[Model],
        batch: &Batch,
        turn: &mut Turn<'_>,
    ) -> Result<Learned>;

    /// What the evaluated network computes its results from: `images` themselves, or as much noise.
    ///
    /// # Errors
    /// What candle reports.
    fn inputs(&self, images: &Tensor) -> Result<Tensor>;

    /// The values of [`Task::metrics`] for the evaluated network on examples that it does not learn from, at most
    /// `batch_size` at a time.
    ///
    /// # Errors
    /// What candle or the norm layers report.
    ///
    /// # Panics
    /// Without an example, or for a `batch_size` of 0.
    fn evaluate(
        &self,
        model: &Model,
        examples: &Batch,
        mode: Mode<'_>,
        batch_size: usize,
    ) -> Result<Vec<f64>>;
}

/// The metric by which a run is judged: its best checkpoint, and what a progress bar shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headline {
    /// One of the task's metrics.
    pub metric: &'static str,
    /// Whether more is better.
    pub is_higher_better: bool,
}

/// What networks are built from.
#[derive(Clone, Copy, Debug)]
pub struct Blueprint<'a> {
    /// `[model]`.
    pub model: &'a ModelSettings,
    /// `[norm]`.
    pub norm: Option<&'a NormSettings>,
    /// Of the data.
    pub sizes: Sizes,
    /// Of the run: initial values follow from it.
    pub seed: u64,
    /// Where the variables are.
    pub device: &'a Device,
}

impl Blueprint<'_> {
    /// The variables that networks are built on, with initial values that belong to the seed.
    pub fn parameters(&self) -> VarBuilder<'static> {
        Parameters::new(self.seed).scaled(self.model.initial_scale).into_builder(self.device)
    }
}

/// What a network makes of one batch.
#[derive(Debug)]
pub struct Learned {
    /// The values of the [`Task::training_metrics`] that belong to this network, in their order.
    pub scores: Vec<f64>,
    /// Of the network's loss; of no use where the loss is not finite.
    pub gradients: Gradients,
}

/// What belongs to one pass of one step, beside the batch.
#[derive(Default)]
pub struct Turn<'a> {
    /// Sees the layers' results in the first pass that is made.
    pub observer: Option<&'a mut dyn Observer>,
    /// Where updates of moving statistics are left; none where each layer commits its own at once.
    pub updates: Option<&'a Updates>,
    /// Of the run.
    pub seed: u64,
    /// Updates done before.
    pub step: u64,
    /// Which part of the batch it is, where gradients are accumulated.
    pub part: u64,
}

impl<'a> Turn<'a> {
    /// A training pass over x, with the observer where it is the first.
    pub fn pass<'b>(&mut self, x: &Tensor) -> Pass<'b>
    where
        'a: 'b,
    {
        let pass = match self.observer.take() {
            Some(observer) => Pass::train_for(x).with_observer(observer),
            None => Pass::train_for(x),
        };
        match self.updates {
            Some(updates) => pass.with_updates(updates),
            None => pass,
        }
    }

    /// Random numbers of this pass alone.
    pub fn stream(&self) -> Stream {
        Stream::new(self.seed, Purpose::Noise(self.step, self.part))
    }
}

#[cfg(test)]
mod torch;
