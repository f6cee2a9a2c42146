//! Wraps candle modules as layers.

use super::layer::{Item, Layer, Named, Role};
use super::norm::{given, visit_norm};
use super::pass::{Mode, Pass};
use super::signal::Signal;
use super::tape::{Backward, GradientSink};
use bn_core::{BatchNorm, Evaluation};
use candle::{DType, Device, Result, Shape, Tensor, Var};
use candle_nn::var_builder::{SimpleBackend, VarBuilderArgs};
use candle_nn::{Init, ModuleT, VarBuilder};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

/// A candle module as a layer. Candle's graph differentiates it, within the tape of the network.
#[derive(Debug)]
pub struct Graph<M> {
    module: M,
    variables: Vec<(String, Var)>,
    norms: Vec<(String, BatchNorm)>,
}

impl<M> Graph<M> {
    /// Wraps `module`. An optimizer may change `variables`, which are given with their paths in the network.
    pub fn new(module: M, variables: Vec<(String, Var)>) -> Self {
        Self { module, variables, norms: Vec::new() }
    }

    /// Builds a module and records the variables that it takes from its builder. An optimizer may change all of them.
    ///
    /// # Errors
    /// Errors of `build`.
    pub fn build(
        builder: &VarBuilder<'_>,
        build: impl FnOnce(VarBuilder<'_>) -> Result<M>,
    ) -> Result<Self> {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let recorder = Recorder { builder: builder.clone(), taken: Arc::clone(&taken) };
        let recorder: Box<dyn SimpleBackend + '_> = Box::new(recorder);
        let (dtype, device) = (builder.dtype(), builder.device().clone());
        let module = build(VarBuilderArgs::new_with_args(recorder, dtype, &device))?;
        let variables = std::mem::take(&mut *taken.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Self::new(module, variables))
    }

    /// Declares the norm layers inside the module, with their paths. They then follow the mode of the pass, although a
    /// module only distinguishes training and evaluation. Their configuration decides whether their parameters are trained,
    /// even if the parameters are also among the variables.
    pub fn with_norms(self, norms: Vec<(String, BatchNorm)>) -> Self {
        let of_norm = |(_, norm): &(String, BatchNorm)| {
            let all = norm.affine_variables().into_iter().chain(norm.statistics());
            all.map(|(_, variable)| variable.id()).collect::<Vec<_>>()
        };
        let held: Vec<_> = norms.iter().flat_map(of_norm).collect();
        let mut variables = self.variables;
        variables.retain(|(_, variable)| !held.contains(&variable.id()));
        Self { variables, norms, ..self }
    }

    fn trained(&self) -> impl Iterator<Item = &Var> {
        let affine = self.norms.iter().filter(|(_, norm)| norm.config().trainable);
        let affine = affine.flat_map(|(_, norm)| [norm.gamma(), norm.beta()]).flatten();
        self.variables.iter().map(|(_, variable)| variable).chain(affine)
    }
}

impl<M: ModuleT> Graph<M> {
    /// The module's result, in the type of x. Its variables are f32, and so is what it computes.
    fn module_on(&self, x: &Tensor, trains: bool) -> Result<Tensor> {
        let dtype = x.dtype();
        self.module.forward_t(&x.to_dtype(DType::F32)?, trains)?.to_dtype(dtype)
    }
}

impl<M: ModuleT + Debug> Layer for Graph<M> {
    fn forward(&self, x: &Signal, pass: &mut Pass<'_>) -> Result<Signal> {
        let trains = pass.mode() == Mode::Train;
        let trained: Vec<Var> = self.trained().cloned().collect();
        if !pass.records(&[x], !trained.is_empty()) {
            let evaluating = Evaluating::start(&self.norms, pass)?;
            let y = self.module_on(&x.tensor().detach(), trains)?;
            if pass.is_recording() {
                for (path, norm) in evaluating.norms {
                    if let Some(moments) = norm.take_recorded()? {
                        pass.add_moments(path, &moments)?;
                    }
                }
            }
            return Ok(Signal::new(y.detach()));
        }
        // A new variable ends the graph here and collects the gradient of x.
        let from = Var::from_tensor(&x.tensor().detach())?;
        let y = self.module_on(from.as_tensor(), trains)?;
        Ok(pass.result(y.detach(), &[x], true, || GraphBackward { x: from, y, trained }))
    }

