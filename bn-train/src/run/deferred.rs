//! For tests: a task that leaves its scores on the device, as on a GPU, so that steps are pending.

use crate::data::Batch;
use crate::experiment::Settings;
use crate::model::{Mode, Model};
use crate::task::{Blueprint, Headline, Learned, Scores, Task, Turn};
use bn_report::schema::MetricDefinition;
use candle::{Result, Tensor};
use std::sync::Arc;

#[derive(Debug)]
struct Deferred(Arc<dyn Task>);

/// The same settings, with steps that are pending.
pub(super) fn deferred(settings: &Settings) -> Settings {
    let task = Arc::new(Deferred(Arc::clone(&settings.task)));
    Settings { task, ..settings.clone() }
}

impl Task for Deferred {
    fn learn(
        &self,
        network: usize,
        models: &[Model],
        batch: &Batch,
        turn: &mut Turn<'_>,
    ) -> Result<Learned> {
        let Learned { scores, gradients } = self.0.learn(network, models, batch, turn)?;
        Ok(Learned { scores: Scores::OnDevice(scores.on(batch.images.device())?), gradients })
    }

    fn networks(&self) -> &'static [&'static str] {
        self.0.networks()
    }

    fn build(&self, plan: &Blueprint<'_>) -> Result<Vec<Model>> {
        self.0.build(plan)
    }

    fn evaluated(&self) -> usize {
        self.0.evaluated()
    }

    fn training_metrics(&self) -> &'static [&'static str] {
        self.0.training_metrics()
    }

    fn metrics(&self, classes: usize) -> Vec<String> {
        self.0.metrics(classes)
    }

    fn define(&self, name: &str) -> MetricDefinition {
        self.0.define(name)
    }

    fn headline(&self) -> Headline {
        self.0.headline()
    }

    fn inputs(&self, images: &Tensor) -> Result<Tensor> {
        self.0.inputs(images)
    }

    fn evaluate(
        &self,
        model: &Model,
        examples: &Batch,
        mode: Mode<'_>,
        batch_size: usize,
    ) -> Result<Vec<f64>> {
        self.0.evaluate(model, examples, mode, batch_size)
    }
}
