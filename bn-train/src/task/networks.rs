//! The networks of a task and their common state.

use super::{Blueprint, Task};
use crate::data::{Batch, in_batches};
use crate::model::{
    Mode, Model, MomentsByPath, Parameter, Pass, norm_layers, parameters, statistics,
};
use crate::state::{State, StateError};
use candle::{Result, Tensor, Var};
use std::sync::Arc;

/// The networks that a task trains together.
#[derive(Debug)]
pub struct Networks {
    task: Arc<dyn Task>,
    models: Vec<Model>,
    classes: usize,
}

impl Networks {
    /// Builds the untrained networks of `task`.
    ///
    /// # Errors
    /// As [`Task::build`].
    pub fn build(task: &Arc<dyn Task>, plan: &Blueprint<'_>) -> Result<Self> {
        let models = task.build(plan)?.into_iter();
        let models = models.map(|model| model.with_precision(plan.precision)).collect();
        Ok(Self { task: Arc::clone(task), models, classes: plan.sizes.classes })
    }

    /// The task.
    pub fn task(&self) -> &dyn Task {
        &*self.task
    }

    /// All networks, in the order of [`Task::networks`].
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// The network that is evaluated.
    pub fn evaluated(&self) -> &Model {
        &self.models[self.task.evaluated()]
    }

    /// Names of the metrics of an evaluation.
    pub fn metrics(&self) -> Vec<String> {
        self.task.metrics(self.classes)
    }

    /// The values of [`Networks::metrics`] on `examples`. All are NaN if the statistics of [`Mode::Given`] are not finite.
    ///
    /// # Errors
    /// As [`Task::evaluate`].
    ///
    /// # Panics
    /// As [`Task::evaluate`].
    pub fn evaluate(
        &self,
        examples: &Batch,
        mode: Mode<'_>,
        batch_size: usize,
    ) -> Result<Vec<f64>> {
        if let Mode::Given(moments) = mode
            && !are_finite(moments)?
        {
            return Ok(vec![f64::NAN; self.metrics().len()]);
        }
        self.task.evaluate(self.evaluated(), examples, mode, batch_size)
    }

    /// The moments of every norm layer of the evaluated network over `images` (or as much noise) with the current weights,
    /// at most `batch_size` examples at a time. Changes no layer. Earlier layers normalize with batch statistics.
    ///
    /// # Errors
    /// Errors of candle or the norm layers.
    ///
    /// # Panics
    /// As [`Networks::evaluate`].
    pub fn population(&self, images: &Tensor, batch_size: usize) -> Result<MomentsByPath> {
        let inputs = self.task.inputs(images)?;
        let mut moments = MomentsByPath::new();
        for range in in_batches(inputs.dim(0)?, batch_size) {
            let inputs = inputs.narrow(0, range.start, range.len())?;
            self.evaluated().forward(&inputs, &mut Pass::record(&mut moments))?;
        }
        Ok(moments)
    }

    /// The trainable variables of all networks.
    pub fn trainable(&self) -> Vec<(String, Var)> {
        self.models.iter().flat_map(Model::trainable).collect()
    }

    /// The parameters of all networks.
    pub fn parameters(&self) -> impl Iterator<Item = Parameter> {
        self.models.iter().flat_map(|model| parameters(model.layers()))
    }

    /// The moving means and variances of all networks.
    pub fn moving_statistics(&self) -> Vec<(String, Var)> {
        let all = self.models.iter().flat_map(|model| statistics(model.layers()));
        all.filter(|(path, _)| path.ends_with(".moving_mean") || path.ends_with(".moving_variance"))
            .collect()
    }

    /// Freezes the moving statistics of all batch-norm layers, which then also normalize with them in training.
    pub fn freeze(&self) {
        for model in &self.models {
            for (_, norm) in norm_layers(model.layers()) {
                norm.set_frozen(true);
            }
        }
    }

    /// Whether any network has a batch-norm layer, so that statistics matter.
    pub fn is_normalized(&self) -> bool {
        self.models.iter().any(|model| model.is_normalized)
    }

    /// All parameters and statistics, including frozen ones.
    pub fn variables(&self) -> Vec<(String, Var)> {
        let of = |model: &Model| {
            let parameters = parameters(model.layers()).into_iter();
            let parameters = parameters.map(|parameter| (parameter.path, parameter.var));
            parameters.chain(statistics(model.layers())).collect::<Vec<_>>()
        };
        self.models.iter().flat_map(of).collect()
    }

