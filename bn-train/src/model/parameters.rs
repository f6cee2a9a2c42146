//! The variables of a network, each initialized from its own random stream.
//!
//! A backend for candle's [`VarBuilder`] like `VarMap`, with two differences: initial values depend only on the seed and
//! the variable's name, and names are sorted.

use crate::random::{Purpose, Stream};
use candle::{DType, Device, Result, Shape, Tensor, Var};
use candle_nn::init::{FanInOut, Init, NormalOrUniform};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{VarBuilder, var_builder::VarBuilderArgs};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// A store that creates variables on first use.
#[derive(Debug)]
pub struct Parameters {
    seed: u64,
    /// Factor of initial weights.
    scale: f32,
    variables: Mutex<BTreeMap<String, Var>>,
}

impl Parameters {
    /// An empty store that draws initial values from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, scale: 1.0, variables: Mutex::default() }
    }

    /// Multiplies initial weights (variables called `weight` that are not constant) by `scale`.
    pub fn scaled(self, scale: f64) -> Self {
        Self { scale: scale as f32, ..self }
    }

    /// A builder of f32 variables on `device`.
    pub fn into_builder(self, device: &Device) -> VarBuilder<'static> {
        VarBuilderArgs::new_with_args(Box::new(self) as Box<dyn SimpleBackend>, DType::F32, device)
    }

    fn initial(&self, name: &str, shape: &Shape, init: Init) -> Vec<f32> {
        let mut stream = Stream::new(self.seed, Purpose::Initialize(name));
        let mut draw: Box<dyn FnMut() -> f32> = match init {
            Init::Const(value) => Box::new(move || value as f32),
            Init::Uniform { lo, up } => Box::new(move || stream.uniform(lo as f32, up as f32)),
            Init::Randn { mean, stdev } => {
                Box::new(move || stream.normal(mean as f32, stdev as f32))
            }
            Init::Kaiming { dist, fan, non_linearity } => {
                let fan = match fan {
                    FanInOut::FanIn => shape.dims().iter().skip(1).product::<usize>(),
                    FanInOut::FanOut => {
                        shape.elem_count() / shape.dims().get(1).copied().unwrap_or(1).max(1)
                    }
                };
                let deviation = non_linearity.gain() / (fan.max(1) as f64).sqrt();
                let bound = (3.0_f64.sqrt() * deviation) as f32;
                match dist {
                    NormalOrUniform::Uniform => Box::new(move || stream.uniform(-bound, bound)),
                    NormalOrUniform::Normal => {
                        Box::new(move || stream.normal(0.0, deviation as f32))
                    }
                }
            }
        };
        let is_weight = name.ends_with(".weight") && !matches!(init, Init::Const(_));
        let scale = if is_weight { self.scale } else { 1.0 };
        (0..shape.elem_count()).map(|_| scale * draw()).collect()
    }
}

impl SimpleBackend for Parameters {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let mut variables = self.variables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(variable) = variables.get(name) {
            if variable.shape() != &shape {
                candle::bail!(
                    "{name}: requested with shape {shape:?}, but created with {:?}",
                    variable.shape()
                );
            }
            return Ok(variable.as_tensor().clone());
        }
        let values = Tensor::from_vec(self.initial(name, &shape, init), shape, device)?;
        let variable = Var::from_tensor(&values.to_dtype(dtype)?)?;
        let tensor = variable.as_tensor().clone();
        variables.insert(name.to_owned(), variable);
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, _dtype: DType, _device: &Device) -> Result<Tensor> {
        candle::bail!("{name}: cannot be created without a shape")
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.variables.lock().unwrap_or_else(PoisonError::into_inner).contains_key(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(seed: u64, names: &[&str], init: Init) -> Vec<Vec<f32>> {
        let builder = Parameters::new(seed).into_builder(&Device::Cpu);
        let get = |name: &&str| builder.get_with_hints((20, 5), name, init).unwrap();
        names.iter().map(|name| get(name).flatten_all().unwrap().to_vec1().unwrap()).collect()
    }

    #[test]
    fn values_depend_on_seed_and_name_but_not_on_order() {
        let init = Init::Uniform { lo: -0.1, up: 0.1 };
        let forward = draw(1, &["a", "b"], init);
        let backward = draw(1, &["b", "other", "a"], init);
        assert_eq!((&forward[0], &forward[1]), (&backward[2], &backward[0]));
        assert_ne!(forward[0], forward[1]);
        assert_ne!(forward[0], draw(2, &["a"], init)[0]);
        assert!(forward[0].iter().all(|value| value.abs() <= 0.1));
    }

    #[test]
    fn equal_names_share_a_variable() {
        let builder = Parameters::new(0).into_builder(&Device::Cpu);
        assert!(!builder.contains_tensor("a"));
        let first = builder.get_with_hints(3, "a", Init::Const(1.0)).unwrap();
        assert!(builder.contains_tensor("a"));
        Var::from_tensor(&first)
            .unwrap()
            .set(&Tensor::new(&[2.0_f32; 3], &Device::Cpu).unwrap())
            .unwrap();
        let again = builder.get_with_hints(3, "a", Init::Const(1.0)).unwrap();
        assert_eq!(again.to_vec1::<f32>().unwrap(), [2.0; 3]);
        assert!(builder.get_with_hints(4, "a", Init::Const(1.0)).is_err());
    }

    #[test]
    fn initial_values_have_the_requested_deviation() {
        let deviation = |init| {
            let values = &draw(3, &["a"], init)[0];
            (values.iter().map(|value| value * value).sum::<f32>() / values.len() as f32).sqrt()
        };
        // With a hundred draws, the estimate is within a third of the true value.
        assert!((0.66..1.5).contains(&deviation(Init::Randn { mean: 0.0, stdev: 1.0 })));
        let kaiming = deviation(candle_nn::init::DEFAULT_KAIMING_NORMAL) / (2.0_f32 / 5.0).sqrt();
        assert!((0.66..1.5).contains(&kaiming), "{kaiming}");
    }
}