    fn visit<'a>(&'a self, visitor: &mut dyn FnMut(Named<'a>)) {
        for (path, var) in &self.variables {
            let item = Item::Parameter { role: role(path, var), var, is_trained: true };
            visitor(Named { path: path.clone(), item });
        }
        for (path, norm) in &self.norms {
            visit_norm(path, norm, visitor);
        }
    }
}

/// A guard that makes the norm layers of a module evaluate in the mode of a pass.
struct Evaluating<'a> {
    norms: &'a [(String, BatchNorm)],
}

impl<'a> Evaluating<'a> {
    fn start(norms: &'a [(String, BatchNorm)], pass: &Pass<'_>) -> Result<Self> {
        let evaluating = Self { norms };
        for (path, norm) in norms {
            norm.set_evaluation(match pass.mode() {
                Mode::Train | Mode::Moving => Evaluation::Moving,
                Mode::Batch => Evaluation::Batch,
                Mode::Given(statistics) => Evaluation::Given(given(statistics, path)?.clone()),
            });
        }
        Ok(evaluating)
    }
}

impl Drop for Evaluating<'_> {
    fn drop(&mut self) {
        for (_, norm) in self.norms {
            norm.set_evaluation(Evaluation::Moving);
        }
    }
}

/// The role by candle's naming convention; a weight if the name is unknown. A `weight` with one axis is the gain of a
/// normalization layer of candle-nn or PyTorch, so weight decay leaves it out.
fn role(path: &str, var: &Var) -> Role {
    match path.rsplit('.').next() {
        Some("bias") => Role::Bias,
        Some("gamma") => Role::Gamma,
        Some("beta") => Role::Beta,
        Some("weight") if var.rank() == 1 => Role::Gamma,
        _ => Role::Weight,
    }
}

/// A builder backend that records the variables it returns, by path.
struct Recorder<'a> {
    builder: VarBuilder<'a>,
    taken: Arc<Mutex<Vec<(String, Var)>>>,
}

impl SimpleBackend for Recorder<'_> {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: Init,
        dtype: DType,
        _device: &Device,
    ) -> Result<Tensor> {
        let tensor = self.builder.get_with_hints_dtype(shape, name, init, dtype)?;
        // The tensor of a `Var` converts back to the same `Var`.
        let variable = Var::from_tensor(&tensor)?;
        let path = self.builder.pp(name).prefix();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.iter().all(|(known, _)| *known != path) {
            taken.push((path, variable));
        }
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, _dtype: DType, _device: &Device) -> Result<Tensor> {
        candle::bail!("{name}: cannot be created without a shape")
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.builder.contains_tensor(name)
    }
}

#[derive(Debug)]
struct GraphBackward {
    x: Var,
    y: Tensor,
    trained: Vec<Var>,
}

impl Backward for GraphBackward {
    fn backward(self: Box<Self>, dy: Tensor, sink: &mut GradientSink<'_>) -> Result<()> {
        // The gradient of sum(y * dy) by y is dy.
        let store = (self.y * dy)?.sum_all()?.backward()?;
        for variable in &self.trained {
            if let Some(gradient) = store.get(variable) {
                sink.variable(variable, gradient.detach().contiguous()?)?;
            }
        }
        match store.get(&self.x) {
            Some(dx) => sink.input(0, dx.detach().contiguous()?),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_of_one_axis_is_a_gain() {
        let var = |shape: &[usize]| Var::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        for (path, shape, expected) in [
            ("a.weight", &[4, 3][..], Role::Weight),
            ("a.weight", &[4, 3, 3, 3], Role::Weight),
            ("norm.weight", &[4], Role::Gamma),
            ("norm.gamma", &[4], Role::Gamma),
            ("norm.beta", &[4], Role::Beta),
            ("a.bias", &[4], Role::Bias),
            ("table", &[4, 3], Role::Weight),
        ] {
            assert_eq!(role(path, &var(shape)), expected, "{path} {shape:?}");
        }
    }
}