    /// All variables by path.
    ///
    /// # Errors
    /// [`StateError::Tensor`].
    pub fn state(&self) -> std::result::Result<State, StateError> {
        let mut state = State::new();
        for (path, variable) in self.variables() {
            state.put_tensor(&path, &variable)?;
        }
        Ok(state)
    }

    /// Restores the variables from a trainer's saved `state`.
    ///
    /// # Errors
    /// [`StateError`] with the path of the value that is missing or does not fit.
    pub fn load(&self, state: &mut State) -> std::result::Result<(), StateError> {
        let mut saved = state.take_state(MODEL);
        for (path, variable) in self.variables() {
            saved.restore(&path, &variable)?;
        }
        saved.finish()
    }
}

/// State path of the networks' variables.
pub const MODEL: &str = "model";

/// Whether all moments are finite. They may not be if the network diverges.
fn are_finite(moments: &MomentsByPath) -> Result<bool> {
    for moments in moments.values() {
        for values in [moments.mean(), moments.variance()] {
            if values.to_vec1::<f64>()?.iter().any(|value| !value.is_finite()) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ImageShape;
    use crate::experiment::Registry;
    use crate::model::Sizes;
    use crate::random::{Purpose, Stream};
    use candle::{DType, Device};

    fn networks(lines: &str) -> Networks {
        let text = format!(
            "optimizer.learning_rate = 0.1\ntrain.steps = 10\nmodel.hidden = [9, 7]\n{lines}"
        );
        let settings =
            Registry::built_in().settings(&text).unwrap_or_else(|invalid| panic!("{invalid}"));
        let input = ImageShape { channels: 1, height: 4, width: 4 };
        settings.networks(Sizes { input, classes: 10 }, 0, &Device::Cpu).unwrap()
    }

    fn examples(count: usize) -> Batch {
        let mut stream = Stream::new(1, Purpose::Initialize("images"));
        let pixels: Vec<f32> = (0..count * 16).map(|_| stream.unit()).collect();
        let labels: Vec<u32> = (0..count as u32).map(|i| i * 7 % 10).collect();
        let images = Tensor::from_vec(pixels, (count, 1, 4, 4), &Device::Cpu).unwrap();
        Batch::new(images, Tensor::new(labels, &Device::Cpu).unwrap())
    }

    #[test]
    fn scores_do_not_depend_on_the_batch_size() {
        for lines in ["", "task.loss = 'squared_error'", "task = { kind = 'gan', latent = 5 }"] {
            let (networks, examples) = (networks(lines), examples(61));
            let expected = networks.evaluate(&examples, Mode::Moving, 61).unwrap();
            for size in [1, 2, 7, 60, 100] {
                let scores = networks.evaluate(&examples, Mode::Moving, size).unwrap();
                for (score, want) in scores.iter().zip(&expected) {
                    assert!((score - want).abs() < 1e-6 * want.abs(), "{lines}: {score} {want}");
                }
            }
        }
    }

    #[test]
    fn population_statistics_of_one_batch_equal_batch_statistics() {
        for lines in ["norm.kind = 'renorm'", "task = { kind = 'gan', latent = 5 }"] {
            let (networks, examples) = (networks(lines), examples(40));
            let state = || -> Vec<Vec<u32>> {
                let bits = |(_, var): (String, Var)| {
                    let values = var.to_dtype(DType::F32).unwrap().flatten_all().unwrap();
                    values.to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
                };
                networks.variables().into_iter().map(bits).collect()
            };
            let before = state();
            let moments = networks.population(&examples.images, 40).unwrap();
            assert_eq!(moments.len(), norm_layers(networks.evaluated().layers()).len());
            let by_population = networks.evaluate(&examples, Mode::Given(&moments), 40).unwrap();
            let by_batch = networks.evaluate(&examples, Mode::Batch, 40).unwrap();
            assert!((by_population[0] - by_batch[0]).abs() < 1e-4 * by_batch[0].abs());
            assert_eq!(state(), before);
        }
    }

    #[test]
    fn statistics_that_are_not_finite_give_nan_scores() {
        let (networks, examples) = (networks(""), examples(8));
        let weight = &networks.trainable()[1].1;
        weight.set(&(weight.as_tensor() * f64::NAN).unwrap()).unwrap();
        let moments = networks.population(&examples.images, 8).unwrap();
        let scores = networks.evaluate(&examples, Mode::Given(&moments), 8).unwrap();
        assert!(scores.iter().all(|score| score.is_nan()));
    }
}
