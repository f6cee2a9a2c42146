//! The networks of a task, as one thing with a state.

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
    /// The networks of `task`, untrained.
    ///
    /// # Errors
    /// As [`Task::build`].
    pub fn build(task: &Arc<dyn Task>, plan: &Blueprint<'_>) -> Result<Self> {
        let models = task.build(plan)?;
        Ok(Self { task: Arc::clone(task), models, classes: plan.sizes.classes })
    }

    /// What they learn.
    pub fn task(&self) -> &dyn Task {
        &*self.task
    }

    /// All of them, in the order of [`Task::networks`].
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// The one that is evaluated.
    pub fn evaluated(&self) -> &Model {
        &self.models[self.task.evaluated()]
    }

    /// What an evaluation measures.
    pub fn metrics(&self) -> Vec<String> {
        self.task.metrics(self.classes)
    }

    /// The values of [`Networks::metrics`] on examples that nothing is learned from. By [`Mode::Given`] statistics that are
    /// not finite, none of them is a number.
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

    /// The moments of every norm layer of the evaluated network over `images`, or as much noise, with the weights as they
    /// are, at most `batch_size` examples at a time. No layer changes. Each layer's input is normalized by the batch in the
    /// layers before it.
    ///
    /// # Errors
    /// What candle or the norm layers report.
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

    /// What an optimizer may change.
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

    /// From here on all batch-norm layers normalize by their moving statistics, which stay as they are.
    pub fn freeze(&self) {
        for model in &self.models {
            for (_, norm) in norm_layers(model.layers()) {
                norm.set_frozen(true);
            }
        }
    }

    /// Whether a network has a norm layer, so that statistics matter.
    pub fn is_normalized(&self) -> bool {
        self.models.iter().any(|model| model.is_normalized)
    }

    /// All parameters and statistics, frozen ones too.
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

    /// Takes the variables out of a saved trainer's `state`.
    ///
    /// # Errors
    /// [`StateError`] with the path of what is missing or does not fit.
    pub fn load(&self, state: &mut State) -> std::result::Result<(), StateError> {
        let mut saved = state.take_state(MODEL);
        for (path, variable) in self.variables() {
            saved.restore(&path, &variable)?;
        }
        saved.finish()
    }
}

/// Where the networks' variables are in a trainer's state.
pub const MODEL: &str = "model";

/// Whether a network can be evaluated by these: those of a network that diverges may not be finite.
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
    fn a_score_does_not_depend_on_the_batch_size() {
        for lines in ["", "task.loss = 'squared_error'", "task = { kind = 'gan', latent = 5 }"] {
            let (networks, examples) = (networks(lines), examples(61));
            let whole = networks.evaluate(&examples, Mode::Moving, 61).unwrap();
            for size in [1, 2, 7, 60, 100] {
                let scores = networks.evaluate(&examples, Mode::Moving, size).unwrap();
                for (score, whole) in scores.iter().zip(&whole) {
                    assert!((score - whole).abs() < 1e-6 * whole.abs(), "{lines}: {score} {whole}");
                }
            }
        }
    }

    #[test]
    fn population_statistics_change_no_layer_and_are_those_of_the_batch_for_one_batch() {
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
    fn statistics_that_are_not_finite_give_no_score() {
        let (networks, examples) = (networks(""), examples(8));
        let weight = &networks.trainable()[1].1;
        weight.set(&(weight.as_tensor() * f64::NAN).unwrap()).unwrap();
        let moments = networks.population(&examples.images, 8).unwrap();
        let scores = networks.evaluate(&examples, Mode::Given(&moments), 8).unwrap();
        assert!(scores.iter().all(|score| score.is_nan()));
    }
}
